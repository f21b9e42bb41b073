"""Blocks on the device, decoded ahead of it.

Grain reads steps by random access in threads, in order; this adds the transfer and counts the seconds somebody
waited. The run's stages say which examples a step holds, so an iterator can start at any step. With several processes
each decodes the rows of its own devices only, and the blocks are global arrays.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import grain
import jax
import numpy as np
from jaxtyping import Int

from fcn_jax.core.block import Block
from fcn_jax.core.stages import Stages
from fcn_jax.data.dataset import Dataset


class Step(NamedTuple):
    """One step of a schedule, ready to run."""

    stage: int
    program: int
    """Of the stage's step_plan."""
    blocks: tuple[Block, ...]
    num_examples: int
    """That this process read, and so below."""
    true_positions: int


class _Steps:
    """What this process reads of the steps of a run, by their number, for Grain."""

    def __init__(self, dataset: Dataset, stages: Stages, sharding: jax.sharding.Sharding):
        self._dataset, self._stages, self._sharding = dataset, stages, sharding

    def __len__(self) -> int:
        return self._stages.total_steps

    def __getitem__(self, number: int) -> Step:
        position = self._stages.position(int(number))
        stage = self._stages[position.stage]
        program, rows = stage.schedule.step(position.epoch, position.step)
        canvases = [stage.plan.shapes[block.bucket] for block in stage.schedule.step_plan.programs[program].blocks]
        blocks = tuple(
            self._dataset.block(index[local_rows(self._sharding, len(index))], canvas, epoch=position.epoch)
            for index, canvas in zip(rows, canvases, strict=True)
        )
        return Step(
            position.stage,
            program,
            blocks,
            num_examples=int(sum(block.weight.sum() for block in blocks)),
            true_positions=int(sum(block.size.prod(1, dtype=np.int64).sum() for block in blocks)),
        )


class Loader:
    """Iterates over the steps of a run.

    Args:
        sharding: where blocks go; their rows are split over the devices.
    """

    def __init__(
        self,
        dataset: Dataset,
        stages: Stages,
        *,
        sharding: jax.sharding.Sharding,
        num_threads: int,
        prefetch_steps: int,
    ):
        self._steps = _Steps(dataset, stages, sharding)
        self._sharding = sharding
        self._options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch_steps)
        self.seconds_waited = 0.0
        """For the next step to be decoded, all iterations together."""

    def steps(self, start: int, stop: int) -> Iterator[Step]:
        """Steps `start` up to `stop`, blocks on the device."""
        data = grain.MapDataset.range(start, stop).map(self._steps.__getitem__).to_iter_dataset(self._options)
        steps = iter(data)
        while True:
            began = time.perf_counter()
            step = next(steps, None)
            self.seconds_waited += time.perf_counter() - began
            if step is None:
                return
            yield step._replace(blocks=jax.make_array_from_process_local_data(self._sharding, step.blocks))


def local_rows(sharding: jax.sharding.Sharding, rows: int) -> Int[np.ndarray, " local"]:
    """Which of a block's rows lie on devices of this process."""
    pieces = sharding.addressable_devices_indices_map((rows,)).values()
    return np.unique(np.concatenate([np.arange(rows)[piece] for piece in pieces]))
