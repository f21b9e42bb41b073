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
from operator import itemgetter

import numpy as np

from fcn_jax.config import ScheduleConfig, UserError
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

    @property
    def variation(self) -> float:
        """The largest total variation distance of the mix of a program's rows from that of all rows, from 0 to 1."""
        shares = self.rows / self.rows.sum(axis=1, keepdims=True)
        return float(np.abs(shares - self.capacity / self.capacity.sum()).sum(axis=1).max() / 2)


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


def training_step_plan(plan: BucketPlan, demand: np.ndarray, config: ScheduleConfig, *, num_programs: int) -> StepPlan:
    """Return the step plan for the kind of schedule in the config; `demand` is that of the functions below."""
    examples, rows = config.examples_per_step, config.rows_multiple_of
    if config.kind == "stratified":
        return stratified_step_plan(
            plan, demand, examples_per_step=examples, rows_multiple_of=rows, num_programs=num_programs
        )
    return bucketed_step_plan(
        plan,
        demand,
        examples_per_step=examples,
        rows_multiple_of=rows,
        positions_per_step=config.positions_per_step,
    )


def stratified_step_plan(
    plan: BucketPlan,
    demand: np.ndarray,
    *,
    examples_per_step: int,
    rows_multiple_of: int = 1,
    num_programs: int = 1,
) -> StepPlan:
    """Return a step plan whose steps mix the buckets in the proportion of the data, with the fewest padded positions.

    The programs share the steps equally. A bucket's rows differ by one unit at most from program to program, so a rare,
    large bucket stands in some programs only. A unit is `rows_multiple_of` rows in every step of one program.
    `fewest_units` decides how many units each bucket has. If sizes change, units are added until every epoch fits.

    Args:
        demand: [k] examples of every bucket; if sizes change, [e, k] those of every epoch, all of which will fit.
        examples_per_step: mean number of examples in a step, or less where the last steps would not be full. A step may
            have a few rows more.
        num_programs: number of programs that share the steps; fewer where there are fewer steps.
    """
    _check_rows(examples_per_step, rows_multiple_of)
    demand = np.atleast_2d(demand).astype(np.int64)
    num_programs, steps = share_steps(int(demand[0].sum()), examples_per_step, num_programs)
    unit, above = steps * rows_multiple_of, next_covering(plan)
    units = fewest_units(demand.sum(axis=0), plan.areas, above, unit=len(demand) * unit)
    if len(demand) > 1:
        units = _fitting_all(units, demand, plan.areas, above, unit=unit)
    units[0] += max(0, num_programs - int(units.sum()))
    programs = (
        Program(
            tuple(BlockShape(int(bucket), int(row[bucket]) * rows_multiple_of) for bucket in np.flatnonzero(row)), steps
        )
        for row in share_units(units, num_programs)
    )
    return StepPlan(tuple(programs), len(plan.shapes))


