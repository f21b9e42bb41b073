"""Any number of devices shares a block, if all processes have equally many."""

from types import SimpleNamespace

import jax
import pytest

from fcn_jax.config import UserError
from fcn_jax.system.processes import check_devices


def cluster(monkeypatch, *devices_of_each: int) -> None:
    devices = [SimpleNamespace(process_index=number) for number, own in enumerate(devices_of_each) for _ in range(own)]
    monkeypatch.setattr(jax, "devices", lambda: devices)


def test_processes_of_equally_many_devices_work_together(monkeypatch):
    for devices_of_each in ((1,), (3,), (5, 5, 5), (8, 8)):
        cluster(monkeypatch, *devices_of_each)
        check_devices()


def test_processes_of_other_numbers_are_refused(monkeypatch):
    cluster(monkeypatch, 2, 1)
    with pytest.raises(UserError, match="but process 0 has 2, process 1 has 1: let each see"):
        check_devices()
