"""The best state of a run: it is kept, survives faults, ends a run that waits too long, and is what commands take."""

import json

import jax
import numpy as np
import optax
import pytest

from fcn_jax import cli
from fcn_jax.commands.train import train
from fcn_jax.config import Config, UserError
from fcn_jax.config_rules import validate
from fcn_jax.core.step import initial_state
from fcn_jax.inference.classifier import restore_trained
from fcn_jax.nets.families import FCN
from fcn_jax.train import run as run_module
from fcn_jax.train.best import Best
from fcn_jax.train.log import MetricsWriter
from tests.commands.stopped import train_until
from tests.commands.test_train_faults import small, validations
from tests.data.conftest import picture as draw_picture

STEPS = 8
"""Steps of an epoch of the tiny config."""
NO_STATE = initial_state({}, {}, optax.identity(), average=False)
ACCURACY = {1: 0.1, 2: 0.5, 3: 0.4, 4: 0.5, 5: 0.3, 6: 0.2}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def config_with_best(cache, **fields) -> Config:
    return small(cache, **{"train__epochs": 6, "checkpoint__best": "accuracy", "checkpoint__every_steps": 5, **fields})


@pytest.fixture
def seen(monkeypatch):
    """Make validations return ACCURACY by epoch; collect the parameters that were evaluated, by step or as `test`."""
    parameters, evaluate = {}, run_module.evaluate

    def scripted(setup, programs, state, split, *, title, attend):
        means = evaluate(setup, programs, state, split, title=title, attend=attend)
        step = "test" if title == "test" else int(state.step)
        parameters[step] = [np.array(leaf) for leaf in jax.tree.leaves(state.params)]
        return means if title == "test" else {**means, "accuracy": ACCURACY[step // STEPS]}

    monkeypatch.setattr(run_module, "evaluate", scripted)
    return parameters


def assert_equal(one, other) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def folders(path) -> set[str]:
    return {each.name for each in path.iterdir()}


def test_the_best_state_is_kept_and_tested_and_the_first_of_equals_counts(cache, tmp_path, seen):
    summary = train(config_with_best(cache), tmp_path)
    assert folders(tmp_path / "best") == {"16"}
    assert (summary["best_accuracy"], summary["best_epoch"]) == (0.5, 2.0)
    assert_equal(seen["test"], seen[16])
    assert len(validations(tmp_path)) == 6


def test_patience_ends_the_run_which_then_stays_ended(cache, tmp_path, seen, capsys):
    config = config_with_best(cache, train__patience=3, train__precise_batch_norm=True)
    summary = train(config, tmp_path)
    assert "statistics were not measured again, since the last step was not reached" in capsys.readouterr().err
    assert [step for step, _ in validations(tmp_path)] == [8, 16, 24, 32, 40]
    assert "40" in folders(tmp_path / "checkpoints")
    assert summary["best_epoch"] == 2.0
    tested = seen.pop("test")
    again = train(config, tmp_path)
    assert again["best_epoch"] == 2.0
    assert [step for step, _ in validations(tmp_path)] == [8, 16, 24, 32, 40]
    assert_equal(seen["test"], tested)


def test_a_run_that_breaks_between_the_best_state_and_its_log_ends_the_same(cache, tmp_path, seen, monkeypatch):
    class BrokenError(Exception):
        pass

    write = MetricsWriter.write

    def breaks(self, step, kind, values):
        if (step, kind) == (16, "validation"):
            raise BrokenError
        write(self, step, kind, values)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", breaks)
        with pytest.raises(BrokenError):
            train(config_with_best(cache), tmp_path / "broken")
    assert folders(tmp_path / "broken/best") == {"16"}
    summary = train(config_with_best(cache), tmp_path / "broken")
    broken = seen.pop("test")
    assert summary["best_epoch"] == 2.0
    train(config_with_best(cache), tmp_path / "whole")
    assert_equal(seen["test"], broken)
    assert validations(tmp_path / "broken") == validations(tmp_path / "whole")


@pytest.mark.parametrize("every_steps", [12, 10**6], ids=["before the best", "at the start"])
def test_a_run_that_goes_back_behind_its_best_state_keeps_the_right_one(cache, tmp_path, seen, every_steps):
    config = config_with_best(cache, train__epochs=3, checkpoint__every_steps=every_steps)
    train_until(config, tmp_path, steps=18)
    assert folders(tmp_path / "best") == {"16"}
    summary = train(config, tmp_path)
    assert folders(tmp_path / "best") == {"16"}
    assert summary["best_epoch"] == 2.0
    assert_equal(seen["test"], seen[16])


def test_a_damaged_best_state_costs_only_itself(cache, tmp_path, seen, capsys):
    train(config_with_best(cache, train__epochs=2), tmp_path)
    for path in (tmp_path / "best/16").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:100])
    train(config_with_best(cache, train__epochs=2), tmp_path)
    assert "WARNING: checkpoint" in capsys.readouterr().err
    assert_equal(seen["test"], seen[16])  # Of the last state, which is the same here.


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory):
    """A run whose best state is not its last."""
    workdir = tmp_path_factory.mktemp("runs") / "trained"
    with pytest.MonkeyPatch.context() as patch:
        evaluate = run_module.evaluate
        patch.setattr(
            run_module,
            "evaluate",
            lambda setup, programs, state, *rest, **named: {
                **evaluate(setup, programs, state, *rest, **named),
                "accuracy": ACCURACY[max(1, int(state.step) // STEPS)],
            },
        )
        train(config_with_best(cache, train__epochs=3), workdir)
    return workdir


@pytest.mark.parametrize(
    ("flags", "step", "said"),
    [
        ([], 16, "the best by validation accuracy (--checkpoint=last: the last)"),
        (["--checkpoint=best"], 16, "the best by validation accuracy"),
        (["--checkpoint=last"], 24, "the last"),
        (["--checkpoint=20"], 20, "as --checkpoint says"),
        (["--checkpoint=16"], 16, "as --checkpoint says"),
    ],
)
def test_evaluate_takes_the_checkpoint_that_is_asked_for_and_says_why(trained, capsys, flags, step, said):
    assert cli.main(["fcn_jax", "evaluate", f"--workdir={trained}", "--split=test[:20]", *flags]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["step"] == step
    assert f"checkpoint: step {step}, {said}" in err


def test_all_commands_of_a_run_take_it(trained, tmp_path, capsys):
    picture = tmp_path / "a.png"
    draw_picture(picture)
    for flags in (["predict", str(picture)], ["cam", f"--out={tmp_path / 'cam'}", str(picture)]):
        assert cli.main(["fcn_jax", flags[0], f"--workdir={trained}", "--checkpoint=last", *flags[1:]]) == 0
        assert "checkpoint: step 24, the last" in capsys.readouterr().err
    assert cli.main(["fcn_jax", "export", f"--workdir={trained}", f"--out={tmp_path / 'net.fcn'}"]) == 0
    assert "checkpoint: step 16, the best" in capsys.readouterr().err


@pytest.mark.parametrize("which", ["7", "newest", "-1"])
def test_an_unknown_checkpoint_is_one_line(trained, capsys, which):
    assert cli.main(["fcn_jax", "evaluate", f"--workdir={trained}", f"--checkpoint={which}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is none of best, last and the steps that" in line
    assert line.endswith("keeps: 16, 20, 24")


def test_a_run_without_a_best_state_says_so(cache, tmp_path):
    train(small(cache), tmp_path)
    assert restore_trained(tmp_path).step == 16
    with pytest.raises(UserError, match="holds no best checkpoint: a run keeps one only if"):
        restore_trained(tmp_path, which="best")


@pytest.mark.parametrize(("metric", "values", "best"), [("loss", [3.0, 2.0, 2.5], 2), ("accuracy", [0.1, 0.2, 0.2], 2)])
def test_a_metric_knows_which_way_is_better(tmp_path, metric, values, best):
    config = Config(model=FCN())
    config.checkpoint.best = metric
    found = Best(tmp_path, config)
    found._checkpoints.save = lambda *_: None  # type: ignore[union-attr]
    assert not found.consider(1, 1.0, {metric: float("nan")}, NO_STATE, {})
    for epoch, value in enumerate(values, start=1):
        found.consider(epoch, float(epoch), {metric: value}, NO_STATE, {})
    assert found.epoch == best
    assert not found.consider(9, 9.0, {metric: float("nan")}, NO_STATE, {})


def test_patience_counts_epochs_of_validations(tmp_path):
    config = Config(model=FCN())
    config.train.patience, config.train.evaluate_every_epochs = 3, 2
    best = Best(tmp_path, config)
    assert not best.is_over(99.0)
    best.epoch = 4.0
    assert [epoch for epoch in (5.0, 6.0, 7.0, 7.5, 8.0, 9.0) if best.is_over(epoch)] == [8.0, 9.0]


@pytest.mark.parametrize(
    ("best", "patience", "every", "said"),
    [("", 3, 1, "names no metric"), ("loss", 0, 0, "nothing is validated"), ("f1", 0, 1, "one of: , accuracy, loss")],
)
def test_what_cannot_be_followed_is_refused(best, patience, every, said):
    config = Config(model=FCN())
    config.checkpoint.best, config.train.patience, config.train.evaluate_every_epochs = best, patience, every
    with pytest.raises(UserError, match=said):
        validate(config)
