"""Several processes do what one does: the same steps and sums, from each other's checkpoints. One of them speaks."""

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.mnist import get_config
from fcn_jax.cli import main
from fcn_jax.commands.evaluate import evaluate_run
from fcn_jax.commands.train import train
from fcn_jax.config import Config
from fcn_jax.core.schedule import FILLER
from fcn_jax.system.disk import write_json
from fcn_jax.train.checkpoint import restore_latest
from fcn_jax.train.log import read_metrics
from fcn_jax.train.passes import split_logits
from fcn_jax.train.setup import prepare
from tests.commands.host import STOP, own_rows
from tests.commands.stopped import recorded, train_until
from tests.inference.made import write_picture
from tests.processes import free_address, run_together


@dataclass
class Found:
    """The outcome of several processes."""

    folder: Path
    processes: list[dict[str, Any]]
    """The record of each process."""
    summary: dict[str, Any]
    """The record of one process that ran undisturbed."""
    cache: Path


def small_config(cache: Path) -> Config:
    config = get_config("tiny")
    config.schedule.examples_per_step = config.evaluate.examples_per_step = 47  # Few devices divide all of its blocks.
    config.model.channels = (4, 8, 8)
    config.machine.cache_dir, config.machine.share_optimizer = str(cache), "always"
    return config


def write_pictures(folder: Path) -> None:
    for number in range(11):
        write_picture(folder / f"{number:02}.png", (12 + number % 3, 10))
    (folder / "04.png").write_bytes(b"no picture")


@pytest.fixture(
    scope="module",
    params=[(2, 2), pytest.param((4, 1), marks=pytest.mark.full)],
    ids=lambda step_plan: "{}x{}".format(*step_plan),
)
def found(request, tmp_path_factory) -> Found:
    """(processes, devices of each)"""
    processes, devices = request.param
    folder, cache = tmp_path_factory.mktemp("hosts"), tmp_path_factory.mktemp("cache")
    summary = train(small_config(cache), folder / "whole")
    train_until(small_config(cache), folder / "stopped", steps=STOP)
    write_pictures(folder / "pictures")
    address = free_address()
    script = [sys.executable, "-m", "tests.commands.host", address, str(processes)]
    for ended in run_together([[*script, str(i), str(folder)] for i in range(processes)], devices=devices):
        assert ended.returncode == 0, ended.stderr
    saw = [json.loads((folder / f"{i}.json").read_text()) for i in range(processes)]
    return Found(folder, saw, summary, cache)


def test_they_take_the_same_steps_as_one_device(found):
    compared = found.processes[0]["compared"]
    assert compared["float32"]["same_examples"]
    assert compared["float64"]["same_examples"]
    assert compared["float64"]["filler_of_devices"] > 0
    assert compared["float32"]["largest_difference"] <= 1e-6
    assert compared["float64"]["largest_difference"] <= 1e-9


def scheduled(config: Config, start: int, stop: int, *, devices: int) -> list[list[list[int]]]:
    """The examples of every row of some steps, by step and block, with the filler of the devices at the end."""
    (stage,) = prepare(config, abstract=True).train.stages
    steps = [stage.schedule.step(*divmod(number, stage.schedule.steps_per_epoch)) for number in range(start, stop)]
    return [[rows.tolist() + [FILLER] * (-len(rows) % devices) for rows in blocks] for _, blocks in steps]


def num_devices(found: Found) -> int:
    (devices,) = {process["devices"] for process in found.processes}
    return devices


def joined(processes: list[dict[str, Any]], name: str) -> list[list[list[int]]]:
    """The examples of every row, of all processes together."""
    return [
        [list(chain.from_iterable(rows)) for rows in zip(*blocks, strict=True)]
        for blocks in zip(*(process[name] for process in processes), strict=True)
    ]


def test_each_reads_its_own_rows_and_all_together_those_of_the_schedule(found):
    steps = joined(found.processes, "begun")
    assert steps == scheduled(small_config(found.cache), 0, STOP + 1, devices=num_devices(found))
    examples = [example for blocks in steps for rows in blocks for example in rows if example != FILLER]
    assert len(examples) == len(set(examples))


def test_they_resume_what_one_began_and_one_resumes_what_they_began(found, tmp_path):
    config = small_config(found.cache)
    every = config.checkpoint.every_steps
    total = prepare(config, abstract=True).total_steps
    assert joined(found.processes, "resumed") == scheduled(config, every, total, devices=num_devices(found))
    shutil.copytree(found.folder / "begun", tmp_path / "begun")
    with recorded() as seen:
        summary = train(config, tmp_path / "begun")
    assert own_rows(seen) == scheduled(config, every, total, devices=1)
    for other in (summary, *(process["summary"] for process in found.processes)):
        assert other["loss"] == pytest.approx(found.summary["loss"], abs=5e-3)
        assert other["count"] == 128