def share_steps(num_examples: int, examples_per_step: int, num_programs: int) -> tuple[int, int]:
    """Return the number of programs, and the steps of each in an epoch: as few as hold all examples."""
    steps = -(-num_examples // examples_per_step)
    num_programs = min(num_programs, steps)
    return num_programs, -(-steps // num_programs)


def share_units(units: np.ndarray, num_programs: int) -> np.ndarray:
    """Share the units [k] of every bucket among programs, [num_programs, k].

    Every program has the whole part of an equal share. The units left over are dealt out in turn, from bucket to
    bucket, so that all programs have about as many units and about as many of large buckets.
    """
    shared = np.repeat(units[None] // num_programs, num_programs, axis=0)
    left = units % num_programs
    bucket = np.repeat(np.arange(len(units)), left)
    np.add.at(shared, (np.arange(len(bucket)) % num_programs, bucket), 1)
    return shared


MOST_CHOICES = 256
"""The most choices of units that `fewest_units` keeps for a part of the buckets. A plan of 64 buckets has about 50."""


def fewest_units(demand: np.ndarray, areas: np.ndarray, above: np.ndarray, *, unit: int) -> np.ndarray:
    """Return the units of every bucket, [k], that hold all examples with the fewest positions.

    Overflow moves along `above`, which makes the buckets a tree with the largest at its root. A bucket either holds
    whole units and lets the rest of its examples move up, or has one more unit and lets none: to move a whole unit of
    examples up would never cost less. So each part of the tree has few choices that matter: of two that let equally
    many examples out, the one with fewer positions. This is exact up to `MOST_CHOICES` choices.

    Args:
        demand: [k] examples of every bucket.
        areas: [k] positions of every canvas.
        above: [k] where overflow moves, from `next_covering`.
        unit: examples that one unit holds.
    """
    root = len(demand) - 1
    held: list[list[_Choice]] = [[(int(number), 0, ())] for number in demand]
    for bucket, area in enumerate(areas.tolist()):
        choices: list[_Choice] = []
        for overflow, positions, made in held[bucket]:
            whole, rest = divmod(overflow, unit)
            if bucket < root or not rest:
                choices.append((rest, positions + whole * area, (bucket, whole, made)))
            if rest:
                choices.append((0, positions + (whole + 1) * area, (bucket, whole + 1, made)))
        held[bucket] = _worth_keeping(choices)
        if bucket < root:
            held[above[bucket]] = _worth_keeping(
                [
                    (overflow + others, positions + theirs, (made, made_there))
                    for overflow, positions, made in held[bucket]
                    for others, theirs, made_there in held[above[bucket]]
                ]
            )
    units = np.zeros(len(demand), np.int64)
    ((_, _, made),) = held[root]
    unread = [made]
    while unread:
        match unread.pop():
            case (int(bucket), int(number), rest):
                units[bucket] = number
                unread.append(rest)
            case (one, other):
                unread += [one, other]
    return units


_Choice = tuple[int, int, tuple]
"""Units for some buckets: the examples that they let out, their positions, and which units they are, as a tree."""
_overflow_and_positions = itemgetter(0, 1)


def _worth_keeping(choices: list[_Choice]) -> list[_Choice]:
    """Return the choices than which no other lets out as few examples with as few positions, by overflow."""
    choices.sort(key=_overflow_and_positions)
    kept = choices[:1]
    for choice in choices:
        if choice[1] < kept[-1][1]:
            kept.append(choice)
    return kept if len(kept) <= MOST_CHOICES else kept[:: -(-len(kept) // MOST_CHOICES)]


def _fitting_all(units, demand, areas, above, *, unit: int) -> np.ndarray:
    """Return `units` [k] with as many more as every epoch of demand [e, k] needs, and without those that none needs.

    Each unit added gives a row to most examples without one, per position. A unit is then taken away, or moved to a
    smaller bucket, where every example still has a row; the largest buckets come first.
    """

    def without_row(units: np.ndarray) -> np.ndarray:
        return _num_without_row(demand, unit * units, above)

    one = np.eye(len(areas), dtype=np.int64)
    while now := int(without_row(units[None])[0]):
        units = units + one[np.argmax((now - without_row(units + one)) / areas)]
    for bucket in range(len(areas) - 1, -1, -1):
        while units[bucket]:
            smaller = np.append(np.zeros((1, len(areas)), np.int64), one[areas < areas[bucket]], axis=0)
            fits = np.flatnonzero(without_row(units - one[bucket] + smaller) == 0)
            if not len(fits):
                break
            units = units - one[bucket] + smaller[fits[0]]
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
    doubled_rows: bool = False,
) -> StepPlan:
    """Return a step plan with one program a bucket, whose steps hold that bucket alone. Evaluation uses it too.

    The steps of a bucket have equally many rows, only as many as its examples need. If it costs less to put the
    examples of a last step into a bucket that covers them, they move there and the step is left out.

    Args:
        demand: [k] examples of every bucket; if sizes change, [e, k] those of every epoch, all of which will fit.
        positions_per_step: a step holds as many rows as fit this many positions, padding included, but at least
            `rows_multiple_of`; 0: it holds `examples_per_step` rows.
        most_positions: a step of more positions than this has fewer rows, but at least `rows_multiple_of`; 0: no limit.
        doubled_rows: the most rows, or fewer by halves. With few numbers of rows, the splits that are evaluated share
            more programs.
    """
    _check_rows(examples_per_step, rows_multiple_of)
    most_rows = np.full(len(plan.shapes), _rounded_up(examples_per_step, rows_multiple_of))
    if positions_per_step:
        most_rows = np.maximum(1, positions_per_step // (plan.areas * rows_multiple_of)) * rows_multiple_of
    if most_positions:
        fitting = np.maximum(1, most_positions // (plan.areas * rows_multiple_of)) * rows_multiple_of
        most_rows = np.minimum(most_rows, fitting)
    areas, most_rows, above = plan.areas.tolist(), most_rows.tolist(), next_covering(plan).tolist()

    def steps_and_rows(bucket: int, held: np.ndarray) -> tuple[int, int]:
        examples, most, rows = int(held.max()), most_rows[bucket], rows_multiple_of
        steps = -(-examples // most)
        if not doubled_rows:
            return steps, _rounded_up(-(-examples // max(1, steps)), rows_multiple_of)
        while rows < min(examples, most):
            rows *= 2
        return steps, min(rows, most)

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


def _rounded_up(rows: int, multiple_of: int) -> int:
    return -(-rows // multiple_of) * multiple_of


def _check_rows(examples_per_step: int, rows_multiple_of: int) -> None:
    for name, value in (("examples_per_step", examples_per_step), ("rows_multiple_of", rows_multiple_of)):
        if value < 1:
            raise UserError(f"schedule.{name} is {value}, but it must be at least 1: set it to 1 or more")
