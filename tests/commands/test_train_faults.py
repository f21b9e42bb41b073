"""Whole runs in which something breaks: what they say, what they keep, and how they go on."""

import json
import shutil
import time

import numpy as np
import pytest

from configs.mnist import get_config
from fcn_jax.commands.train import train
from fcn_jax.config import Config
from fcn_jax.data.dataset import Dataset
from fcn_jax.system import watchdog
from fcn_jax.system.stopping import Stopped, StopRequest
from fcn_jax.train import run as run_module
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.log import Meter, read_metrics
from fcn_jax.train.setup import prepare
from tests.commands.test_train import final_state


def small(cache, **fields) -> Config:
    config = get_config("tiny")
    config.model.channels, config.machine.cache_dir = (4, 4, 4), str(cache)
    for path, value in fields.items():
        section, name = path.split("__")
        setattr(getattr(config, section), name, value)
    return config


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(small(cache), workdir)
    return workdir


@pytest.fixture
def workdir(undisturbed, tmp_path):
    """A run that ended."""
    return shutil.copytree(undisturbed, tmp_path / "run")


class Asked(StopRequest):
    """Asked to stop when the test says so."""

    requested = False


def steps_of(workdir) -> set[str]:
    return {path.name for path in (workdir / "checkpoints").iterdir()}


def validations(workdir) -> list[tuple[int, float]]:
    rows = read_metrics(workdir / "metrics.jsonl")
    return [(row["step"], row["loss"]) for row in rows if row["kind"] == "validation"]


def assert_same_end(one, other) -> None:
    for expected, found in zip(final_state(one), final_state(other), strict=True):
        np.testing.assert_array_equal(expected, found)
    assert validations(one) == validations(other)


def test_asked_to_stop_it_saves_the_step_and_goes_on_after_it(undisturbed, cache, tmp_path, monkeypatch):
    stop, add, seen = Asked(), Meter.add, []

    def add_and_ask(self, step, sums):
        seen.append(step)
        stop.requested = len(seen) == 5
        add(self, step, sums)

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "add", add_and_ask)
        with pytest.raises(Stopped, match="stopped after step 5 of 16: resume with the same command"):
            train(small(cache), tmp_path, stop=stop)
    assert steps_of(tmp_path) == {"4", "5"}
    train(small(cache), tmp_path)
    assert_same_end(undisturbed, tmp_path)


def test_asked_to_stop_in_a_validation_it_goes_on_with_it(undisturbed, cache, tmp_path, monkeypatch):
    stop, evaluate = Asked(), run_module.evaluate

    def ask(*arguments, **how):
        stop.requested = True
        return evaluate(*arguments, **how)

    config = small(cache, checkpoint__every_steps=5)  # So nothing is saved at step 8, where the epoch ends.
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "evaluate", ask)
        with pytest.raises(Stopped, match="stopped after step 8 of 16"):
            train(config, tmp_path, stop=stop)
    assert steps_of(tmp_path) == {"5", "8"}
    assert not validations(tmp_path)
    train(config, tmp_path)
    assert_same_end(undisturbed, tmp_path)


def test_a_loss_that_is_not_finite_names_the_first_step_and_its_examples(cache, tmp_path):
    wild = small(
        cache, train__learning_rate=1e30, train__optimizer="sgd", train__warmup_epochs=2.0, train__log_every_steps=8,
        checkpoint__every_steps=2,
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"the loss is (nan|inf) at step 3 \(step 3 of epoch 1\), program train,"
    ) as said:
        train(wild, tmp_path)
    assert "the checkpoint of step 2 is kept" in str(said.value)
    setup = prepare(wild, abstract=True)
    (step,) = setup.loader(setup.train).steps(2, 3)
    index = np.concatenate([np.asarray(block.index)[np.asarray(block.weight) > 0] for block in step.blocks])
    names = json.loads((tmp_path / "not_finite.json").read_text())["examples"]
    assert names == [setup.train.dataset.source.name(i) for i in index.tolist()]
    assert len(names) == step.num_examples == 64
    assert steps_of(tmp_path) == {"2"}
    assert not (tmp_path / "summary.json").exists()


def test_parameters_that_are_not_finite_are_not_saved(cache, tmp_path):
    """The update of a step shows in the loss of the next one; by then it would have been saved."""
    wild = small(cache, train__learning_rate=1e38, train__optimizer="sgd", train__momentum=0.0,
                 train__weight_decay=1e30, train__warmup_epochs=0.0, checkpoint__every_steps=1)  # fmt: skip
    with pytest.raises(ValueError, match=r"net/.* is not finite after the update at step 1 .*no checkpoint was saved"):
        train(wild, tmp_path)
    assert not steps_of(tmp_path)


def test_data_that_changed_is_refused_where_the_run_goes_on(workdir, cache):
    before = json.loads((workdir / "data.json").read_text())
    before["train"]["labels"], before["test"]["examples"] = "0" * 64, 129
    (workdir / "data.json").write_text(json.dumps(before))
    said = r"train has other labels of its 512 examples; test had 129 examples, now 128"
    with pytest.raises(ValueError, match=said):
        train(small(cache), workdir)
    shutil.rmtree(workdir / "checkpoints")  # Nothing rests on the earlier data any more.
    with Checkpoints(workdir / "checkpoints", keep=1):
        pass
    train(small(cache), workdir)


def test_a_slow_disk_is_named(cache, tmp_path, monkeypatch):
    lines, fill, calls = [], Dataset.fill, []

    def slow(self, *arguments, **how):
        calls.append(0)
        time.sleep(1.5 * (len(calls) == 7))
        return fill(self, *arguments, **how)

    monkeypatch.setattr(watchdog, "say", lines.append)
    monkeypatch.setattr(Dataset, "fill", slow)
    train(small(cache, machine__watchdog_seconds=0.4, machine__num_threads=1, machine__prefetch_steps=1), tmp_path)
    assert any(line.startswith("waiting for the input of step ") for line in lines)
    assert " in slow\n" in (tmp_path / "watchdog.log").read_text()


def test_a_reader_that_dies_ends_the_run(cache, tmp_path, monkeypatch):
    def dying(*_, **__):
        raise RuntimeError("the reader died")

    monkeypatch.setattr(Dataset, "fill", dying)
    with pytest.raises(RuntimeError, match="the reader died"):
        train(small(cache), tmp_path)
