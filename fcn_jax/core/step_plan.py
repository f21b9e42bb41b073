"""The step plan of an epoch: its programs, the rows of each bucket that a program holds, and how often it runs.

A stage of training keeps one step plan, because programs are compiled before it and the learning rate counts steps.
`schedule.py` fills the plan with examples, in a new order every epoch.
What always holds: the rows of a block are a multiple of `rows_multiple_of`; a step has `examples_per_step` rows, or as
many as its budget of positions allows, or fewer if its only bucket needs no more; every example finds a row in every
epoch of the stage, in its own bucket or in one that covers it.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fcn_jax.config import UserError
from fcn_jax.core.buckets import BucketPlan


@dataclass(frozen=True)
class BlockShape:
    """The rows that one program holds of one bucket."""

    bucket: int
    rows: int


@dataclass(frozen=True)
class Program:
    """The blocks of a step, and the number of steps of an epoch that have these blocks. A bucket may have several."""

    blocks: tuple[BlockShape, ...]
    steps: int
    micro_steps: int = 1
    """A step is computed in so many parts. Each has equally many of the blocks, which follow each other."""

    @property
    def rows(self) -> int:
        return sum(block.rows for block in self.blocks)

    @property
    def groups(self) -> tuple[tuple[BlockShape, ...], ...]:
        """The blocks of every micro-step."""
        number = len(self.blocks) // self.micro_steps
        return tuple(self.blocks[start : start + number] for start in range(0, len(self.blocks), number))


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


def in_micro_steps(step_plan: StepPlan, *, accumulate: int = 1, units: np.ndarray | None = None) -> StepPlan:
    """Return a step plan of the same steps, each of which is computed in micro-steps.

    Args:
        accumulate: every block is cut into so many parts of equally many rows, or fewer if these hold all its rows.
            Filler makes up for rows that do not divide.
        units: [num_buckets] rows of a block of each bucket; every such block is a micro-step of its own, or so are its
            parts. None: a micro-step has a part of every block.
    """
    programs = []
    for program in step_plan.programs:
        groups = [program.blocks]
        if units is not None:
            alone = [BlockShape(block.bucket, int(units[block.bucket])) for block in program.blocks]
            needed = [-(-block.rows // unit.rows) for block, unit in zip(program.blocks, alone, strict=True)]
            groups = [(unit,) for unit, number in zip(alone, needed, strict=True) for _ in range(number)]
        parts = []
        for group in groups:
            part = tuple(BlockShape(block.bucket, -(-block.rows // accumulate)) for block in group)
            parts += [part] * max(-(-block.rows // cut.rows) for block, cut in zip(group, part, strict=True))
        programs.append(Program(tuple(block for part in parts for block in part), program.steps, len(parts)))
    return StepPlan(tuple(programs), step_plan.num_buckets)


def common_units(step_plan: StepPlan) -> np.ndarray:
    """Return the most rows that divide those of a bucket in every program, [num_buckets]; 0 for a bucket without."""
    return np.gcd.reduce(step_plan.rows)


def next_covering(plan: BucketPlan) -> np.ndarray:
    """Return, for every bucket, the smallest larger one that covers it, [k]; -1 for the last. Overflow moves there."""
    above = np.triu(plan.covers(), k=1)
    return np.where(above.any(1), above.argmax(1), -1)


def move_up(demand: np.ndarray, capacity: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Return how many examples each bucket holds after overflow has moved up; the last may exceed its capacity.

    Args:
        demand: [..., k] examples of every bucket.
        capacity: [..., k] rows of every bucket.
        above: [k] where overflow moves, from `next_covering`.

    Returns:
        [..., k], with the leading axes of `demand` and `capacity` broadcast.
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
    """Return a step plan whose steps mix the buckets in the proportion of the data, with few padded positions.

    The programs share the steps: one half, one quarter, and so on, with two programs for the last share. A bucket may
    stand in some programs only. So a rare, large bucket takes rows in few steps, not in all.

    Rows are given out in units of `rows_multiple_of` rows in every step of one program. First, program by program, each
    unit goes to the bucket with the most examples left. Then single units move to larger buckets until every example
    finds a row, and to smaller ones as long as every example still does.

    Args:
        demand: [k] examples of every bucket; if sizes change, [e, k] those of every epoch, all of which will fit.
        num_programs: number of programs that share the steps.
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
    """Return the steps of each program, at least 1: about 1/2 of `total`, 1/4, and so on, the last share twice."""
    ends = np.round(total * (1 - 0.5 ** np.arange(num_programs))).astype(np.int64)
    return np.maximum(1, np.diff(np.append(ends, total)))


