"""Loading of blocks onto the device, decoded ahead of time.

Grain reads the steps in pieces by random access, in threads, and returns them in order. The loader joins the pieces,
adds the transfer to the device and counts the seconds of waiting. The run's stages say which examples a step holds, so
an iterator can start at any step. Filler rows at the end of a block make its rows a multiple of the number of devices.
With several processes, each decodes only the rows of its own devices, and the blocks are global arrays.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import grain
import jax
import numpy as np
from jaxtyping import Int

from fcn_jax.config import UserError
from fcn_jax.core.block import Block, filler_block, rows_on_devices
from fcn_jax.core.geometry import format_size
from fcn_jax.core.schedule import FILLER, Schedule
from fcn_jax.core.stages import Position, Stages
from fcn_jax.data.dataset import Dataset


class Step(NamedTuple):
    """One step of a schedule, ready to run."""

    stage: int
    program: int
    """Number of the program in the stage's step plan."""
    blocks: tuple[Block, ...]
    num_examples: int
    """Number of examples that this process read."""
    true_positions: int
    """Number of true positions in these examples, padding excluded."""


POSITIONS_OF_A_PIECE = 2**18
"""A thread reads so many positions of a step at a time, if a row is not larger: five images of 224²."""


class _Pieces:
    """The steps of a run in pieces, as Grain reads them: piece p of P holds every P-th row of each block, from row p.

    So all threads fill the next step, and no step waits for one thread. A piece holds only rows that this process
    decodes.
    """

    def __init__(self, dataset: Dataset, stages: Stages, sharding: jax.sharding.Sharding, *, number: int):
        self._dataset, self._stages, self._sharding, self.number = dataset, stages, sharding, number
        self._rows_of_step = lru_cache(maxsize=64)(self._local_rows)

    def _local_rows(self, number: int) -> tuple[Position, int, list[tuple[tuple[int, ...], Int[np.ndarray, " b"]]]]:
        """Return the place of a step in the run, its program, and the canvas and own rows of its blocks."""
        position = self._stages.position(number)
        stage = self._stages[position.stage]
        program, rows = stage.schedule.step(position.epoch, position.step)
        canvases = [stage.plan.shapes[block.bucket] for block in stage.schedule.step_plan.programs[program].blocks]
        own = [local_rows(self._sharding, index) for index in rows]
        return position, program, list(zip(canvases, own, strict=True))

    def read(self, number: int) -> tuple[int, int, tuple[Block, ...]]:
        """Return the stage and the program of the step of a piece, and the rows of the piece."""
        step, piece = divmod(int(number), self.number)
        position, program, blocks = self._rows_of_step(step)
        return (
            position.stage,
            program,
            tuple(
                self._dataset.block(rows[piece :: self.number], canvas, epoch=position.epoch) for canvas, rows in blocks
            ),
        )


def _joined(pieces: Sequence[Block]) -> Block:
    """Return the block whose every P-th row is in one of P pieces."""
    if len(pieces) == 1:
        return pieces[0]

    def join(*parts: np.ndarray) -> np.ndarray:
        whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
        for number, part in enumerate(parts):
            whole[number :: len(parts)] = part
        return whole

    return jax.tree.map(join, *pieces)


