"""The schedule: which examples stand in which row of which block, a pure function of (plan, seed, epoch).

A *layout* is fixed for a stage of training, since its programs are compiled and the learning rate counts its steps:
which buckets each program holds, with how many rows, and how often each program runs in an epoch. Every epoch then
fills the layout with a new order. Every example stands exactly once an epoch; what overflows its bucket moves up to
one that covers it; rows left over are filler (-1), spread evenly. A position is (epoch, step), and nothing here
depends on the machine.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from fcn_jax.data.buckets import BucketPlan
from fcn_jax.data.draws import shuffled_order

FILLER = -1


@dataclass(frozen=True)
class BlockShape:
    """Rows of one bucket in one program."""

    bucket: int
    rows: int


@dataclass(frozen=True)
class Program:
    """What is compiled as one: the blocks of a step, and how many steps of an epoch look like that."""

    blocks: tuple[BlockShape, ...]
    steps: int

    @property
    def rows(self) -> int:
        return sum(block.rows for block in self.blocks)


@dataclass(frozen=True)
class Layout:
    """The programs of an epoch over a plan of `num_buckets` buckets."""

    programs: tuple[Program, ...]
    num_buckets: int

    @property
    def steps_per_epoch(self) -> int:
        return sum(program.steps for program in self.programs)

    @property
    def rows_per_epoch(self) -> int:
        return sum(program.rows * program.steps for program in self.programs)

    @cached_property
    def capacity(self) -> np.ndarray:
        """Rows of every bucket in an epoch, [num_buckets]."""
        return np.add.reduce([rows * program.steps for rows, program in zip(self.rows, self.programs, strict=True)])

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows of every bucket in every program, [programs, num_buckets]."""
        rows = np.zeros((len(self.programs), self.num_buckets), np.int64)
        for row, program in zip(rows, self.programs, strict=True):
            for block in program.blocks:
                row[block.bucket] += block.rows
        return rows


def next_covering(plan: BucketPlan) -> np.ndarray:
    """[k] For every bucket the smallest larger one that covers it, where its overflow moves; -1 for the last."""
    above = np.triu(plan.covers(), k=1)
    return np.where(above.any(1), above.argmax(1), -1)


def move_up(demand: np.ndarray, capacity: np.ndarray, above: np.ndarray) -> np.ndarray:
    """How many examples each bucket holds once overflow has moved up; the last may hold more than its capacity.

    Args:
        demand: [k] examples of every bucket.
        capacity: [..., k] rows of every bucket.
        above: [k] from `next_covering`.

    Returns:
        [..., k]
    """
    held = np.broadcast_to(demand, capacity.shape).astype(np.int64)
    for bucket in range(len(demand) - 1):
        overflow = np.maximum(0, held[..., bucket] - capacity[..., bucket])
        held[..., bucket] -= overflow
        held[..., above[bucket]] += overflow
    return held


