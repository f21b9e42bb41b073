"""The watchdog says where a run waits, and only then."""

import time

import pytest

from fcn_jax.system import watchdog
from fcn_jax.system.watchdog import Watchdog


@pytest.fixture
def said(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(watchdog, "say", lines.append)
    return lines


def test_it_names_the_place_and_writes_where_threads_stand(said, tmp_path):
    with Watchdog(0.05, tmp_path / "watchdog.log") as dog:
        dog.waits_for("the input of step 7")
        while len(said) < 2:
            time.sleep(0.01)
    assert said[0].startswith("waiting for the input of step 7: ")
    assert len(said) <= 5, "the bound doubles"
    log = (tmp_path / "watchdog.log").read_text()
    assert "test_it_names_the_place_and_writes_where_threads_stand" in log


def test_a_clock_that_is_set_changes_nothing(said, tmp_path, monkeypatch):
    with Watchdog(30.0, tmp_path / "watchdog.log") as dog:
        monkeypatch.setattr(time, "time", lambda: 4e9)
        dog.waits_for("the device")
        time.sleep(0.1)
    assert not said


def test_it_is_quiet_when_it_is_off(said, tmp_path):
    with Watchdog(0.0, tmp_path / "watchdog.log"):
        time.sleep(0.1)
    assert not said


def test_a_disk_that_takes_no_log_does_not_stop_it(said, tmp_path):
    with Watchdog(0.02, tmp_path / "missing" / "watchdog.log"):
        while not said:
            time.sleep(0.01)
    assert "cannot be written: No such file" in said[0]
