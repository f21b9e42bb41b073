"""The stages of a run, one after the other: each has its epochs, its buckets, its step plan and its schedule.

Sizes may change from epoch to epoch (random scales and crops) and from stage to stage (progressive resizing). But the
size of an example in any epoch follows from its header and the seed, before an image is decoded. So the buckets, rows
and steps of every stage are settled before anything is compiled.
What always holds: every epoch of a stage fits its step plan; the total number of steps is known from the start.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from fcn_jax.config import ScheduleConfig, TrainConfig, UserError
from fcn_jax.core.block import rows_on_devices
from fcn_jax.core.buckets import BucketPlan, plan_buckets, plan_of
from fcn_jax.core.canvas_choice import SMALLEST, choose_canvases
from fcn_jax.core.schedule import Schedule
from fcn_jax.core.schedule_search import choose_schedule
from fcn_jax.core.step_plan import bucketed_step_plan, common_units, in_micro_steps, training_step_plan

# If sizes are random, buckets are planned from a sample: the sizes of at most so many epochs, and so many sizes in all.
EPOCHS_PLANNED_FROM = 4
MICRO_STEPS = 32
"""The most micro-steps of a step if every bucket is a program of its own: rows come in so many parts of a step."""
SIZES_PLANNED_FROM = 4_000_000


def scale_of_epochs(config: TrainConfig) -> list[tuple[range, float]]:
    """Return the epochs of every stage, and the scale of its examples.

    Raises:
        UserError: there are so few epochs that a stage has none.
    """
    scales = config.stage_scales
    shares = config.stage_shares * len(scales) if len(config.stage_shares) == 1 else config.stage_shares
    ends = np.rint(np.cumsum(shares) / np.sum(shares) * config.epochs).astype(int).tolist()
    stages = [(range(start, end), scale) for start, end, scale in zip([0, *ends], ends, scales, strict=False)]
    for number, (epochs, _) in enumerate(stages, start=1):
        if not epochs:
            raise UserError(
                f"config.train.epochs is {config.epochs}, too few for {len(scales)} stages: stage {number} has none; "
                f"set config.train.epochs={max(config.epochs, len(scales))} and config.train.stage_shares=(1.0,), or "
                "take fewer config.train.stage_scales"
            )
    return stages


@dataclass(frozen=True)
class Stage:
    """Epochs that share their buckets and their step plan."""

    epochs: range
    plan: BucketPlan
    schedule: Schedule
    true_positions: int
    """True positions of all its epochs together."""
    own_positions: int
    """Positions of all its epochs, padding included, if every example stood in its own bucket."""
    note: str = ""
    """Lines for people about choices that the config leaves open, such as the number of buckets; may be empty."""

    @property
    def num_steps(self) -> int:
        return len(self.epochs) * self.schedule.steps_per_epoch

    @property
    def computed_positions(self) -> int:
        """Positions computed in all its epochs, padding and filler included."""
        return len(self.epochs) * int(self.rows_on(1) @ self.plan.areas)

    def rows_on(self, devices: int) -> np.ndarray:
        """Return the rows of every bucket in an epoch, [k], with the filler that so many devices need."""
        rows = np.zeros(len(self.plan.shapes), np.int64)
        for program in self.schedule.step_plan.programs:
            for block in program.blocks:
                rows[block.bucket] += program.steps * rows_on_devices(block.rows, devices)
        return rows


@runtime_checkable
class EpochSizes(Protocol):
    """The true sizes of a split's examples in every epoch."""

    def __len__(self) -> int: ...

    @property
    def is_random(self) -> bool:
        """True if sizes differ between the epochs of a stage."""
        ...

    def sizes(self, epoch: int) -> Int[np.ndarray, "n r"]:
        """Return the sizes of all examples in an epoch."""
        ...

    def largest(self, epochs: Sequence[int]) -> Int[np.ndarray, "n r"]:
        """Return, for every example, a size that covers all its sizes of these epochs."""
        ...


class Position(NamedTuple):
    """The place of a step in a run. Epochs count from the start of the run, steps from the start of the epoch."""

    stage: int
    epoch: int
    step: int