def stratified_layout(
    plan: BucketPlan,
    demand: np.ndarray,
    *,
    examples_per_step: int,
    rows_multiple_of: int,
    turns: int = 1,
) -> Layout:
    """One block from every bucket in each step, in the proportion the data has them.

    With `turns`, that many programs share the steps: a half, a quarter, and so on, the last share twice. A bucket may
    stand in only some of them, so that a rare large one takes `rows_multiple_of` rows of few steps and not of all.

    Args:
        demand: [k] examples of every bucket.

    Returns:
        A layout of few padded positions whose programs each mix the buckets: program by program the next
        `rows_multiple_of` rows go to the bucket with most examples left. Then single ones move up until all examples
        find a row, and down while they still do.
    """
    if examples_per_step < 1 or examples_per_step % rows_multiple_of:
        raise ValueError(
            f"schedule.examples_per_step is {examples_per_step}, but it must be a multiple of "
            f"schedule.rows_multiple_of, which is {rows_multiple_of}"
        )
    steps = _share_steps(max(turns, -(-int(demand.sum()) // examples_per_step)), turns)
    units = _most_left_first(demand, examples_per_step // rows_multiple_of, rows_of_a_unit=steps * rows_multiple_of)
    above = next_covering(plan)
    for direction in ("up", "down"):
        better = units
        while better is not None:
            units = better
            better = _move_one_unit(
                units, demand, plan.areas, above, direction=direction, rows_of_a_unit=steps * rows_multiple_of
            )
    programs = [
        Program(
            tuple(BlockShape(int(bucket), int(row[bucket]) * rows_multiple_of) for bucket in np.flatnonzero(row)),
            int(number),
        )
        for row, number in zip(units, steps, strict=True)
    ]
    return Layout(tuple(programs), len(demand))


def _share_steps(total: int, turns: int) -> np.ndarray:
    """[turns] whole numbers of steps, at least 1 each: about a half of `total`, a quarter, ..., the last twice."""
    ends = np.round(total * (1 - 0.5 ** np.arange(turns))).astype(np.int64)
    return np.maximum(1, np.diff(np.append(ends, total)))


def _most_left_first(demand, units_of_a_step: int, *, rows_of_a_unit) -> np.ndarray:
    """[turns, k] units: each goes to the bucket with the most examples that have no row yet."""
    units, left = np.zeros((len(rows_of_a_unit), len(demand)), np.int64), demand.astype(np.int64)
    for turn, rows in enumerate(rows_of_a_unit):
        for _ in range(units_of_a_step):
            bucket = int(np.argmax(left))
            units[turn, bucket] += 1
            left[bucket] -= rows
    return units


def _move_one_unit(units, demand, areas, above, *, direction: str, rows_of_a_unit) -> np.ndarray | None:
    """`units` [turns, k] with one of them in another bucket; None where that is done.

    Down: the move that saves most positions and leaves every example a row. Up: while some have none, the move that
    gives most of them one, for the positions it adds.
    """
    turn, source = np.nonzero(units)
    turn, source = np.repeat(turn, len(areas)), np.repeat(source, len(areas))
    target = np.tile(np.arange(len(areas)), len(turn) // len(areas))
    added = rows_of_a_unit[turn] * (areas[target] - areas[source])
    chosen = (added > 0) if direction == "up" else (added < 0)
    turn, source, target, added = turn[chosen], source[chosen], target[chosen], added[chosen]
    now = (units * rows_of_a_unit[:, None]).sum(0)
    capacity, moves, rows = np.repeat(now[None], len(turn), axis=0), np.arange(len(turn)), rows_of_a_unit[turn]
    capacity[moves, source] -= rows
    capacity[moves, target] += rows
    without = move_up(demand, capacity, above)[:, -1] - capacity[:, -1]
    if direction == "up":
        helped = max(0, int(move_up(demand, now, above)[-1] - now[-1])) - np.maximum(without, 0)
        value = helped / np.maximum(added, 1)
    else:
        value = np.where(without <= 0, -added, 0)
    if not len(value) or value.max() <= 0:
        return None
    best = int(np.argmax(value))
    units = units.copy()
    units[turn[best], source[best]] -= 1
    units[turn[best], target[best]] += 1
    return units


def bucketed_layout(
    plan: BucketPlan,
    demand: np.ndarray,
    *,
    examples_per_step: int,
    rows_multiple_of: int,
) -> Layout:
    """One program a bucket, all rows of one shape; also the layout of evaluation.

    The last, unfinished step of a bucket moves up where it computes less: into what would be filler there.
    """
    if examples_per_step < 1 or examples_per_step % rows_multiple_of:
        raise ValueError(
            f"schedule.examples_per_step is {examples_per_step}, but it must be a multiple of "
            f"schedule.rows_multiple_of, which is {rows_multiple_of}"
        )
    above = next_covering(plan)
    held = demand.astype(np.int64).copy()
    programs = []
    for bucket in range(len(held)):
        steps, rest = divmod(int(held[bucket]), examples_per_step)
        target = above[bucket]
        if rest and target >= 0:
            more_steps = -(-(held[target] + rest) // examples_per_step) - -(-held[target] // examples_per_step)
            if more_steps * plan.areas[target] < plan.areas[bucket]:
                held[target] += rest
                rest = 0
        steps += rest > 0
        if steps:
            programs.append(Program((BlockShape(bucket, examples_per_step),), steps))
    return Layout(tuple(programs), len(held))


class Schedule:
    """Fills a layout with the examples of every epoch.

    Args:
        layout: the programs over the plan.
        bucket: [n] bucket of every example.
        seed: of the order.
        shuffle: False keeps the order of the split, for evaluation.
    """

    def __init__(self, plan: BucketPlan, layout: Layout, bucket: np.ndarray, *, seed: int, shuffle: bool = True):
        self.layout = layout
        self.bucket = np.asarray(bucket)
        self.seed = seed
        self.shuffle = shuffle
        self._above = next_covering(plan)
        self._areas = plan.areas
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    @property
    def num_examples(self) -> int:
        return len(self.bucket)

    @property
    def steps_per_epoch(self) -> int:
        return self.layout.steps_per_epoch

    @property
    def filler_share(self) -> float:
        """Rows without an example / all rows."""
        return 1 - self.num_examples / self.layout.rows_per_epoch

    def fill(self, sizes: np.ndarray) -> float:
        """Run fill: true positions / all positions computed in an epoch, padding and filler together."""
        return int(sizes.prod(1, dtype=np.int64).sum()) / int((self.layout.capacity * self._areas).sum())

    def step(self, epoch: int, step: int) -> tuple[int, tuple[np.ndarray, ...]]:
        """Program of a step and, for each of its blocks, the examples of the rows ([rows], -1 for filler)."""
        program, start, slots = self._epoch(epoch)
        number = int(program[step])
        blocks = self.layout.programs[number].blocks
        return number, tuple(slots[b.bucket][start[step, b.bucket] :][: b.rows] for b in blocks)

    def _make_epoch(self, epoch: int):
        """(program of every step [steps], first slot of every bucket in it [steps, k], slots of every bucket)."""
        layout = self.layout
        program = np.repeat(np.arange(len(layout.programs)), [program.steps for program in layout.programs])
        order = np.arange(self.num_examples)
        if self.shuffle:
            program = program[shuffled_order(self.seed, epoch, len(program), stream="programs")]
            order = shuffled_order(self.seed, epoch, self.num_examples, stream="examples")
        rows = layout.rows[program]
        start = np.cumsum(rows, axis=0) - rows
        places = zip(self._place(order), layout.capacity.tolist(), strict=True)
        slots = [_spread(examples, capacity) for examples, capacity in places]
        return program, start, slots

    def _place(self, order: np.ndarray) -> list[np.ndarray]:
        """Examples of every bucket in `order`, overflow moved up."""
        placed = self.bucket[order].astype(np.uint16)
        for bucket in range(self.layout.num_buckets - 1):
            inside = np.flatnonzero(placed == bucket)
            placed[inside[self.layout.capacity[bucket] :]] = self._above[bucket]
        by_bucket = order[np.argsort(placed, kind="stable")]
        held = np.bincount(placed, minlength=self.layout.num_buckets)
        assert held[-1] <= self.layout.capacity[-1], "the layout is too small for its own examples"
        return np.split(by_bucket, np.cumsum(held)[:-1])


def _spread(examples: np.ndarray, capacity: int) -> np.ndarray:
    """[capacity] slots holding the examples in order, with the filler spread evenly between them."""
    slots = np.full(capacity, FILLER, np.int64)
    slots[np.arange(len(examples), dtype=np.int64) * capacity // max(1, len(examples))] = examples
    return slots
