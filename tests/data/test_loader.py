"""Blocks on the device: the same steps on resume, waiting counted, errors passed on."""

import time
from functools import cache

import jax
import numpy as np
import pytest

from fcn_jax.config import ScheduleConfig
from fcn_jax.config_data import AugmentConfig
from fcn_jax.core.schedule import FILLER
from fcn_jax.core.stages import Stages, training_stages
from fcn_jax.data import loader as loading
from fcn_jax.data.dataset import Dataset, open_dataset
from fcn_jax.data.loader import Loader, OwnDevices
from tests.data.made import Signals, assert_same, config_for, dataset, mnist, strong_motion


def make_loader(data: Dataset, stages: Stages, *, num_threads: int = 2) -> Loader:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return Loader(data, stages, sharding=device, num_threads=num_threads, prefetch_steps=3)


@cache
def two_stages(kind: str) -> tuple[Dataset, Stages]:
    """Three epochs at half the size, then one, of sizes drawn anew in each."""
    scales, augment = [0.5, 0.5, 0.5, 1.0], AugmentConfig(scale=(0.8, 1.2), crop=0.2)
    data = dataset(mnist("validation[:150]"), motion=strong_motion(), scale=scales.__getitem__, augment=augment)
    schedule = ScheduleConfig(
        kind=kind, max_buckets=3, examples_per_step=32, num_programs=2 if kind == "stratified" else 1
    )
    return data, training_stages(data.views, [range(3), range(3, 4)], schedule, seed=5)


@pytest.mark.parametrize("kind", ["stratified", "bucketed"])
def test_steps_from_the_middle_are_the_tail_of_all_steps(kind):
    """A run that resumes sees what it would have seen, over the ends of epochs and stages, on any number of threads."""
    data, stages = two_stages(kind)
    stop = stages.total_steps
    whole = list(make_loader(data, stages).steps(0, stop))
    assert len(whole) == stop
    ends = [stages.steps_of(epochs) for epochs in (1.0, 3.0)]
    for start in (1, ends[0] - 1, *ends, ends[1] + 1, stop):
        tail = list(make_loader(data, stages, num_threads=1).steps(start, stop))
        assert len(tail) == stop - start
        for step, again in zip(whole[start:], tail, strict=True):
            assert step._replace(blocks=()) == again._replace(blocks=())
            for block, other in zip(step.blocks, again.blocks, strict=True):
                assert_same(block, other)


@pytest.mark.parametrize("positions_of_a_piece", [10**9, 900, 1], ids=["whole steps", "pieces", "single rows"])
@pytest.mark.parametrize("kind", ["stratified", "bucketed"])
def test_steps_are_those_of_the_course(monkeypatch, kind, positions_of_a_piece):
    monkeypatch.setattr(loading, "POSITIONS_OF_A_PIECE", positions_of_a_piece)
    data, stages = two_stages(kind)
    seen = []
    for number, step in enumerate(make_loader(data, stages).steps(0, stages.total_steps)):
        stage, epoch, position = stages.position(number)
        plan, schedule = stages[stage].plan, stages[stage].schedule
        program, rows = schedule.step(epoch, position)
        assert (step.stage, step.program) == (stage, program)
        shapes = schedule.step_plan.programs[program].blocks
        for block, index, shape in zip(step.blocks, rows, shapes, strict=True):
            assert isinstance(block.image, jax.Array)
            assert block.image.shape == (shape.rows, *plan.shapes[shape.bucket], 1)
            assert_same(block, data.block(index, plan.shapes[shape.bucket], epoch=epoch))
            real = index[index != FILLER]
            assert (np.asarray(block.size)[index != FILLER] == data.views.sizes(epoch)[real]).all()
        seen += [(epoch, int(example)) for index in rows for example in index if example != FILLER]
        weights = np.concatenate([block.weight for block in step.blocks])
        sizes = np.concatenate([block.size for block in step.blocks])
        assert step.num_examples == weights.sum() == sum((index != FILLER).sum() for index in rows)
        assert step.true_positions == sizes.prod(1).sum()
        assert not sizes[weights == 0].any()
    assert sorted(seen) == [(epoch, example) for epoch in range(4) for example in range(150)]


