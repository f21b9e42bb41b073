"""One device and any other number of them do the same, also where they share the optimiser's state."""

import json
import sys

import pytest

from tests.processes import run_together


@pytest.mark.parametrize(("devices", "steps"), [(4, []), pytest.param(3, [], marks=pytest.mark.full), (5, ["3"])])
def test_any_number_of_devices_takes_the_same_steps_as_one(devices, steps):
    command = [sys.executable, "-m", "tests.commands.compare_devices", *steps]
    (done,) = run_together([command], devices=devices)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for dtype, most in (("float32", 1e-6), ("float64", 1e-9)):
        assert found[dtype]["same_examples"]
        assert found[dtype]["filler_of_devices"] > 0
        assert found[dtype]["largest_difference"] <= most
        assert (found[dtype]["shared_arrays"] > 0) == (devices == 4)  # Their axes have 4, 8 or 10 numbers.
