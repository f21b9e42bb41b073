"""The step plan of an epoch: which programs there are, how many rows of which buckets each holds, how often it runs.

It is fixed for a stage of training, since programs are compiled and the learning rate counts steps. Every epoch then
fills it in a new order (`schedule.py`). What always holds: rows are multiples of `rows_multiple_of`; every step has
`examples_per_step` of them (or a budget of positions); and every example finds a row in every epoch of the stage, in
its own bucket or in one that covers it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fcn_jax.config import UserError
from fcn_jax.core.buckets import BucketPlan


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
class StepPlan:
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
        demand: [..., k] examples of every bucket.
        capacity: [..., k] rows of every bucket.
        above: [k] from `next_covering`.

    Returns:
        [..., k] over the leading axes of both.
    """
    held = np.broadcast_to(demand, np.broadcast_shapes(demand.shape, capacity.shape)).astype(np.int64)
    for bucket in range(len(above) - 1):
        overflow = np.maximum(0, held[..., bucket] - capacity[..., bucket])
        held[..., bucket] -= overflow
        held[..., above[bucket]] += overflow
    return held


def stratified_step_plan(
    plan: BucketPlan,
    demand: np.ndarray,
    *,
    examples_per_step: int,
    rows_multiple_of: int = 1,
    num_programs: int = 1,
) -> StepPlan:
    """One block from every bucket in each step, in the proportion the data has them.

    `num_programs` programs share the steps: a half, a quarter, and so on, the last share twice. A bucket may stand in
    only some of them, so that a rare large one takes `rows_multiple_of` rows of few steps and not of all.

    Args:
        demand: [k] examples of every bucket, or [e, k] in every epoch, if sizes change: all epochs fit.

    Returns:
        A step plan of few padded positions whose programs each mix the buckets: program by program the next
        `rows_multiple_of` rows go to the bucket with most examples left. Then single ones move up until all examples
        find a row, and down while they still do.
    """
    _check_rows(examples_per_step, rows_multiple_of)
    demand = np.atleast_2d(demand).astype(np.int64)
    num_examples, mean_demand = int(demand[0].sum()), demand.mean(axis=0)
    steps = _share_steps(max(num_programs, -(-num_examples // examples_per_step)), num_programs)
    units = _most_left_first(
        mean_demand, examples_per_step // rows_multiple_of, rows_of_a_unit=steps * rows_multiple_of
    )
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
    return StepPlan(tuple(programs), len(plan.shapes))


def _share_steps(total: int, num_programs: int) -> np.ndarray:
    """[programs] whole numbers of steps, at least 1 each: about a half of `total`, a quarter, ..., the last twice."""
    ends = np.round(total * (1 - 0.5 ** np.arange(num_programs))).astype(np.int64)
    return np.maximum(1, np.diff(np.append(ends, total)))


def _most_left_first(demand, units_of_a_step: int, *, rows_of_a_unit) -> np.ndarray:
    """[num_programs, k] units: each goes to the bucket with the most examples that have no row yet."""
    units, left = np.zeros((len(rows_of_a_unit), len(demand)), np.int64), demand.copy()
    for turn, rows in enumerate(rows_of_a_unit):
        for _ in range(units_of_a_step):
            bucket = int(np.argmax(left))
            units[turn, bucket] += 1
            left[bucket] -= rows
    return units


def _move_one_unit(units, demand, areas, above, *, direction: str, rows_of_a_unit) -> np.ndarray | None:
    """`units` [num_programs, k] with one of them in another bucket; None where that is done.

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
    without = _num_without_row(demand, capacity, above)
    if direction == "up":
        value = (_num_without_row(demand, now[None], above) - without) / np.maximum(added, 1)
    else:
        value = np.where(without == 0, -added, 0)
    if not len(value) or value.max() <= 0:
        return None
    best = int(np.argmax(value))
    units = units.copy()
    units[turn[best], source[best]] -= 1
    units[turn[best], target[best]] += 1
    return units


def _num_without_row(demand: np.ndarray, capacity: np.ndarray, above: np.ndarray) -> np.ndarray:
    """[m] examples that find no row under each of the capacities [m, k], of all epochs of demand [e, k] together."""
    return np.maximum(move_up(demand[:, None], capacity, above)[..., -1] - capacity[:, -1], 0).sum(axis=0)


def bucketed_step_plan(
    plan: BucketPlan,
    demand: np.ndarray,
    *,
    examples_per_step: int,
    rows_multiple_of: int = 1,
    positions_per_step: int = 0,
) -> StepPlan:
    """One program a bucket, all rows of one shape; also the step plan of evaluation.

    The last step of a bucket is left out, and its examples move up, where that computes less: into what would be
    filler there.

    Args:
        demand: [k] examples of every bucket, or [e, k] in every epoch, if sizes change: all epochs fit.
        positions_per_step: in place of a number of examples, a step holds as many as fit this many padded positions,
            and at least `rows_multiple_of`; 0: it holds `examples_per_step`.
    """
    _check_rows(examples_per_step, rows_multiple_of)
    above = next_covering(plan)
    rows = np.full(len(plan.shapes), examples_per_step)
    if positions_per_step:
        rows = np.maximum(1, positions_per_step // (plan.areas * rows_multiple_of)) * rows_multiple_of
    areas, rows = plan.areas.tolist(), rows.tolist()
    held = np.atleast_2d(demand).astype(np.int64)
    programs = []
    for bucket, target in enumerate(above.tolist()):
        steps = _num_steps(held[:, bucket], rows[bucket])
        while steps and target >= 0:
            rest = np.maximum(0, held[:, bucket] - (steps - 1) * rows[bucket])
            more = _num_steps(held[:, target] + rest, rows[target]) - _num_steps(held[:, target], rows[target])
            if more * rows[target] * areas[target] >= rows[bucket] * areas[bucket]:
                break
            held[:, bucket] -= rest
            held[:, target] += rest
            steps -= 1
        if steps:
            programs.append(Program((BlockShape(bucket, rows[bucket]),), steps))
    return StepPlan(tuple(programs), len(plan.shapes))


def _num_steps(held: np.ndarray, rows: int) -> int:
    """Steps of so many rows that hold the examples of every epoch."""
    return -(-int(held.max()) // rows)


def _check_rows(examples_per_step: int, rows_multiple_of: int) -> None:
    if examples_per_step < 1 or examples_per_step % rows_multiple_of:
        raise UserError(
            f"schedule.examples_per_step is {examples_per_step}, but it must be a multiple of "
            f"schedule.rows_multiple_of, which is {rows_multiple_of}"
        )