def signal_loader(count: int, **reading) -> Loader:
    data = dataset(Signals(count, **reading), cache_bytes=0)
    schedule = ScheduleConfig(kind="bucketed", max_buckets=1, examples_per_step=8)
    return make_loader(data, training_stages(data.views, [range(1)], schedule, seed=0), num_threads=1)


def test_seconds_waited_grow_with_every_step_waited_for():
    loader = signal_loader(64, seconds_to_read=0.005)
    assert loader.seconds_waited == 0
    waited = [loader.seconds_waited for _ in loader.steps(0, 4)]
    assert waited == sorted(set(waited))
    assert waited[-1] > 0.8 * 4 * 8 * 0.005
    for _ in loader.steps(0, 2):
        assert loader.seconds_waited > waited[-1]


def test_seconds_that_the_device_takes_are_not_waited():
    loader = signal_loader(64)
    for _ in loader.steps(0, 4):
        time.sleep(0.2)
    assert loader.seconds_waited < 0.4


def test_an_error_in_a_thread_arrives():
    loader = signal_loader(8, error="the disk is on fire")
    with pytest.raises(ValueError, match="the disk is on fire"):
        list(loader.steps(0, 1))


def test_rows_of_the_devices_are_those_of_the_schedule_and_filler_behind_them():
    """Two processes of two devices each: every one takes its own rows, and all together take every row once."""
    index = np.array([4, FILLER, 7, 9, 2])
    taken = [OwnDevices.of(HalfOfFour(half)).rows(index).tolist() for half in (0, 1)]
    assert taken == [[4, FILLER, 7, 9], [2, FILLER, FILLER, FILLER]]
    alone = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    assert OwnDevices.of(alone).rows(index).tolist() == index.tolist()


class HalfOfFour(jax.sharding.Sharding):
    """Rows over four devices, as one of two processes sees it."""

    num_devices = 4

    def __init__(self, half: int):
        self._half = half

    def addressable_devices_indices_map(self, global_shape):
        (rows,) = global_shape
        each = rows // 4
        return {
            number: (slice(number * each, (number + 1) * each),) for number in range(4) if number // 2 == self._half
        }


def test_processes_read_what_threads_read(folder, monkeypatch, tmp_path):
    """With a file that turns out bad in another process: it is named here, and forgotten once it is read well."""
    monkeypatch.setattr(loading, "EXAMPLES_FOR_PROCESSES", 0)
    config = config_for(f"folder:{folder}", max_bad_fraction=1.0)
    config.machine.cache_dir, config.machine.disk_cache_mib = str(tmp_path / "cache"), 10
    config.data.augment = AugmentConfig(scale=(0.9, 1.1), flip=True)
    data = open_dataset(config, "train", smallest_input=8, training=True)
    schedule = ScheduleConfig(max_buckets=2, examples_per_step=5, num_programs=1)
    stages = training_stages(data.views, [range(20)], schedule, seed=5)
    bad, content = folder / "train/cat/0.png", (folder / "train/cat/0.png").read_bytes()
    bad.write_bytes(content[:40])
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    loader = Loader(data, stages, sharding=device, num_threads=2, prefetch_steps=1, num_workers=2)
    steps = loader.steps(0, stages.total_steps)
    taken = [next(steps)]
    while not data.bad.unread:
        taken.append(next(steps))
    assert list(data.bad.unread) == [str(bad)]
    bad.write_bytes(content)
    taken += steps
    assert not data.bad.unread
    config.machine.disk_cache_mib = 0
    again = make_loader(open_dataset(config, "train", smallest_input=8, training=True), stages)
    expected = list(again.steps(0, stages.total_steps))
    number_of_bad = data.source.paths.index(str(bad)) if hasattr(data.source, "paths") else 0
    for step, other in zip(taken, expected, strict=True):
        for block, whole in zip(step.blocks, other.blocks, strict=True):
            read = (np.asarray(block.index) >= 0) | (np.asarray(whole.index) != number_of_bad)
            assert_same(jax.tree.map(lambda a, r=read: a[r], block), jax.tree.map(lambda a, r=read: a[r], whole))
    assert sum(step.num_examples for step in taken) < sum(step.num_examples for step in expected)
