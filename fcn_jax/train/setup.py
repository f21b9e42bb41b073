"""The setup of a config: the data, plan, schedules, model and devices that training, compiling and evaluating need.

Nothing is written or compiled here. So the user learns what is wrong with a config or its data before a run writes
any file.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fcn_jax.config import MOST_ROWS_MULTIPLE, Config, UserError, examples_in_rows, validate
from fcn_jax.config_fields import flatten
from fcn_jax.core.buckets import MOST_BUCKETS, BucketPlan
from fcn_jax.core.stages import Stages, evaluation_stages, make_plan, scale_of_epochs, training_stages, used
from fcn_jax.core.step import TrainState, abstract_state, initial_state, replicate, split_model
from fcn_jax.data.dataset import Dataset, changed_data, fingerprint, open_dataset
from fcn_jax.data.loader import Loader
from fcn_jax.data.source import OpenSplit, Source
from fcn_jax.data.sources import open_data
from fcn_jax.nets.families import Published, config_from_json
from fcn_jax.nets.model import abstract_model, make_model, smallest_input
from fcn_jax.nets.pretrained import load_pretrained
from fcn_jax.system.console import say
from fcn_jax.system.processes import gather, together
from fcn_jax.train.optimizer import make_optimizer


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
        """The training examples as evaluation sees them, in stratified steps; BatchNorm is re-estimated over them.

        There are enough programs for `max_buckets` buckets, and one more where these do not fit into one.
        """
        config, schedule = self.config, self.config.schedule
        dataset = self._undrawn(config.data.train_split)
        examples_per_step = config.evaluate.examples_per_step
        programs = -(-(schedule.max_buckets or MOST_BUCKETS) * schedule.rows_multiple_of // examples_per_step)
        schedule = replace(
            schedule,
            kind="stratified",
            programs="step",
            examples_per_step=examples_per_step,
            num_programs=max(schedule.num_programs, programs + (programs > 1)),
        )
        stages = training_stages(dataset.views, [range(1)], schedule, seed=config.seed)
        say_notes(stages)
        return Split(dataset, stages)

    @cached_property
    def _evaluation_plan(self) -> BucketPlan:
        """The buckets that hold the training examples as evaluation would see them; it serves all splits."""
        views, schedule = self.train.dataset.views, self.config.schedule
        last = self.train.stages[-1]
        sizes = views.undrawn(self.config.evaluate.scale)
        if not views.is_random and np.array_equal(sizes, views.sizes(last.epochs[-1])):
            return used(last.plan, sizes)
        plan, note = make_plan(sizes, schedule, epochs=1, num_examples=len(sizes))
        if note:
            say(note)
        return used(plan, sizes)

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
            num_threads=machine.num_threads,
            prefetch_steps=machine.prefetch_steps,
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
    mesh = make_mesh(config, devices or jax.devices())
    open_split = opener(config)
    train = train_split(config, open_split, label_names=label_names)
    model = (abstract_model if abstract else make_model)(config, rank=train.dataset.rank)
    if isinstance(config.model, Published) and config.model.init_from and not abstract:
        say(load_pretrained(model, config.model))
    graphdef, params, stats = split_model(model)
    stages = train.stages
    optimizer = make_optimizer(
        config.train, warmup_steps=stages.steps_of(config.train.warmup_epochs), total_steps=stages.total_steps
    )
    average, everywhere = config.train.ema_decay > 0, NamedSharding(mesh, PartitionSpec())
    if abstract:
        state = abstract_state(params, stats, optimizer, average=average, place=everywhere)
    else:
        state = replicate(initial_state(params, stats, optimizer, average=average), everywhere)
    return Setup(config, mesh, open_split, train, graphdef, optimizer, state)


def train_split(config: Config, open_split: OpenSplit, *, label_names: tuple[str, ...] | None = None) -> Split:
    """Return the training data and its stages."""
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
    stages = training_stages(
        dataset.views,
        [epochs for epochs, _ in scaled],
        config.schedule,
        seed=config.seed,
        accumulate=config.train.accumulate,
    )
    say_notes(stages)
    return Split(dataset, stages)


def say_notes(stages: Stages) -> None:
    for stage in stages:
        if stage.note:
            say(stage.note)


def make_mesh(config: Config, devices: Sequence[Any]) -> Mesh:
    """Return a mesh of one axis over the devices; the rows of a block are split over it.

    Raises:
        UserError: the number of devices does not divide `schedule.rows_multiple_of`.
    """
    number, multiple = len(devices), config.schedule.rows_multiple_of
    if multiple % number:
        rows = number * min(-(-multiple // number), MOST_ROWS_MULTIPLE // number)
        examples, evaluated = (
            examples_in_rows(part.examples_per_step, rows) for part in (config.schedule, config.evaluate)
        )
        raise UserError(
            f"config.schedule.rows_multiple_of is {multiple}, but the {number} devices have to divide it: give a new "
            f"run --config.schedule.rows_multiple_of={rows} --config.schedule.examples_per_step={examples} "
            f"--config.evaluate.examples_per_step={evaluated}, or use {most_dividing(number, multiple)} of the devices"
        )
    return jax.make_mesh((number,), ("rows",), axis_types=(AxisType.Auto,), devices=devices)


def most_dividing(number: int, multiple: int) -> int:
    """Return the largest number, up to `number`, that divides `multiple`."""
    return max(candidate for candidate in range(1, number + 1) if multiple % candidate == 0)


def dividing_devices(config: Config) -> list[Any]:
    """Return the most devices of all processes, equally many of each, that divide `schedule.rows_multiple_of`.

    A trained net is evaluated on these, since its config cannot be changed any more.

    Raises:
        UserError: the number of processes does not divide it.
    """
    processes, multiple = jax.process_count(), config.schedule.rows_multiple_of
    if multiple % processes:
        raise UserError(
            f"the run has config.schedule.rows_multiple_of={multiple}, which {processes} processes do not divide: "
            f"start {most_dividing(processes, multiple)} of them"
        )
    local = [[device for device in jax.devices() if device.process_index == number] for number in range(processes)]
    number = most_dividing(min(map(len, local)), multiple // processes)
    chosen = [device for devices in local for device in devices[:number]]
    if len(chosen) < len(jax.devices()):
        say(
            f"using {len(chosen)} of {len(jax.devices())} devices: their number has to divide "
            f"config.schedule.rows_multiple_of={multiple}"
        )
    return chosen


def prepare_together(
    config: Config,
    *,
    abstract: bool,
    devices: Sequence[Any] | None = None,
    opener: Callable[[Config], OpenSplit] = open_data,
    label_names: tuple[str, ...] | None = None,
) -> Setup:
    """Call `prepare` in every process; an error in one of them ends all.

    Raises:
        UserError: `prepare` raised it, or the configs or the training data of the processes differ.
    """
    configs = gather(dataclasses.asdict(config))
    with together():
        _check_same_config(config_from_json(configs[0]), config)
        setup = prepare(config, abstract=abstract, devices=devices, opener=opener, label_names=label_names)
    if jax.process_count() == 1:
        return setup
    found = gather(fingerprint(setup.train.dataset))
    with together():
        for number, other in enumerate(found):
            if changes := changed_data({"train": found[0]}, {"train": other}):
                raise UserError(
                    f"process {number} has other data than process 0 ({'; '.join(changes)}): give all hosts the same "
                    f"files as {config.data.source}"
                )
    return setup


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
