"""The setup of a config: the data, plan, schedules, model and devices that training, compiling and evaluating need.

Nothing is written or compiled here. So the user learns what is wrong with a config or its data before a run writes
any file.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import flatten, overridden
from fcn_jax.config_rules import validate
from fcn_jax.core.block import rows_on_devices
from fcn_jax.core.buckets import BucketPlan, plan_buckets
from fcn_jax.core.canvas_choice import SMALLEST
from fcn_jax.core.stages import Stages, evaluation_stages, scale_of_epochs, training_stages, used
from fcn_jax.core.step import TrainState, abstract_state, initial_state, put, split_model
from fcn_jax.data.dataset import Dataset, open_dataset
from fcn_jax.data.fingerprint import changed_data, fingerprint
from fcn_jax.data.loader import Loader
from fcn_jax.data.source import OpenSplit, Source
from fcn_jax.data.sources import open_data
from fcn_jax.nets.families import Published, config_from_json
from fcn_jax.nets.model import abstract_model, make_model, smallest_input, with_type
from fcn_jax.nets.pretrained import load_pretrained
from fcn_jax.system.console import say
from fcn_jax.system.machine import threads_of
from fcn_jax.system.processes import check_devices, gather, is_first, together
from fcn_jax.train.convolution_ways import with_measured_ways
from fcn_jax.train.costs import costs_of
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.placement import placement, with_sharding


@dataclass(frozen=True)
class Split:
    """One split of the data, and the stages of the passes over it."""

    dataset: Dataset
    stages: Stages


@dataclass(frozen=True)
class Setup:
    """Everything that a config stands for on this machine."""

    config: Config
    mesh: Mesh
    open_split: OpenSplit
    train: Split
    graphdef: Any
    optimizer: optax.GradientTransformation
    state: TrainState
    """The state before the first step, or only its shapes, types and shardings."""

    @property
    def total_steps(self) -> int:
        return self.train.stages.total_steps

    @cached_property
    def validation(self) -> Split:
        return self.split(self.config.data.validation_split)

    @cached_property
    def test(self) -> Split:
        return self.split(self.config.data.test_split)

    @property
    def sources(self) -> dict[str, Source]:
        """The sources of the three splits, by name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split.dataset.source for name, split in splits.items()}

    @cached_property
    def calibration(self) -> Split:
        """The training examples as evaluation sees them, in stratified steps; BatchNorm is re-estimated over them."""
        config = self.config
        dataset = self._undrawn(config.data.train_split)
        schedule = replace(
            config.schedule,
            kind="stratified",
            programs="step",
            canvases=SMALLEST,
            max_buckets=len(self._evaluation_plan.shapes) + 1,  # One covers all sizes, and often holds none.
            num_programs=1,
            examples_per_step=config.evaluate.examples_per_step,
        )
        return Split(dataset, training_stages(dataset.views, [range(1)], schedule, seed=config.seed))

    @cached_property
    def _evaluation_plan(self) -> BucketPlan:
        """The buckets that hold the training examples as evaluation would see them; it serves all splits."""
        views, schedule = self.train.dataset.views, self.config.schedule
        last = self.train.stages[-1]
        sizes = views.undrawn(self.config.evaluate.scale)
        if not views.is_random and np.array_equal(sizes, views.sizes(last.epochs[-1])):
            return used(last.plan, sizes)
        return used(plan_buckets(sizes, len(last.plan.shapes), multiple_of=schedule.multiple_of), sizes)

    def split(self, name: str) -> Split:
        """Return a split for evaluation."""
        config, dataset = self.config, self._undrawn(name)
        stages = evaluation_stages(
            dataset.views.sizes(0),
            self._evaluation_plan,
            config.schedule,
            examples_per_step=config.evaluate.examples_per_step,
            padding=config.evaluate.padding,
        )
        return Split(dataset, stages)

    def _undrawn(self, name: str) -> Dataset:
        """Return a split at the scale of evaluation, without random changes."""
        config = self.config
        return open_dataset(
            config,
            name,
            smallest_input=smallest_input(config),
            scale=lambda _: config.evaluate.scale,
            training=False,
            open_split=self.open_split,
            label_names=self.train.dataset.source.label_names,
        )

    def loader(self, split: Split) -> Loader:
        machine = self.config.machine
        return Loader(
            split.dataset,
            split.stages,
            sharding=NamedSharding(self.mesh, PartitionSpec("rows")),
            num_threads=threads_of(machine),
            prefetch_steps=machine.prefetch_steps,
            num_workers=machine.num_workers,
        )


