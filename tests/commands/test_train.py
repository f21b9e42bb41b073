"""Whole runs of a real config, shrunk: what they leave behind, and what a kill leaves of them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from fcn_jax.train.log import read_metrics
from tests.limits import file_size_limit

ROOT = Path(__file__).parents[2]
WHOLE = {
    "config.json",
    "data.json",
    "labels.json",
    "plan.json",
    "plan.png",
    "compile.json",
    "metrics.jsonl",
    "summary.json",
    "checkpoints",
}


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "fcn_jax", name, *arguments]


def train_command(workdir: Path, cache: Path, *arguments: str) -> list[str]:
    config = f"--config={ROOT / 'configs/mnist.py'}:tiny"
    small = "--config.model.channels=(4,8,8)"
    return command("train", config, f"--workdir={workdir}", small, f"--config.machine.cache_dir={cache}", *arguments)


def run(arguments: list[str], *, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stderr
    return done


def final_state(workdir: Path) -> list[np.ndarray]:
    """Every array of the newest checkpoint, in the order of its path."""
    newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name) if path.name.isdigit() else -1)
    tree = ocp.StandardCheckpointer().restore(newest.resolve() / "state")
    return [np.asarray(leaf) for leaf in ocp.tree.to_flat_dict(tree).values()]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    run(train_command(workdir, cache))
    return workdir


def test_a_run_leaves_its_files(undisturbed):
    assert {path.name for path in undisturbed.iterdir()} >= WHOLE
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert summary["count"] == 128
    assert summary["majority_accuracy"] == pytest.approx(0.135, abs=1e-3)
    assert summary["majority_accuracy"] < summary["size_accuracy_low"] < summary["size_accuracy"]
    assert 0 <= summary["accuracy"] <= 1
    assert summary["compile_count"] == len(json.loads((undisturbed / "compile.json").read_text()))
    assert summary["fill"] == pytest.approx(summary["plan_fill"] * (1 - summary["filler_share"]), rel=0.05)
    assert list((undisturbed / "tensorboard").iterdir())


def test_metrics_stand_once_a_step(undisturbed):
    rows = read_metrics(undisturbed / "metrics.jsonl")
    keys = [(row["kind"], row["step"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(2, 17, 2))
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [8, 16]
    assert rows[-1]["kind"] == "test"


def test_evaluate_repeats_the_result(undisturbed, cache):
    del cache
    summary = json.loads((undisturbed / "summary.json").read_text())
    done = run(command("evaluate", f"--workdir={undisturbed}"))
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["accuracy"], found["count"]) == (summary["accuracy"], summary["count"])
    assert found["loss"] == pytest.approx(summary["loss"], abs=1e-6)


def test_the_same_command_again_only_repeats_the_result(undisturbed, cache):
    before, metrics = final_state(undisturbed), read_metrics(undisturbed / "metrics.jsonl")
    run(train_command(undisturbed, cache))
    for old, new in zip(before, final_state(undisturbed), strict=True):
        np.testing.assert_array_equal(old, new)
    assert read_metrics(undisturbed / "metrics.jsonl") == metrics


def begins_to_compile(workdir: Path) -> bool:
    return (workdir / "labels.json").exists()


def has_trained(workdir: Path) -> bool:
    """Beyond a checkpoint."""
    metrics = workdir / "metrics.jsonl"
    return metrics.exists() and '"step": 6,' in metrics.read_text()


def saves(workdir: Path) -> bool:
    return any(workdir.glob("checkpoints/*tmp*"))


@pytest.mark.parametrize("moment", [begins_to_compile, has_trained, saves])
def test_a_killed_run_ends_with_the_same_bits(undisturbed, cache, tmp_path, moment):
    workdir = tmp_path / "killed"
    process = subprocess.Popen(
        train_command(workdir, cache), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not moment(workdir):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"
    assert (workdir / "compile.json").exists() == (moment is not begins_to_compile)
    run(train_command(workdir, cache))
    for old, new in zip(final_state(undisturbed), final_state(workdir), strict=True):
        np.testing.assert_array_equal(old, new)
    losses = [
        [(row["kind"], row["step"], row["loss"]) for row in read_metrics(directory / "metrics.jsonl")]
        for directory in (undisturbed, workdir)
    ]
    assert losses[0] == losses[1]


def test_a_run_in_micro_steps_that_was_stopped_in_mid_epoch_ends_with_the_same_bits(cache, tmp_path):
    in_parts = ("--config.model.norm=group", "--config.model.group_size=4", "--config.train.accumulate=3")
    in_parts = (*in_parts, "--config.schedule.programs=bucket", "--config.train.epochs=1")
    undisturbed, workdir = tmp_path / "undisturbed", tmp_path / "stopped"
    run(train_command(undisturbed, cache, *in_parts))
    shutil.copytree(undisturbed, workdir)
    shutil.rmtree(workdir / "checkpoints" / "8")
    (workdir / "summary.json").unlink()
    done = run(train_command(workdir, cache, *in_parts))
    assert "resumed after step 4 of 8" in done.stderr
    for expected, actual in zip(final_state(undisturbed), final_state(workdir), strict=True):
        np.testing.assert_array_equal(actual, expected)
    rows = [row for row in read_metrics(workdir / "metrics.jsonl") if row["kind"] == "train"]
    assert [row["loss"] for row in rows] == [
        row["loss"] for row in read_metrics(undisturbed / "metrics.jsonl") if row["kind"] == "train"
    ]


def test_another_config_is_refused_and_names_what_differs(undisturbed, cache):
    done = run(train_command(undisturbed, cache, "--config.train.learning_rate=0.5"), code=2)
    assert "train.learning_rate: 0.003 -> 0.5" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_threads_are_no_other_config(undisturbed, cache):
    run(train_command(undisturbed, cache, "--config.machine.num_threads=1"))


def test_a_workdir_in_use_is_refused(cache, tmp_path):
    workdir = tmp_path / "busy"
    process = subprocess.Popen(
        train_command(workdir, cache), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None and not (workdir / "config.json").exists():
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGSTOP)
        done = run(train_command(workdir, cache), code=2)
        assert f"in use by process {process.pid}" in done.stderr
    finally:
        process.kill()
        process.wait()


def test_a_damaged_checkpoint_is_named_and_the_run_ends_with_the_same_bits(undisturbed, cache, tmp_path):
    workdir = tmp_path / "damaged"
    subprocess.run(["cp", "-r", str(undisturbed), str(workdir)], check=True)
    for path in (workdir / "checkpoints/16/state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = run(command("evaluate", f"--workdir={workdir}", "--strict"), code=2)
    assert f"{workdir}/checkpoints/16 cannot be restored" in done.stderr
    assert "Traceback" not in done.stderr
    done = run(train_command(workdir, cache))
    assert f"{workdir}/checkpoints/damaged-16 is damaged" in done.stderr
    assert "resumed after step 12 of 16" in done.stderr
    assert "WARNING: A net may learn the size" in done.stderr
    for old, new in zip(final_state(undisturbed), final_state(workdir), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("file", ["config.json", "metrics.jsonl"])
def test_sigterm_ends_it_with_a_line_that_says_how_to_go_on(undisturbed, cache, tmp_path, file):
    """While it prepares and compiles; while it trains."""
    workdir = tmp_path / "terminated"
    process = subprocess.Popen(train_command(workdir, cache), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (workdir / file).exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert said.endswith(": resume with the same command\n")
    assert not (workdir / "summary.json").exists(), "the run was over before it could be stopped"
    if file == "metrics.jsonl":
        run(train_command(workdir, cache))
        for old, new in zip(final_state(undisturbed), final_state(workdir), strict=True):
            np.testing.assert_array_equal(old, new)


def test_a_full_disk_ends_it_with_one_line(cache, tmp_path):
    """Each of the files before the first checkpoint is smaller."""
    with file_size_limit(150_000):
        done = run(train_command(tmp_path / "full", cache, "--config.model.channels=(64,128,128)"), code=2)
    assert "checkpoints/4 cannot be saved" in done.stderr.splitlines()[-1]
    for noise in ("Traceback", "ERROR"):
        assert noise not in done.stderr


def test_evaluating_without_a_checkpoint_is_refused(undisturbed, tmp_path):
    (tmp_path / "config.json").write_text((undisturbed / "config.json").read_text())
    done = run(command("evaluate", f"--workdir={tmp_path}"), code=2)
    assert "holds no checkpoint" in done.stderr
