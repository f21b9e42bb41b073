"""Data sets to schedule, drawn by hypothesis, and ways to look at their schedules."""

from dataclasses import dataclass

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.schedule import Schedule
from fcn_jax.core.step_plan import StepPlan, bucketed_step_plan, stratified_step_plan


def by_area(shape):
    return np.prod(shape), shape


@dataclass(frozen=True)
class Case:
    """A data set and how to schedule it; every example is as large as the canvas of its bucket."""

    shapes: tuple[tuple[int, ...], ...]
    bucket: np.ndarray
    kind: str
    examples_per_step: int
    rows_multiple_of: int
    num_programs: int
    seed: int

    @property
    def plan(self) -> BucketPlan:
        return BucketPlan(self.shapes)

    @property
    def demand(self) -> np.ndarray:
        return np.bincount(self.bucket, minlength=len(self.shapes))

    def step_plan(self) -> StepPlan:
        rows = {"examples_per_step": self.examples_per_step, "rows_multiple_of": self.rows_multiple_of}
        if self.kind == "bucketed":
            return bucketed_step_plan(self.plan, self.demand, **rows)
        return stratified_step_plan(self.plan, self.demand, num_programs=self.num_programs, **rows)

    def schedule(self, *, seed: int | None = None, shuffle: bool = True) -> Schedule:
        seed = self.seed if seed is None else seed
        return make_schedule(self.plan, self.step_plan(), self.bucket, seed=seed, shuffle=shuffle)


def make_schedule(
    plan: BucketPlan, step_plan: StepPlan, bucket: np.ndarray, *, seed: int, shuffle: bool = True
) -> Schedule:
    """Make a schedule of sizes that are the same in every epoch."""
    return Schedule(plan, step_plan, bucket, num_examples=len(bucket), seed=seed, shuffle=shuffle)


def scattered(bucket: np.ndarray) -> np.ndarray:
    """Shuffle so that no bucket's examples stand together, the same way every time."""
    return bucket[np.argsort(np.arange(len(bucket)) * 0.6180339887 % 1)]


@st.composite
def cases(draw, kinds=("stratified", "bucketed")):
    rank = draw(st.sampled_from([1, 2]))
    shape = st.tuples(*[st.integers(1, 30)] * rank)
    shapes = draw(st.sets(shape, min_size=1, max_size=7))
    shapes.add(tuple(max(sides) for sides in zip(*shapes, strict=True)))
    count = st.one_of(st.integers(0, 2), st.integers(0, 70), st.integers(100, 400))
    counts = draw(st.lists(count, min_size=len(shapes), max_size=len(shapes)))
    assume(sum(counts))
    kind = draw(st.sampled_from(kinds))
    rows_multiple_of = draw(st.sampled_from([1, 2, 3, 8]))
    return Case(
        shapes=tuple(sorted(shapes, key=by_area)),
        bucket=scattered(np.repeat(np.arange(len(shapes)), counts)),
        kind=kind,
        examples_per_step=rows_multiple_of * draw(st.integers(1, 8)),
        rows_multiple_of=rows_multiple_of,
        num_programs=draw(st.integers(1, 4)) if kind == "stratified" else 1,
        seed=draw(st.integers(0, 2**31 - 1)),
    )


EPOCHS = st.integers(0, 1000)
# Chains and an antichain; a bucket of 0 and of 1 examples; overflow that has to move up.
EXAMPLE = Case(
    shapes=((4, 4), (2, 9), (9, 2), (4, 9), (9, 9)),
    bucket=np.repeat([0, 1, 2, 3, 4, 0], [150, 41, 0, 77, 1, 150]),
    kind="stratified",
    examples_per_step=64,
    rows_multiple_of=8,
    num_programs=2,
    seed=11,
)


def steps_of(schedule: Schedule, epoch: int):
    return [schedule.step(epoch, step) for step in range(schedule.steps_per_epoch)]


def placements(schedule: Schedule, epoch: int):
    """(bucket, rows) of every block of an epoch, in order."""
    for program, blocks in steps_of(schedule, epoch):
        shapes = schedule.step_plan.programs[program].blocks
        for shape, rows in zip(shapes, blocks, strict=True):
            yield shape.bucket, rows


def flat(step):
    program, blocks = step
    return program, [rows.tolist() for rows in blocks]
