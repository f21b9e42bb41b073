"""Loading of blocks onto the device, decoded ahead of time.

Grain reads the steps in pieces by random access, in threads, and returns them in order. The loader adds the transfer to
the device and counts the seconds of waiting. Where Python's lock holds up the threads, processes can read in place of
them. The run's stages say which examples a step holds, so an iterator can start at any step. Filler rows at the end of
a block make its rows a multiple of the number of devices. On several hosts, each decodes only the rows of its own
devices, and the blocks are global arrays.
"""

import math
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import grain
import jax
import numpy as np
from absl import flags
from jaxtyping import Int

from fcn_jax.config import UserError
from fcn_jax.core.block import Block, filler_block, rows_on_devices
from fcn_jax.core.geometry import format_size
from fcn_jax.core.schedule import FILLER, Schedule
from fcn_jax.core.stages import Position, Stages
from fcn_jax.data.dataset import Dataset
from fcn_jax.system.machine import keep_freed_memory
from fcn_jax.system.stopping import leave_signals_to_parent


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
EXAMPLES_FOR_PROCESSES = 10_000
"""Fewer examples are read by threads alone: to start a process takes some seconds."""
SHARED_BYTES = 2**16
"""Smaller arrays come from another process as a copy, which takes less than to open shared memory."""


class _Part(NamedTuple):
    """What a thread hands over when it has read a piece of a step."""

    stage: int
    program: int
    blocks: tuple[Block, ...]
    """The blocks of the whole step, which all its pieces share; from another process, the rows of the piece alone."""
    events: tuple[tuple[str, str], ...] = ()
    """What another process noted about bad examples: (name, reason; empty if it was read well)."""