def prepare(
    config: Config,
    *,
    devices: Sequence[Any] | None = None,
    abstract: bool = False,
    opener: Callable[[Config], OpenSplit] = open_data,
    label_names: tuple[str, ...] | None = None,
) -> Setup:
    """Check the config, open its training data, plan its stages and make its model.

    Args:
        devices: the devices that share the work; by default those of all processes.
        abstract: make no arrays for the state, only shapes to restore a checkpoint or to compile for absent devices.
        opener: function that opens the data set of the config.
        label_names: the classes of a trained net, in the order of its logits; None: those of the data.

    Raises:
        UserError: the config or its data breaks a rule; the message says which one and what to do.
    """
    validate(config)
    mesh = make_mesh(devices or jax.devices())
    open_split = opener(config)
    platform = mesh.devices.flat[0].platform
    config, train = train_split(with_type(config, platform), open_split, platform=platform, label_names=label_names)
    if not abstract:
        config = _with_ways(config, train, devices=mesh.size)
    make = abstract_model if abstract else make_model
    model = make(config, rank=train.dataset.rank, platform=platform, devices=mesh.size)
    if isinstance(config.model, Published) and config.model.init_from and not abstract:
        say(load_pretrained(model, config.model))
    graphdef, params, stats = split_model(model)
    stages = train.stages
    optimizer = make_optimizer(
        config.train, warmup_steps=stages.steps_of(config.train.warmup_epochs), total_steps=stages.total_steps
    )
    state = (abstract_state if abstract else initial_state)(
        params, stats, optimizer, average=config.train.ema_decay > 0
    )
    places = placement(state, mesh, config.machine.share_optimizer)
    state = jax.tree.map(with_sharding if abstract else put, state, places)
    return Setup(config, mesh, open_split, train, graphdef, optimizer, state)


def train_split(
    config: Config, open_split: OpenSplit, *, platform: str, label_names: tuple[str, ...] | None = None
) -> tuple[Config, Split]:
    """Return the config with its costs, by which buckets are chosen, and the training data with its stages.

    Args:
        platform: kind of the devices that train: cpu, gpu or tpu.
    """
    scaled = scale_of_epochs(config.train)
    scales = [scale for epochs, scale in scaled for _ in epochs]
    dataset = open_dataset(
        config,
        config.data.train_split,
        smallest_input=smallest_input(config),
        scale=scales.__getitem__,
        training=True,
        open_split=open_split,
        label_names=label_names,
    )
    if config.train.balanced and not config.train.class_weights:
        weights = balanced_weights(dataset.labels, config.model.num_classes, label_kind=config.data.labels)
        config = overridden(config, {"train.class_weights": weights})
        say(f"classes weigh {min(weights):.3g} to {max(weights):.3g} in the loss, since config.train.balanced is set")
    if config.schedule.leaves_open:
        costs = costs_of(config, dataset.views.undrawn(1.0), platform=platform)
        config = overridden(config, {"schedule.costs": dataclasses.astuple(costs)})
    stages = training_stages(
        dataset.views,
        [epochs for epochs, _ in scaled],
        config.schedule,
        seed=config.seed,
        accumulate=config.train.accumulate,
        classes=dataset.classes,
    )
    say_notes(stages)
    return config, Split(dataset, stages)


