"""Commands of two processes: they refuse, train, stop and are lost together."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fcn_jax.train.checkpoint import restore_latest
from fcn_jax.train.log import read_metrics
from fcn_jax.train.setup import prepare
from fcn_jax.train.workdir import read_config
from tests.processes import ROOT, free_address, run_together, started


def train_commands(workdir: Path, cache: Path, *shared_flags: str, of_second: str = "") -> list[list[str]]:
    """The command of each of two processes."""
    address = free_address()
    shared = [sys.executable, "-m", "fcn_jax", "train", f"--config={ROOT / 'configs/mnist.py'}:tiny"]
    shared += [f"--workdir={workdir}", "--config.model.channels=(4,8,8)", f"--config.machine.cache_dir={cache}"]
    shared += [f"--coordinator={address}", "--num_processes=2", *shared_flags]
    return [[*shared, "--process_id=0"], [*shared, "--process_id=1", *([of_second] if of_second else [])]]


def test_two_commands_with_other_flags_end_with_one_line(tmp_path):
    commands = train_commands(tmp_path / "run", tmp_path, of_second="--config.train.epochs=3")
    first, second = run_together(commands)
    assert (first.returncode, second.returncode) == (2, 2), second.stderr
    assert "process 1: its config differs from that of process 0 (train.epochs: 2 -> 3)" in first.stderr
    assert "differs" not in second.stderr
    assert "Traceback" not in first.stderr + second.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.full
def test_two_commands_train_as_one(tmp_path):
    first, second = run_together(train_commands(tmp_path / "run", tmp_path))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "test accuracy" in first.stdout
    assert second.stdout == ""
    assert "programs compiled" in first.stderr
    assert "programs compiled" not in second.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["count"] == 128


def test_sigterm_to_one_stops_both_and_a_lost_one_ends_the_other(tmp_path):
    """The same commands go on each time."""
    workdir, flags = tmp_path / "run", ("--config.train.epochs=40", "--config.checkpoint.every_steps=2")
    with started(train_commands(workdir, tmp_path, *flags)) as processes:
        wait_for_step(workdir, 1, processes)
        processes[1].send_signal(signal.SIGTERM)
        (_, said), (_, other) = (process.communicate(timeout=60) for process in processes)
        assert [process.returncode for process in processes] == [0, 0], said + other
    stopped = int(re.search(r"stopped after step (\d+) of 320: resume with the same command", said)[1])
    assert "resume" not in other
    with started(train_commands(workdir, tmp_path, *flags)) as processes:
        wait_for_step(workdir, stopped + 3, processes)
        processes[1].kill()
        began = time.monotonic()
        _, said = processes[0].communicate(timeout=60)
        assert time.monotonic() - began < 60
        assert processes[0].returncode == -signal.SIGABRT, said
    assert f"resumed after step {stopped} of 320" in said
    assert "The following tasks are unhealthy (stopped sending heartbeats):\n1\n" in said
    assert "Traceback" not in said
    lost = max(row["step"] for row in read_metrics(workdir / "metrics.jsonl"))
    begun = prepare(read_config(workdir), abstract=True)
    assert lost - 2 <= restore_latest(workdir, begun.state).step <= lost


def wait_for_step(workdir: Path, step: int, processes: list[subprocess.Popen[str]]) -> None:
    path = workdir / "metrics.jsonl"
    while not (path.exists() and any(row["step"] >= step for row in read_metrics(path))):
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.05)