@dataclass(frozen=True)
class Stages:
    """The stages of a run."""

    stages: tuple[Stage, ...]

    def __len__(self) -> int:
        return len(self.stages)

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __getitem__(self, number: int) -> Stage:
        return self.stages[number]

    @cached_property
    def _first_steps(self) -> list[int]:
        return np.cumsum([0, *(stage.num_steps for stage in self.stages)]).tolist()

    @property
    def total_steps(self) -> int:
        return self._first_steps[-1]

    @property
    def num_epochs(self) -> int:
        return self.stages[-1].epochs.stop

    def position(self, step: int) -> Position:
        """Return the place of a step, which has its number in the run, from 0."""
        number = min(bisect_right(self._first_steps, step), len(self.stages)) - 1
        stage = self.stages[number]
        epoch, step_of_epoch = divmod(step - self._first_steps[number], stage.schedule.steps_per_epoch)
        return Position(number, stage.epochs.start + epoch, step_of_epoch)

    def epochs_done(self, step: int) -> float:
        """Return how many epochs are done after so many steps, as a fraction."""
        stage, epoch, step_of_epoch = self.position(step)
        return epoch + step_of_epoch / self.stages[stage].schedule.steps_per_epoch

    def steps_of(self, epochs: float) -> int:
        """Return how many steps the first `epochs` epochs have; the number may be a fraction."""
        steps = 0.0
        for stage in self.stages:
            inside = min(max(epochs - stage.epochs.start, 0), len(stage.epochs))
            steps += inside * stage.schedule.steps_per_epoch
        return round(steps)

    @property
    def plan_fill(self) -> float:
        """True positions / positions if every example stood in its own bucket, without filler."""
        return sum(s.true_positions for s in self.stages) / sum(s.own_positions for s in self.stages)

    @property
    def fill(self) -> float:
        """Run fill: true positions / all positions computed, padding and filler included."""
        return self.fill_on(1)

    @property
    def filler_share(self) -> float:
        """Rows without an example / all rows."""
        return self.filler_share_on(1)

    def fill_on(self, devices: int) -> float:
        """Return run fill on so many devices, whose filler is computed too."""
        computed = sum(len(s.epochs) * int(s.rows_on(devices) @ s.plan.areas) for s in self.stages)
        return sum(s.true_positions for s in self.stages) / computed

    def filler_share_on(self, devices: int) -> float:
        """Return rows without an example / all rows on so many devices, their filler included."""
        rows = sum(len(s.epochs) * int(s.rows_on(devices).sum()) for s in self.stages)
        return 1 - sum(len(s.epochs) * s.schedule.num_examples for s in self.stages) / rows