def balanced_weights(labels: np.ndarray, num_classes: int, *, label_kind: str = "one") -> tuple[float, ...]:
    """Return weights of the classes by 1 / their number of examples; a share counts as a part of an example.

    Their mean is 1: over the examples, or, of several labels, over the classes, as the loss is a mean over these.
    """
    if label_kind == "one":
        counts = np.bincount(labels, minlength=num_classes)
        present = (counts > 0).sum()
        return tuple(float(weight) for weight in len(labels) / (present * np.maximum(counts, 1)))
    counts = labels.sum(0, dtype=np.float64)
    is_present = counts > 0
    inverse = 1 / np.where(is_present, counts, counts[is_present].min())
    mean = inverse[is_present].mean() if label_kind == "several" else is_present.sum() / len(labels)
    return tuple(float(weight) for weight in inverse / mean)


def largest_step(split: Split, *, devices: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return rows on one device and canvas of every block of the step with the most positions."""
    steps = [
        [(rows_on_devices(block.rows, devices) // devices, stage.plan.shapes[block.bucket]) for block in program.blocks]
        for stage in split.stages
        for program in stage.schedule.step_plan.programs
    ]
    return max(steps, key=lambda blocks: sum(rows * math.prod(canvas) for rows, canvas in blocks))


def say_notes(stages: Stages) -> None:
    for stage in stages:
        for line in stage.note.splitlines():
            say(line)


def make_mesh(devices: Sequence[Any]) -> Mesh:
    """Return a mesh of one axis over any number of devices; the rows of a block are split over it."""
    return jax.make_mesh((len(devices),), ("rows",), axis_types=(AxisType.Auto,), devices=devices)


def prepare_together(
    config: Config,
    *,
    abstract: bool,
    opener: Callable[[Config], OpenSplit] = open_data,
    label_names: tuple[str, ...] | None = None,
) -> Setup:
    """Call `prepare` in every process; an error in one of them ends all.

    Raises:
        UserError: `prepare` raised it, or the configs, the training data or the numbers of devices of the processes
            differ.
    """
    configs = gather(dataclasses.asdict(config))
    with together():
        check_devices()
        _check_same_config(config_from_json(configs[0]), config)
    measures_costs = config.schedule.measure_costs and not config.schedule.costs
    if jax.process_count() > 1 and (measures_costs or config.model.leaves_ways_open):
        config = _measured_by_first(config, opener)
    with together():
        setup = prepare(config, abstract=abstract, opener=opener, label_names=label_names)
    if jax.process_count() == 1:
        return setup
    found = gather(fingerprint(setup.train.dataset.source))
    with together():
        for number, other in enumerate(found):
            if changes := changed_data({"train": found[0]}, {"train": other}):
                raise UserError(
                    f"process {number} has other data than process 0 ({'; '.join(changes)}): give all hosts the same "
                    f"files as {config.data.source}"
                )
    return setup


def _measured_by_first(config: Config, opener: Callable[[Config], OpenSplit]) -> Config:
    """Return the config with the costs and the ways of convolutions that process 0 measured."""
    measured, platform = config, jax.default_backend()
    with together():
        if is_first():
            typed = with_type(config, platform)
            measured, train = train_split(typed, opener(config), platform=platform)
            measured = _with_ways(measured, train, devices=jax.device_count())
    costs, ways = gather(measured.schedule.costs)[0], gather(measured.model.convolution_ways)[0]
    return overridden(config, {"schedule.costs": costs, "model.convolution_ways": ways})


def _with_ways(config: Config, train: Split, *, devices: int) -> Config:
    """Return the config with the ways of its convolutions, timed if it leaves them to that."""
    if not config.model.leaves_ways_open:
        return config
    return with_measured_ways(config, largest_step(train, devices=devices))


def _check_same_config(first: Config, own: Config) -> None:
    """Check that two configs agree in all fields except `machine`, which may differ from host to host."""
    theirs, ours = flatten(first), flatten(own)
    changed = [
        f"{name}: {theirs[name]} -> {value}"
        for name, value in ours.items()
        if name in theirs and value != theirs[name] and not name.startswith("machine.")
    ]
    if changed:
        raise UserError(
            f"its config differs from that of process 0 ({'; '.join(changed)}): start all processes with the same flags"
        )
