"""A few wrong inputs of every kind: a line and an exit code, never a traceback, a hang, gigabytes or a file elsewhere.

`make bad-input` tries thousands.
"""

import jax
import pytest
from hypothesis import HealthCheck, given, settings
from jax.experimental.compilation_cache import compilation_cache

from tests.bad_input.attempt import Attempt, run_here
from tests.bad_input.kinds import KINDS
from tests.bad_input.world import World

EXAMPLES = {"records of a report": 3, "checkpoints": 6, "workdirs": 15, "artifacts": 15, "safetensors": 6,
            "pictures": 4, "signals": 6}  # fmt: skip
"""Share of the slower kinds that is tried."""
EXAMPLES_OF_OTHERS = 40
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs an attempt with a home directory of its own, which stays the same: JAX keeps to the first cache it has.

    What tests before these have used is forgotten.
    """
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    folder = tmp_path_factory.mktemp("bad_input")
    (folder / "home/.cache").mkdir(parents=True)
    (folder / "tried").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        yield lambda attempt: run_here(attempt, folder / "tried/here")


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_input_is_one_line_or_a_bad_example(kind, world, run):
    @settings(max_examples=EXAMPLES.get(kind, EXAMPLES_OF_OTHERS), suppress_health_check=SLOW)
    @given(KINDS[kind](world))
    def each(attempt: Attempt) -> None:
        outcome = run(attempt)
        assert not outcome.failure, f"{outcome.failure}\n{outcome.said}"

    each()


def config(content: bytes, *arguments: str) -> Attempt:
    return Attempt(("shapes", "--size=28x28", "--config=config.py", *arguments), {"config.py": content})


@pytest.mark.parametrize(
    "content", [b"1 / 0", b"assert False", b"def get_config(): return get_config()", b"open('nosuch')"]
)
def test_a_config_file_that_raises_is_one_line(content, run):
    outcome = run(config(content))
    assert outcome.code == 2
    assert "--config=config.py cannot be read: " in outcome.said
    assert len(outcome.said.splitlines()) == 1


FAILURES = {
    "something unpickled": (
        config(b"import pickle\npickle.loads(b'cbuiltins\\nlen\\n.')\ndef get_config(): pass"),
        "it unpickles",
    ),
    "a file elsewhere": (config(b"open('../elsewhere', 'w')\ndef get_config(): pass"), "it writes"),
    "a folder elsewhere": (config(b"import os\nos.mkdir('../elsewhere')\ndef get_config(): pass"), "it writes"),
}


@pytest.mark.parametrize(("attempt", "said"), FAILURES.values(), ids=FAILURES.keys())
def test_what_may_not_happen_is_noticed(attempt, said, run):
    assert said in run(attempt).failure


def test_a_traceback_is_noticed(run, monkeypatch):
    monkeypatch.setattr("fcn_jax.cli.COMMANDS", {"shapes": lambda _: 1 // 0})
    assert "ZeroDivisionError" in run(config(b"")).failure


def test_another_exit_code_is_noticed(run, monkeypatch):
    monkeypatch.setattr("fcn_jax.cli.COMMANDS", {"shapes": lambda _: 7})
    assert "exit code 7" in run(config(b"")).failure


def test_a_hang_is_noticed(run, monkeypatch):
    monkeypatch.setattr("tests.bad_input.attempt.SECONDS_TO_WAIT", 0.1)
    assert "hangs" in run(config(b"import time; time.sleep(9)")).failure


def test_gigabytes_are_noticed(run, monkeypatch):
    assert "MiB" in run(config(b"held = b'1' * 1_700_000_000")).failure


def test_gigabytes_of_another_are_not(run):
    held = b"1" * 1_700_000_000
    assert "MiB" not in run(config(b"")).failure
    del held
