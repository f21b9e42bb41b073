"""Blocks on the device, decoded ahead of it.

Grain reads steps by random access in threads, in order; this adds the transfer and counts the seconds somebody
waited. Which examples a step holds is the schedule's business, so an iterator can start at any (epoch, step).
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import grain
import jax
import numpy as np

from fcn_jax.data.buckets import BucketPlan
from fcn_jax.data.dataset import Dataset
from fcn_jax.data.schedule import Schedule
from fcn_jax.types import Block


class Step(NamedTuple):
    """One step of a schedule, ready to run."""

    program: int
    blocks: tuple[Block, ...]
    num_examples: int
    true_positions: int


class _Steps:
    """Steps of a run by their global number, for Grain."""

    def __init__(self, dataset: Dataset, schedule: Schedule, plan: BucketPlan):
        self._dataset, self._schedule, self._plan = dataset, schedule, plan

    def __len__(self) -> int:
        return np.iinfo(np.int32).max

    def __getitem__(self, number: int) -> Step:
        epoch, step = divmod(int(number), self._schedule.steps_per_epoch)
        program, rows = self._schedule.step(epoch, step)
        shapes = [self._plan.shapes[block.bucket] for block in self._schedule.layout.programs[program].blocks]
        blocks = tuple(
            self._dataset.block(index, shape, epoch=epoch) for index, shape in zip(rows, shapes, strict=True)
        )
        return Step(
            program,
            blocks,
            num_examples=int(sum(block.weight.sum() for block in blocks)),
            true_positions=int(sum(block.size.prod(1, dtype=np.int64).sum() for block in blocks)),
        )


class Loader:
    """Iterates over the steps of a schedule.

    Args:
        sharding: where blocks go; their rows are split over the devices.
    """

    def __init__(
        self,
        dataset: Dataset,
        schedule: Schedule,
        plan: BucketPlan,
        *,
        sharding: jax.sharding.Sharding,
        num_threads: int,
        prefetch_steps: int,
    ):
        self._steps = _Steps(dataset, schedule, plan)
        self._sharding = sharding
        self._options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch_steps)
        self.seconds_waited = 0.0
        """For the next step to be decoded, all iterations together."""

    def steps(self, start: int, stop: int) -> Iterator[Step]:
        """Steps `start` up to `stop` of the run, blocks on the device."""
        data = grain.MapDataset.range(start, stop).map(self._steps.__getitem__).to_iter_dataset(self._options)
        steps = iter(data)
        while True:
            began = time.perf_counter()
            step = next(steps, None)
            self.seconds_waited += time.perf_counter() - began
            if step is None:
                return
            yield step._replace(blocks=jax.device_put(step.blocks, self._sharding))