def _most_left_first(demand, units_of_a_step: int, *, rows_of_a_unit) -> np.ndarray:
    """Return units of every program and bucket, [num_programs, k]. Each goes where most examples have no row yet."""
    units, left = np.zeros((len(rows_of_a_unit), len(demand)), np.int64), demand.copy()
    for turn, rows in enumerate(rows_of_a_unit):
        for _ in range(units_of_a_step):
            bucket = int(np.argmax(left))
            units[turn, bucket] += 1
            left[bucket] -= rows
    return units


def _move_one_unit(units, demand, areas, above, *, direction: str, rows_of_a_unit) -> np.ndarray | None:
    """Return `units` [num_programs, k] with one unit moved to another bucket; None if no move helps.

    Up, the unit moves to a larger bucket: the move that gives a row to most examples without one, per position added.
    Down, it moves to a smaller bucket: the move that saves most positions while every example keeps a row.
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
    """Return how many examples of all epochs of demand [e, k] find no row under each of the capacities [m, k]: [m]."""
    return np.maximum(move_up(demand[:, None], capacity, above)[..., -1] - capacity[:, -1], 0).sum(axis=0)


def bucketed_step_plan(
    plan: BucketPlan,
    demand: np.ndarray,
    *,
    examples_per_step: int,
    rows_multiple_of: int = 1,
    positions_per_step: int = 0,
    most_positions: int = 0,
) -> StepPlan:
    """Return a step plan with one program a bucket, whose steps hold that bucket alone. Evaluation uses it too.

    The last step of a bucket may be mostly filler. If it costs less to put its examples into a bucket that covers them,
    where they may take the place of filler, they move there and the step is left out. A bucket with few examples has
    only the rows that they need.

    Args:
        demand: [k] examples of every bucket; if sizes change, [e, k] those of every epoch, all of which will fit.
        positions_per_step: a step holds as many rows as fit this many positions, padding included, but at least
            `rows_multiple_of`; 0: it holds `examples_per_step` rows.
        most_positions: a step of more positions than this has fewer rows, but at least `rows_multiple_of`; 0: no limit.
    """
    _check_rows(examples_per_step, rows_multiple_of)
    most_rows = np.full(len(plan.shapes), examples_per_step)
    if positions_per_step:
        most_rows = np.maximum(1, positions_per_step // (plan.areas * rows_multiple_of)) * rows_multiple_of
    if most_positions:
        fitting = np.maximum(1, most_positions // (plan.areas * rows_multiple_of)) * rows_multiple_of
        most_rows = np.minimum(most_rows, fitting)
    areas, most_rows, above = plan.areas.tolist(), most_rows.tolist(), next_covering(plan).tolist()

    def steps_and_rows(bucket: int, held: np.ndarray) -> tuple[int, int]:
        return _steps_and_rows(int(held.max()), most_rows[bucket], rows_multiple_of)

    def cost(bucket: int, held: np.ndarray) -> int:
        return math.prod(steps_and_rows(bucket, held)) * areas[bucket]

    held = list(np.atleast_2d(demand).astype(np.int64).T)
    programs = []
    for bucket, target in enumerate(above):
        while held[bucket].any() and target >= 0:
            full_steps = steps_and_rows(bucket, held[bucket])[0] - 1
            rest = np.maximum(0, held[bucket] - full_steps * most_rows[bucket])
            saved = cost(bucket, held[bucket]) - cost(bucket, held[bucket] - rest)
            if cost(target, held[target] + rest) - cost(target, held[target]) >= saved:
                break
            held[bucket] = held[bucket] - rest
            held[target] = held[target] + rest
        if held[bucket].any():
            steps, rows = steps_and_rows(bucket, held[bucket])
            programs.append(Program((BlockShape(bucket, rows),), steps))
    return StepPlan(tuple(programs), len(plan.shapes))


def _steps_and_rows(examples: int, most_rows: int, multiple_of: int) -> tuple[int, int]:
    """Return the steps that hold so many examples, and the rows of each.

    If one step holds them, its rows are doubled from `multiple_of` until they do. With few numbers of rows, the splits
    that are evaluated share more programs.
    """
    steps, rows = -(-examples // most_rows), multiple_of
    while rows < min(examples, most_rows):
        rows *= 2
    return steps, min(rows, most_rows)


def _check_rows(examples_per_step: int, rows_multiple_of: int) -> None:
    if examples_per_step < 1 or examples_per_step % rows_multiple_of:
        raise UserError(
            f"schedule.examples_per_step is {examples_per_step}, but it must be a multiple of "
            f"schedule.rows_multiple_of, which is {rows_multiple_of}: set it to "
            f"{max(1, -(-examples_per_step // rows_multiple_of)) * rows_multiple_of}"
        )
