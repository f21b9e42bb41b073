"""From a config to everything that training, compiling and evaluating need: data, plan, schedules, model, devices.

Nothing is written and nothing compiled here, so whatever is wrong with a config or its data is said before a run
leaves a trace.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fcn_jax.config import Config
from fcn_jax.config_rules import validate
from fcn_jax.console import say
from fcn_jax.data.bucket_count import MOST_BUCKETS, choose_bucket_count
from fcn_jax.data.buckets import BucketPlan, fill_curve, plan_buckets
from fcn_jax.data.dataset import Dataset, open_dataset
from fcn_jax.data.layout import Layout, bucketed_layout, stratified_layout
from fcn_jax.data.loader import Loader
from fcn_jax.data.schedule import Schedule
from fcn_jax.models.model import make_model, smallest_input
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.state import TrainState, initial_state, split_model


@dataclass(frozen=True)
class Split:
    """A data set with its plan and schedule."""

    dataset: Dataset
    plan: BucketPlan
    schedule: Schedule


@dataclass(frozen=True)
class Setup:
    """What a config means on this machine."""

    config: Config
    mesh: Mesh
    train: Split
    graphdef: Any
    optimizer: optax.GradientTransformation
    state: TrainState
    """Before the first step."""

    @property
    def steps_per_epoch(self) -> int:
        return self.train.schedule.steps_per_epoch

    @property
    def total_steps(self) -> int:
        return self.config.train.epochs * self.steps_per_epoch

    @cached_property
    def validation(self) -> Split:
        return self.split(self.config.data.validation_split)

    @cached_property
    def test(self) -> Split:
        return self.split(self.config.data.test_split)

    def split(self, name: str) -> Split:
        """A split for evaluation: in order, one shape a step, in the buckets of training or one more that it needs."""
        dataset = open_dataset(self.config, name, smallest_input=smallest_input(self.config), training=False)
        plan = covering(self.train.plan, dataset.sizes, multiple_of=self.config.schedule.multiple_of)
        bucket = plan.assign(dataset.sizes)
        layout = bucketed_layout(
            plan,
            np.bincount(bucket, minlength=len(plan.shapes)),
            examples_per_step=self.config.evaluate.examples_per_step,
            rows_multiple_of=self.config.schedule.rows_multiple_of,
        )
        return Split(dataset, plan, Schedule(plan, layout, bucket, seed=0, shuffle=False))

    def loader(self, split: Split) -> Loader:
        machine = self.config.machine
        return Loader(
            split.dataset,
            split.schedule,
            split.plan,
            sharding=NamedSharding(self.mesh, PartitionSpec("rows")),
            num_threads=machine.num_threads,
            prefetch_steps=machine.prefetch_steps,
        )


def prepare(config: Config, *, devices: Sequence[Any] | None = None) -> Setup:
    """Check the config, open its training data, plan its buckets and make its model.

    Args:
        devices: that share the work; all by default.

    Raises:
        ValueError: what is wrong, which rule it breaks, what to do.
    """
    validate(config)
    mesh = make_mesh(config, devices or jax.devices())
    dataset = open_dataset(config, config.data.train_split, smallest_input=smallest_input(config), training=True)
    plan = make_plan(config, dataset.sizes)
    bucket = plan.assign(dataset.sizes)
    layout = train_layout(config, plan, np.bincount(bucket, minlength=len(plan.shapes)))
    schedule = Schedule(plan, layout, bucket, seed=config.seed)
    graphdef, params, stats = split_model(make_model(config, rank=dataset.rank))
    optimizer = make_optimizer(config.train, steps_per_epoch=schedule.steps_per_epoch)
    state = initial_state(params, stats, optimizer, average=config.train.ema_decay > 0)
    state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    return Setup(config, mesh, Split(dataset, plan, schedule), graphdef, optimizer, state)


def make_mesh(config: Config, devices: Sequence[Any]) -> Mesh:
    """The devices in a row; the rows of a block are split over them.

    Raises:
        ValueError: they do not divide `schedule.rows_multiple_of`.
    """
    number, multiple = len(devices), config.schedule.rows_multiple_of
    if multiple % number:
        raise ValueError(
            f"config.schedule.rows_multiple_of is {multiple}, but the {number} devices have to divide it: set "
            f"--config.schedule.rows_multiple_of={number * -(-multiple // number)} and examples_per_step to a "
            "multiple of that, or use fewer devices"
        )
    return jax.make_mesh((number,), ("rows",), axis_types=(AxisType.Auto,), devices=devices)


def make_plan(config: Config, sizes: np.ndarray) -> BucketPlan:
    """The buckets of training. Says so when it chose their number, or when a step holds fewer than were asked for.

    A stratified step holds `rows_multiple_of` rows of every bucket, in all its turns together.
    """
    schedule = config.schedule
    count = wanted = schedule.max_buckets or MOST_BUCKETS
    if schedule.kind == "stratified":
        most = schedule.turns * schedule.examples_per_step // schedule.rows_multiple_of
        count = min(wanted, most)
        if schedule.max_buckets > most:
            say(
                f"planning {most} buckets, not {wanted}: a step of {schedule.examples_per_step} examples has no more "
                f"blocks of {schedule.rows_multiple_of} rows (schedule.turns={schedule.turns})"
            )
    if schedule.max_buckets == 0:
        curve = fill_curve(sizes, count, multiple_of=schedule.multiple_of)
        positions = int(sizes.prod(1, dtype=np.int64).sum())
        count, reason = choose_bucket_count(curve, true_positions=positions, epochs=config.train.epochs)
        say(reason)
    return plan_buckets(sizes, count, multiple_of=schedule.multiple_of)


def train_layout(config: Config, plan: BucketPlan, demand: np.ndarray) -> Layout:
    """The layout of the config's kind of schedule."""
    sizes = {
        "examples_per_step": config.schedule.examples_per_step,
        "rows_multiple_of": config.schedule.rows_multiple_of,
    }
    if config.schedule.kind == "bucketed":
        return bucketed_layout(plan, demand, **sizes)
    return stratified_layout(plan, demand, turns=config.schedule.turns, **sizes)


def covering(plan: BucketPlan, sizes: np.ndarray, *, multiple_of: int) -> BucketPlan:
    """`plan`, with one more bucket where it does not cover all sizes."""
    largest = np.maximum(np.max(plan.shapes, axis=0), sizes.max(0))
    largest = tuple(int(side) for side in -(-largest // multiple_of) * multiple_of)
    if largest in plan.shapes:
        return plan
    return BucketPlan(tuple(sorted({*plan.shapes, largest}, key=lambda shape: (int(np.prod(shape)), shape))))