class Loader:
    """An iterator over the steps of a run.

    Args:
        sharding: devices that the blocks go to; their rows are split over the devices.
        num_threads: threads that read.
        prefetch_steps: steps that are read ahead.
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
        number = max(_pieces_of_a_step(stages, sharding), -(-num_threads // prefetch_steps))
        self._pieces = _Pieces(dataset, stages, sharding, number=number)
        self._sharding = sharding
        self._options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch_steps * number)
        self.seconds_waited = 0.0
        """Seconds spent waiting for the next step to be decoded, over all iterations."""

    def steps(self, start: int, stop: int) -> Iterator[Step]:
        """Yield the steps from `start` up to `stop` (excluded), with their blocks on the device."""
        number = self._pieces.number
        pieces = grain.MapDataset.range(start * number, stop * number).map(self._pieces.read)
        read = iter(pieces.to_iter_dataset(self._options))
        for _ in range(start, stop):
            began = time.perf_counter()
            parts = [next(read) for _ in range(number)]
            stage, program, _ = parts[0]
            blocks = tuple(map(_joined, zip(*(blocks for _, _, blocks in parts), strict=True)))
            self.seconds_waited += time.perf_counter() - began
            yield Step(
                stage,
                program,
                jax.make_array_from_process_local_data(self._sharding, blocks),
                num_examples=int(sum(block.weight.sum() for block in blocks)),
                true_positions=int(sum(block.size.prod(1, dtype=np.int64).sum() for block in blocks)),
            )


def _pieces_of_a_step(stages: Stages, sharding: jax.sharding.Sharding) -> int:
    """Return the number of pieces in which this process reads a step."""
    share = len(sharding.addressable_devices) / sharding.num_devices
    most = 1
    for stage in stages:
        for program in stage.schedule.step_plan.programs:
            rows = max(1, round(share * program.rows))
            positions = share * sum(block.rows * math.prod(stage.plan.shapes[block.bucket]) for block in program.blocks)
            most = max(most, min(rows, round(positions / POSITIONS_OF_A_PIECE)))
    return most


@runtime_checkable
class Examples(Protocol):
    """A random-access source of examples: `source[i]` is (values of shape `[*size, c]`, label)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


def load_blocks(
    source: Examples, schedule: Schedule, *, epoch: int, start: int = 0, num_threads: int = 2, prefetch_steps: int = 4
) -> Iterator[tuple[Block, ...]]:
    """Read the steps of an epoch as NumPy blocks, ahead of time in threads; no config is needed.

    Args:
        source: the examples whose sizes the schedule was made from, in the same order.
        start: the first step of the epoch to read.

    Raises:
        UserError: the source has another number of examples, or one is larger than the canvas of its bucket.
    """
    if len(source) != schedule.num_examples:
        raise UserError(
            f"the source has {len(source):,} examples, but the schedule was made for {schedule.num_examples:,}: "
            "make the schedule from the sizes of all examples of the source"
        )

    def read(step: int) -> tuple[Block, ...]:
        program, rows = schedule.step(epoch, int(step))
        canvases = [schedule.plan.shapes[block.bucket] for block in schedule.step_plan.programs[program].blocks]
        return tuple(_padded(source, index, canvas) for index, canvas in zip(rows, canvases, strict=True))

    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch_steps)
    yield from grain.MapDataset.range(start, schedule.steps_per_epoch).map(read).to_iter_dataset(options)


def _padded(source: Examples, index: Int[np.ndarray, " b"], canvas: tuple[int, ...]) -> Block:
    """Put examples on a canvas; index -1 makes a filler row."""
    rows = np.flatnonzero(index != FILLER)
    block = filler_block(len(index), canvas, 1)
    values, labels = zip(*(source[int(number)] for number in index[rows]), strict=True) if len(rows) else ((), ())
    first = np.asarray(values[0] if values else source[0][0])
    image = np.zeros((len(index), *canvas, first.shape[-1]), first.dtype)
    for row, example in zip(rows, map(np.asarray, values), strict=True):
        if any(side > most for side, most in zip(example.shape[:-1], canvas, strict=True)):
            raise UserError(
                f"example {index[row]} is {format_size(example.shape[:-1])}, larger than its canvas, "
                f"{format_size(canvas)}: make the schedule from the sizes that the examples have"
            )
        image[(row, *map(slice, example.shape[:-1]))] = example
        block.size[row], block.weight[row], block.index[row] = example.shape[:-1], 1, index[row]
    block.label[rows] = labels
    return replace(block, image=image)


def local_rows(sharding: jax.sharding.Sharding, index: Int[np.ndarray, " b"]) -> Int[np.ndarray, " local"]:
    """Return the examples of a block whose rows lie on devices of this process, with the filler of the devices."""
    rows = rows_on_devices(len(index), sharding.num_devices)
    pieces = sharding.addressable_devices_indices_map((rows,)).values()
    own = np.unique(np.concatenate([np.arange(rows)[piece] for piece in pieces]))
    return np.pad(index, (0, rows - len(index)), constant_values=FILLER)[own]