def training_stages(
    views: EpochSizes,
    stages: Sequence[range],
    config: ScheduleConfig,
    *,
    seed: int,
    accumulate: int = 1,
    classes: Int[np.ndarray, " n"] | None = None,
) -> Stages:
    """Return the stages of training.

    Args:
        stages: the epochs of each stage.
        accumulate: the most parts of a step.
        classes: the class of every example; needed unless `config.canvases` is smallest.
    """
    share = replace(config, max_blocks=max(1, config.max_blocks // len(stages)))
    made = (_train_stage(views, epochs, share, seed=seed, accumulate=accumulate, classes=classes) for epochs in stages)
    return Stages(tuple(made))


def _train_stage(
    views: EpochSizes,
    epochs: range,
    config: ScheduleConfig,
    *,
    seed: int,
    accumulate: int,
    classes: Int[np.ndarray, " n"] | None,
) -> Stage:
    if config.programs == "bucket":
        multiple = config.rows_multiple_of
        units = max(1, config.examples_per_step // MICRO_STEPS // multiple)
        config = replace(config, rows_multiple_of=units * multiple)
    if config.canvases == SMALLEST:
        plan, num_programs, note = choose_schedule(
            _sizes_to_plan_from(views, epochs), config, epochs=len(epochs), num_examples=len(views)
        )
        own = _buckets(views, plan, epochs)
    else:
        assert classes is not None
        plan, own, note = choose_canvases(views.largest(epochs), classes, config, seed=seed)
        num_programs = max(1, config.num_programs)
    drawn = epochs if views.is_random else epochs[:1]
    demand, true_positions, own_positions = [], 0, 0
    for epoch in drawn:
        sizes = views.sizes(epoch)
        demand.append(np.bincount(plan.assign(sizes) if callable(own) else own, minlength=len(plan.shapes)))
        true_positions += int(sizes.prod(1, dtype=np.int64).sum())
        own_positions += int(demand[-1] @ plan.areas)
    step_plan = training_step_plan(plan, np.array(demand), config, num_programs=num_programs)
    without_rows = int((step_plan.capacity[:-1] == 0).sum())
    if without_rows and config.max_buckets:
        note = (
            f"{without_rows} of {len(plan.shapes)} buckets have no rows, since a step of {config.examples_per_step} "
            "examples has too few; their examples stand in larger ones"
        )
    units = common_units(step_plan) if config.programs == "bucket" else None
    step_plan = in_micro_steps(step_plan, accumulate=accumulate, units=units)
    schedule = Schedule(plan, step_plan, own, num_examples=len(views), seed=seed)
    times = len(epochs) // len(drawn)
    return Stage(epochs, plan, schedule, times * true_positions, times * own_positions, note)


def _sizes_to_plan_from(views: EpochSizes, epochs: range) -> Int[np.ndarray, "n r"]:
    """Return the sizes of a sample of the epochs, and sizes that together cover those of all the epochs."""
    if not views.is_random:
        return views.sizes(epochs[0])
    number = min(len(epochs), EPOCHS_PLANNED_FROM, max(1, SIZES_PLANNED_FROM // len(views)))
    sample = epochs[:: len(epochs) // number][:number]
    return np.concatenate([*(views.sizes(epoch) for epoch in sample), _outermost(views.largest(epochs))])


def _outermost(sizes: Int[np.ndarray, "n r"]) -> Int[np.ndarray, "m r"]:
    """Return the distinct sizes that no other of the sizes covers."""
    descending = np.unique(sizes, axis=0)[::-1]
    reach = np.maximum.accumulate(descending[:, -1])
    return descending[np.append(True, reach[1:] > reach[:-1])]


def _buckets(
    views: EpochSizes, plan: BucketPlan, epochs: range
) -> Int[np.ndarray, " n"] | Callable[[int], Int[np.ndarray, " n"]]:
    """Return the bucket of every example; if sizes are random, a function that returns this for an epoch."""
    if views.is_random:
        return lambda epoch: plan.assign(views.sizes(epoch))
    return plan.assign(views.sizes(epochs[0]))


def evaluation_stages(
    sizes: Int[np.ndarray, "n r"],
    plan: BucketPlan,
    config: ScheduleConfig,
    *,
    examples_per_step: int,
    padding: int = 0,
) -> Stages:
    """Return one stage of one epoch, in the order of the split, with one bucket a step.

    The buckets are those of `plan`, and others for the sizes that it does not cover. A step of those computes no more
    positions than the largest step of `plan` may, but always has `rows_multiple_of` rows.

    Args:
        padding: positions added to every side of every canvas.
    """
    most_positions = examples_per_step * int(padded(plan, padding).areas.max())
    plan = padded(covering(plan, sizes, config), padding)
    bucket = plan.assign(sizes + padding)
    demand = np.bincount(bucket, minlength=len(plan.shapes))
    step_plan = bucketed_step_plan(
        plan,
        demand,
        examples_per_step=examples_per_step,
        rows_multiple_of=config.rows_multiple_of,
        most_positions=most_positions,
        doubled_rows=True,
    )
    schedule = Schedule(plan, step_plan, bucket, num_examples=len(sizes), seed=0, shuffle=False)
    true_positions = int(sizes.prod(1, dtype=np.int64).sum())
    return Stages((Stage(range(1), plan, schedule, true_positions, int(demand @ plan.areas)),))


def covering(plan: BucketPlan, sizes: Int[np.ndarray, "n r"], config: ScheduleConfig) -> BucketPlan:
    """Return `plan`, with more buckets for the sizes that it does not cover, each of which holds some of them.

    They are as many as `max_buckets`, or as `plan` has, and one more, since the canvas that covers all of these sizes
    is part of every plan and often holds none. They are never fewer than two, for tall and wide ones.
    """
    missing = sizes[~np.any([(sizes <= shape).all(1) for shape in plan.shapes], axis=0)]
    if not len(missing):
        return plan
    own = plan_buckets(missing, max(2, config.max_buckets or len(plan.shapes)) + 1, multiple_of=config.multiple_of)
    return plan_of({*plan.shapes, *used(own, missing).shapes})


def used(plan: BucketPlan, sizes: Int[np.ndarray, "n r"]) -> BucketPlan:
    """Return `plan` without the buckets that hold none of the sizes."""
    return BucketPlan(tuple(plan.shapes[bucket] for bucket in np.unique(plan.assign(sizes)).tolist()))


def padded(plan: BucketPlan, padding: int) -> BucketPlan:
    """Return `plan` with `padding` added to every side of every canvas."""
    return plan_of({tuple(side + padding for side in shape) for shape in plan.shapes})
