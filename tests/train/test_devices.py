"""Any number of devices shares a block, and what their filler costs is said; advice about it helps."""

import re
from types import SimpleNamespace

import jax
import pytest

from configs.mnist import get_config
from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import overridden
from fcn_jax.data.sources import open_data
from fcn_jax.system.processes import check_devices
from fcn_jax.train.devices import (
    WORTH_SAYING,
    describe_change,
    describe_filler,
    describe_small_blocks,
    largest_divisor,
)
from fcn_jax.train.setup import Split, train_split


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


def config_of(examples_per_step: int, max_buckets: int = 6) -> Config:
    config = get_config("tiny")
    config.schedule.max_buckets, config.schedule.examples_per_step = max_buckets, examples_per_step
    return config


def split_of(config: Config) -> Split:
    return train_split(config, open_data(config), platform="cpu")[1]


@pytest.mark.parametrize(("examples", "devices"), [(128, 8), (128, 3), (100, 8)])
def test_a_new_run_with_the_advised_rows_has_the_fill_that_is_told(examples, devices):
    config = config_of(examples)
    train = split_of(config)
    line = describe_filler(train, config, devices)
    told = re.search(r"is ([\d.]+) on \d+ devices, but ([\d.]+) on one: .*rows_multiple_of=(\d+) has ([\d.]+)", line)
    assert told is not None, line
    here, alone, multiple, better = map(float, told.groups())
    advised = overridden(config, {"schedule.rows_multiple_of": int(multiple)})
    stages = split_of(advised).stages
    assert here == pytest.approx(train.stages.fill_on(devices), abs=6e-4)
    assert alone == pytest.approx(train.stages.fill, abs=6e-4)
    assert better == pytest.approx(stages.fill_on(devices), abs=6e-4)
    assert better > here
    assert not describe_filler(Split(train.dataset, stages), advised, devices)


def test_nothing_is_said_where_devices_cost_nothing():
    config = config_of(128)
    train = split_of(config)
    assert not describe_filler(train, config, 1)
    assert not describe_change(train.stages, before=8, now=1)
    assert not describe_change(train.stages, before=8, now=8)
    config.schedule.rows_multiple_of = 8
    assert not describe_filler(split_of(config), config, 8)


def test_no_rows_are_advised_to_a_step_of_fewer_examples_than_devices():
    config = config_of(4, max_buckets=2)
    line = describe_filler(split_of(config), config, 7)
    assert "on 7 devices" in line
    assert "a new run" not in line


def test_going_on_with_more_devices_is_told_with_its_cost():
    stages = split_of(config_of(128)).stages
    fill, here = stages.fill, stages.fill_on(8)
    assert here < (1 - WORTH_SAYING) * fill
    line = describe_change(stages, before=1, now=8)
    assert f"began on 1 device, with a run fill of {fill:.3f}; on 8 it is {here:.3f}" in line


def test_divisors():
    assert [largest_divisor(number) for number in (1, 2, 3, 4, 9, 12, 35, 256)] == [1, 1, 1, 2, 3, 6, 7, 128]


def test_small_blocks_are_said_on_gpus_alone():
    small, large, whole = (
        split_of(config_of(128)),
        split_of(config_of(512)),
        split_of(config_of(16, max_buckets=1)),
    )
    assert re.match(r"a block has \d+ rows on each GPU", describe_small_blocks(small, 1, platform="gpu"))
    assert "config.schedule.examples_per_step" in describe_small_blocks(large, 8, platform="gpu")
    for line in (
        describe_small_blocks(small, 1, platform="cpu"),
        describe_small_blocks(small, 1, platform="tpu"),
        describe_small_blocks(large, 1, platform="gpu"),
        describe_small_blocks(whole, 1, platform="gpu"),
    ):
        assert not line
