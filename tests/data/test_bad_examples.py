"""Bad examples as they are now: a fault that passes is forgotten, and what is bad is said once, with its reason."""

import builtins
import errno
import json
import pickle

import numpy as np
import pytest

from fcn_jax.data.bad_examples import BadExampleError, BadExamples
from fcn_jax.data.files import read_file
from fcn_jax.inference.evaluation import answered
from fcn_jax.inference.opened_run import OpenedRun
from fcn_jax.system import disk
from fcn_jax.train.compile_in_threads import compile_programs
from fcn_jax.train.passes import evaluate
from fcn_jax.train.setup import prepare
from tests.data.made import config_for, opened


@pytest.fixture
def failing(monkeypatch) -> dict[str, int]:
    """{path: how many times opening it will still fail}; nothing waits."""
    times, really_open = {}, builtins.open

    def flaky_open(file, *arguments, **options):
        if times.get(str(file), 0) > 0:
            times[str(file)] -= 1
            raise OSError(errno.EIO, "Input/output error", str(file))
        return really_open(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", flaky_open)
    monkeypatch.setattr(disk, "PAUSES", (0.0, 0.0))
    return times


def test_a_file_that_fails_twice_is_read(folder, failing):
    path = str(folder / "train/cat/0.png")
    failing[path] = 2
    assert read_file(path).startswith(b"\x89PNG")
    failing[path] = 3
    with pytest.raises(BadExampleError, match="Input/output error"):
        read_file(path)


@pytest.mark.parametrize("cache_mib", [0, 100])
def test_what_is_bad_in_one_epoch_is_read_in_the_next(folder, failing, tmp_path, capsys, cache_mib):
    config = config_for(f"folder:{folder}", max_bad_fraction=0.1)
    config.machine.cache_mib = cache_mib
    data, name = opened(config), str(folder / "train/cat/0.png")
    failing[name] = 3
    assert data.block(np.arange(12), (16, 16), epoch=0).weight.tolist() == [0, *[1] * 11]
    assert data.bad.reasons == {name: "Input/output error"}
    assert data.block(np.arange(12), (16, 16), epoch=1).weight.tolist() == [1] * 12
    assert (len(data.bad), data.bad.reasons, data.bad.unread) == (0, {}, {})
    data.bad.say_new()
    assert f"1 of 12 examples of train could not be read: {name}: " in capsys.readouterr().err
    data.bad.write_new(tmp_path / "bad.jsonl")
    assert json.loads((tmp_path / "bad.jsonl").read_text())["name"] == name


def test_only_what_is_bad_now_counts(capsys):
    bad = BadExamples("train", 10, max_fraction=0.1, left_out={"z": "no image"})
    for name in "abcdefgh":
        bad.add(name, "it hangs")
        bad.read_well(name)
    bad.check()
    bad.add("a", "it hangs")
    with pytest.raises(ValueError, match=r"2 of the 10 examples of train are bad, .* allows: z: no image; a: it hangs"):
        bad.check()
    assert capsys.readouterr().err == ""


def test_every_bad_example_is_said_once_until_it_is_read(capsys):
    bad = BadExamples("test", 1200, max_fraction=1.0, left_out={"z": "no image"})

    def said() -> str:
        bad.say_new()
        return capsys.readouterr().err

    assert said() == ""
    bad.add("b.png", "it is torn")
    assert said() == "1 of 1,200 examples of test could not be read: b.png: it is torn\n"
    assert said() == ""
    for name in "cdefg":
        bad.add(name, "no")
    assert said() == "5 of 1,200 examples of test could not be read: c: no; d: no; e: no; and 2 more\n"
    bad.read_well("b.png")
    bad.add("b.png", "it is gone")
    assert said() == "1 of 1,200 examples of test could not be read: b.png: it is gone\n"


def test_processes_tell_each_other_what_is_bad_and_what_is_no_more(capsys):
    one, two = (BadExamples("train", 10, max_fraction=1.0) for _ in range(2))

    def share() -> dict[str, str]:
        events = json.loads(json.dumps([one.take_events(), two.take_events()]))
        one.adopt(events, own=0)
        two.adopt(events, own=1)
        assert one.reasons.keys() == two.reasons.keys()
        return one.reasons

    def said() -> str:
        one.say_new()
        return capsys.readouterr().err

    one.add("a", "torn")
    assert share() == {"a": "torn"}
    assert "1 of 10 examples of train could not be read: a: torn" in said()
    two.read_well("a")
    one.add("b", "gone")
    assert share() == {"b": "gone"}
    one.read_well("b")
    two.add("b", "torn")
    assert set(share()) == {"b"}
    assert share() == share()
    assert said().count(": b: ") == 1
    two.add("c", "busy")
    two.read_well("c")
    assert set(share()) == {"b"}
    assert ": c: busy" in said()
    assert said() == ""


def test_the_counts_of_an_evaluation_are_its_own(folder, failing, capsys):
    config = config_for(f"folder:{folder}", max_bad_fraction=0.3, min_side=16)
    config.model.channels = (4,)
    config.schedule.examples_per_step = config.evaluate.examples_per_step = 8
    config.machine.cache_mib = 0
    setup = prepare(config)
    split, paths = setup.validation, [str(folder / "validation" / place) for place in ("cat/0.png", "dog/1.png")]
    programs = compile_programs(setup, train=False, splits=(split,))
    counts, _ = [], capsys.readouterr()
    for path in (*paths, None):
        failing.update({path: 3} if path else {})
        counts.append(evaluate(setup, programs, setup.state, split, title="validation")["count"])
        said = f"1 of 4 examples of validation could not be read: {path}: Input/output error\n" if path else ""
        assert capsys.readouterr().err == said
    assert counts == [3, 3, 4]
    failing[paths[1]] = 3
    run = OpenedRun(setup, setup.state, split, "validation", "validation")
    evaluation = answered(run, title="validation")
    assert (evaluation.means["count"], evaluation.bad) == (3, {paths[1]: "Input/output error"})
    assert answered(run, title="validation").means["count"] == 4


def test_another_process_knows_what_is_bad_and_tells_only_its_own_events():
    bad = BadExamples("train", 10, max_fraction=1.0)
    bad.add("a", "it is cut off")
    other = pickle.loads(pickle.dumps(bad))
    assert other.unread == {"a": "it is cut off"}
    assert other.take_events() == []
    other.read_well("a")
    bad.note(other.take_events())
    assert not bad.unread
