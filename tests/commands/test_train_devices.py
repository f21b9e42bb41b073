"""One device and four do the same."""

import json
import sys

import jax
import pytest

from configs.mnist import get_config
from fcn_jax.train.setup import make_mesh
from tests.processes import run_together


def test_four_devices_take_the_same_steps_as_one():
    (done,) = run_together([[sys.executable, "-m", "tests.commands.compare_devices"]], devices=4)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["float32"]["same_examples"]
    assert found["float64"]["same_examples"]
    assert found["float32"]["largest_difference"] <= 1e-6
    assert found["float64"]["largest_difference"] <= 1e-9


def test_devices_that_do_not_divide_the_rows_are_refused():
    config = get_config()
    config.schedule.rows_multiple_of = 8
    with pytest.raises(
        ValueError, match=r"rows_multiple_of is 8, but the 3 devices .*rows_multiple_of=9 .*examples_per_step=513"
    ):
        make_mesh(config, jax.devices()[:1] * 3)