class _Pieces:
    """The steps of a run in pieces, as Grain reads them: piece p of P holds every P-th row of each block, from row p.

    So all threads fill the next step, and no step waits for one thread. Only rows of this process are read.

    Args:
        own: which devices of how many get the rows of this process.
        number: pieces of a step.
    """

    def __init__(self, dataset: Dataset, stages: Stages, own: "OwnDevices", *, number: int):
        self._dataset, self._stages, self.own, self.number = dataset, stages, own, number
        self._begun: dict[int, tuple[Position, _Part, list[Int[np.ndarray, " _"]]]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(_Pieces, number=self.number), (self._dataset, self._stages, self.own)

    def read(self, number: int) -> _Part:
        """Read a piece into the blocks of its step."""
        step, piece = divmod(int(number), self.number)
        with self._lock:
            if step not in self._begun:
                self._begun[step] = self._empty(step)
            position, part, rows = self._begun[step]
        blocks, own = jax.tree.map(lambda values: values[piece :: self.number], (part.blocks, rows))
        self._dataset.fill(blocks, own, epoch=position.epoch)
        return part

    def read_apart(self, number: int) -> _Part:
        """Read a piece in a process that does nothing else: return its rows, and what was noted of bad examples."""
        step, piece = divmod(int(number), self.number)
        position, part, rows = self._empty(step, piece)
        self._dataset.fill(part.blocks, rows, epoch=position.epoch)
        return part._replace(events=tuple(self._dataset.bad.take_events()))

    def whole(self, step: int, parts: Sequence[_Part]) -> _Part:
        """Return a step of which all pieces have been read."""
        if self._begun.pop(step, None) is not None:
            return parts[0]
        self._dataset.bad.note(event for part in parts for event in part.events)
        whole = parts[0]._replace(blocks=tuple(map(_joined, zip(*(part.blocks for part in parts), strict=True))))
        if self._dataset.bad.has_unread:
            epoch = self._stages.position(step).epoch
            self._dataset.note_read(np.concatenate([block.index for block in whole.blocks]), epoch=epoch)
        return whole

    def _empty(self, step: int, piece: int | None = None) -> tuple[Position, _Part, list[Int[np.ndarray, " _"]]]:
        """Return the place of a step in the run, its blocks (or those of a piece) without examples, and their rows."""
        position = self._stages.position(step)
        stage = self._stages[position.stage]
        program, rows = stage.schedule.step(position.epoch, position.step)
        every = slice(piece, None, 1 if piece is None else self.number)
        own = [self.own.rows(index)[every] for index in rows]
        canvases = [stage.plan.shapes[block.bucket] for block in stage.schedule.step_plan.programs[program].blocks]
        blocks = [self._dataset.empty(len(each), canvas) for each, canvas in zip(own, canvases, strict=True)]
        return position, _Part(position.stage, program, tuple(blocks)), own


def _joined(pieces: Sequence[Block]) -> Block:
    """Return the block whose every P-th row is in one of P pieces."""

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
        num_threads: threads that read; with processes, those of all processes together.
        prefetch_steps: steps that are read ahead.
        num_workers: processes that read beside this one, where there is much to read; 0: this process reads.
    """

    def __init__(
        self,
        dataset: Dataset,
        stages: Stages,
        *,
        sharding: jax.sharding.Sharding,
        num_threads: int,
        prefetch_steps: int,
        num_workers: int = 0,
    ):
        self._pieces_of_a_step = max(_pieces_of_a_step(stages, sharding), -(-num_threads // prefetch_steps))
        self._dataset, self._stages, self._sharding = dataset, stages, sharding
        self._num_threads, self._num_workers, self._prefetch_steps = num_threads, num_workers, prefetch_steps
        self.seconds_waited = 0.0
        """Seconds spent waiting for the next step to be decoded, over all iterations."""

    def steps(self, start: int, stop: int) -> Generator[Step]:
        """Yield the steps from `start` up to `stop` (excluded), with their blocks on the device."""
        schedule = self._stages[0].schedule
        examples = (stop - start) * schedule.num_examples / schedule.steps_per_epoch
        workers = self._num_workers if examples >= EXAMPLES_FOR_PROCESSES else 0
        pieces = _Pieces(
            self._dataset, self._stages, OwnDevices.of(self._sharding), number=workers or self._pieces_of_a_step
        )
        first, last = start * pieces.number, stop * pieces.number
        read = self._read_in_processes(pieces, first, last) if workers else self._read_in_threads(pieces, first, last)
        try:
            for step in range(start, stop):
                began = time.perf_counter()
                stage, program, blocks, _ = pieces.whole(step, [next(read) for _ in range(pieces.number)])
                self.seconds_waited += time.perf_counter() - began
                yield Step(
                    stage,
                    program,
                    jax.make_array_from_process_local_data(self._sharding, blocks),
                    num_examples=int(sum(block.weight.sum() for block in blocks)),
                    true_positions=int(sum(block.size.prod(1, dtype=np.int64).sum() for block in blocks)),
                )
        finally:
            if workers:
                read.close()

    def _read_in_threads(self, pieces: _Pieces, first: int, last: int) -> Any:
        """Read pieces ahead of time, in their order."""
        ahead = self._prefetch_steps * pieces.number
        options = grain.ReadOptions(num_threads=self._num_threads, prefetch_buffer_size=ahead)
        return iter(grain.MapDataset.range(first, last).map(pieces.read).to_iter_dataset(options))

    def _read_in_processes(self, pieces: _Pieces, first: int, last: int) -> Any:
        """Read pieces ahead of time, in their order: a process always reads the same piece of a step."""
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain asks for its own, which keep their defaults.
        number, ahead = self._num_workers, self._prefetch_steps
        apart = _Pieces(self._dataset.for_process(number), self._stages, pieces.own, number=number)
        read = grain.MapDataset.range(first, last).map(apart.read_apart)
        threads = max(1, self._num_threads // number)
        shared = grain.experimental.DatasetOptions(min_shm_size=SHARED_BYTES)
        return iter(
            grain.experimental.WithOptionsIterDataset(
                read.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)), shared
            ).mp_prefetch(
                grain.MultiprocessingOptions(num_workers=number, per_worker_buffer_size=ahead),
                worker_init_fn=_begin_process,
            )
        )


def _begin_process(worker: int, number: int) -> None:
    """Prepare a process that reads; Grain says which of how many it is."""
    del worker, number
    keep_freed_memory()
    leave_signals_to_parent()


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


@dataclass(frozen=True)
class OwnDevices:
    """The devices of this process among those that share the rows of a block; it can be sent to another process."""

    places: tuple[int, ...]
    number: int
    """Devices of all processes."""

    @classmethod
    def of(cls, sharding: jax.sharding.Sharding) -> "OwnDevices":
        number = sharding.num_devices
        parts = [part for part in sharding.addressable_devices_indices_map((number,)).values() if part is not None]
        return cls(tuple(sorted({place for (part,) in parts for place in range(number)[part]})), number)

    def rows(self, index: Int[np.ndarray, " b"]) -> Int[np.ndarray, " local"]:
        """Return the examples of a block whose rows lie on these devices, with the filler of the devices."""
        rows = rows_on_devices(len(index), self.number)
        padded = np.pad(index, (0, rows - len(index)), constant_values=FILLER)
        return padded.reshape(self.number, -1)[list(self.places)].ravel()