def test_one_of_them_writes(found):
    whole, resumed = (read_metrics(found.folder / name / "metrics.jsonl") for name in ("whole", "stopped"))
    assert [(row["kind"], row["step"]) for row in resumed] == [(row["kind"], row["step"]) for row in whole]
    assert {path.name for path in (found.folder / "stopped").iterdir()} == {
        path.name for path in (found.folder / "whole").iterdir()
    }
    assert len(list((found.folder / "begun" / "tensorboard").iterdir())) == 1


def test_examples_of_all_are_counted(found):
    speeds = [process["summary"]["images_per_second"] for process in found.processes]
    assert len(set(speeds)) == 1
    rows = [row for row in read_metrics(found.folder / "stopped" / "metrics.jsonl") if row["kind"] == "train"]
    position = found.folder / "stopped" / "checkpoints" / str(rows[-1]["step"]) / "position" / "metadata"
    assert json.loads(position.read_text())["clock"]["examples"] == 512 * 2


def test_a_checkpoint_evaluates_the_same(found):
    (alone,) = evaluate_run(found.folder / "whole", split="test")
    for process in found.processes:
        evaluated = process["evaluated"]
        assert (evaluated["accuracy"], evaluated["count"]) == (alone["accuracy"], alone["count"])
        assert evaluated["loss"] == pytest.approx(alone["loss"], abs=1e-6)


def test_logits_are_the_same(found):
    setup = prepare(small_config(found.cache), abstract=True)
    logits = split_logits(setup, restore_latest(found.folder / "whole", setup.state), setup.test, title="test")
    for process in found.processes:
        np.testing.assert_allclose(process["logits"], logits, rtol=0, atol=1e-5)


def test_answers_stand_once_and_in_order(found, capsys):
    main(["fcn_jax", "predict", str(found.folder / "pictures"), f"--workdir={found.folder / 'whole'}"])
    alone = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first, *others = ([json.loads(line) for line in p["predicted"].splitlines()] for p in found.processes)
    assert not any(others)
    assert [row["path"] for row in first] == [row["path"] for row in alone]
    assert [row.get("error") for row in first] == [row.get("error") for row in alone]
    for row, other in zip(first, alone, strict=True):
        np.testing.assert_allclose(row.get("logits", []), other.get("logits", []), rtol=0, atol=1e-5)


def test_what_one_refuses_ends_all(found):
    first, *others = (process["refused"] for process in found.processes)
    assert "is in use by process" in first["in use"]
    assert (
        "process 1: its config differs from that of process 0 (train.learning_rate: 0.003 -> 0.5)"
        in (first["other flags"])
    )
    assert "nonsense" in first["no such split"]
    for other in others:
        assert {other[name] for name in ("in use", "other flags", "no such split")} == {"ends with 2"}


def test_bad_examples_of_all_count_for_each(found):
    for process in found.processes:
        assert f"{len(found.processes)} of the 10 examples of train are bad" in process["refused"]["bad examples"]


RELAY = """
import json, sys
from pathlib import Path
from fcn_jax.system.processes import join_cluster
from fcn_jax.train.workdir import read_config
from tests.commands.host import own_rows
from tests.commands.stopped import train_until
coordinator, processes, number, folder = sys.argv[1:]
join_cluster(coordinator, int(processes), int(number))
seen = train_until(read_config(Path(folder)), Path(folder, "run"), steps=3)
print(json.dumps({"seen": own_rows(seen)}))
"""


FEW = ((1, 1), (1, 3))
MANY = ((1, 1), (1, 4), (2, 2), (1, 3), (4, 1), (3, 1), (1, 5), (1, 1))


@pytest.mark.parametrize("layouts", [FEW, pytest.param(MANY, marks=pytest.mark.full)], ids=["few", "many"])
def test_any_layout_goes_on_where_another_stopped(tmp_path, layouts):
    """The (processes, devices of each) of each turn. Its fourth step is lost, and most turns end within an epoch."""
    config = small_config(tmp_path / "cache")
    config.checkpoint.every_steps, config.train.epochs = 3, 3
    write_json(tmp_path / "config.json", asdict(config))
    for turn, (processes, devices) in enumerate(layouts):
        script = [sys.executable, "-c", RELAY, free_address(), str(processes)]
        commands = [[*script, str(number), str(tmp_path)] for number in range(processes)]
        ended = run_together(commands, devices=devices)
        assert {process.returncode for process in ended} == {0}, [process.stderr for process in ended]
        assert ("the run began on 1 device, with" in ended[0].stderr) == (processes * devices > 1)
        seen = joined([json.loads(process.stdout) for process in ended], "seen")
        assert seen == scheduled(config, 3 * turn, 3 * turn + 4, devices=processes * devices)
