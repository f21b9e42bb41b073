"""A trained net is evaluated on the devices that divide its rows, and what is advised about devices can be done."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fcn_jax.config import UserError
from fcn_jax.train.setup import dividing_devices, make_mesh, most_dividing
from tests.test_remedies import broken, three_devices


def cluster(monkeypatch, processes: int, each: int) -> None:
    devices = [SimpleNamespace(process_index=process) for process in range(processes) for _ in range(each)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    monkeypatch.setattr(jax, "process_count", lambda: processes)


@pytest.mark.parametrize(
    ("processes", "each", "used"),
    [(1, 1, 1), (1, 3, 2), (1, 8, 8), (1, 9, 8), (2, 3, 4), (2, 5, 8), (4, 1, 4), (8, 4, 8)],
)
def test_a_net_is_evaluated_on_as_many_devices_as_divide_its_rows(monkeypatch, capsys, processes, each, used):
    cluster(monkeypatch, processes, each)
    chosen = dividing_devices(broken(schedule__rows_multiple_of=8))
    shares = np.bincount([device.process_index for device in chosen])
    assert shares.tolist() == [used // processes] * processes
    said = f"using {used} of {processes * each} devices" if used < processes * each else ""
    assert capsys.readouterr().err.startswith(said)


def test_the_advised_number_of_processes_divides_the_rows(monkeypatch):
    cluster(monkeypatch, 3, 1)
    with pytest.raises(UserError, match=r"start \d+ of them$") as error:
        dividing_devices(broken())
    cluster(monkeypatch, int(str(error.value).split()[-3]), 1)
    assert len(dividing_devices(broken())) == 2


def test_the_advised_number_of_devices_divides_the_rows():
    with pytest.raises(UserError, match=r"or use \d+ of the devices$") as error:
        three_devices(broken())
    number = int(str(error.value).split()[-4])
    assert number == most_dividing(3, 8)
    make_mesh(broken(), jax.devices()[:1] * number if number == 1 else [*jax.devices()[:1]])
