"""A data set of which nothing is known but its sizes, as a table, and the setup that it makes.

It is enough for the plan, the steps and the programs, so that they can be looked at before the data is anywhere near.
All splits are the same table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fcn_jax.config import AugmentConfig, Config
from fcn_jax.config_rules import validate
from fcn_jax.data.bad_examples import BadExamples
from fcn_jax.data.course import scale_of_epochs, train_course
from fcn_jax.data.dataset import Dataset
from fcn_jax.data.resize import Resize
from fcn_jax.data.views import Views
from fcn_jax.models.model import abstract_model, smallest_input
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.setup import Setup, Split, make_mesh
from fcn_jax.train.state import abstract_state, split_model
from fcn_jax.use.planning.plan import read_size_table


class SizeTable:
    """A source without examples: a CSV of height,width,count, or of length,count."""

    label_names: tuple[str, ...] = ()

    def __init__(self, path: Path):
        sizes, counts = read_size_table(path)
        self.sizes = np.repeat(sizes, counts, axis=0).astype(np.int32)
        self.labels = np.zeros(len(self.sizes), np.int32)
        self.bad: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.sizes)

    def read(self, index: int) -> NoReturn:
        raise AssertionError(f"a table of sizes holds no example {index}")

    def name(self, index: int) -> str:
        return f"#{index}"


@dataclass(frozen=True)
class SizeTableSetup(Setup):
    """What a config means for a table of sizes; nothing can be loaded from it."""

    table: SizeTable

    def _undrawn(self, name: str) -> Dataset:
        return _dataset(self.config, self.table, scale=lambda _: self.config.evaluate.scale, training=False)


def prepare_size_table(config: Config, path: Path, *, devices: Sequence[Any]) -> SizeTableSetup:
    """The setup of a config in place of whose data there is a table, with an abstract state.

    Raises:
        ValueError: what is wrong with the config or the table.
    """
    validate(config)
    mesh, table = make_mesh(config, devices), SizeTable(path)
    train = train_size_table(config, table)
    graphdef, params, stats = split_model(abstract_model(config, rank=train.dataset.rank))
    optimizer = make_optimizer(
        config.train,
        warmup_steps=train.course.steps_of(config.train.warmup_epochs),
        total_steps=train.course.total_steps,
    )
    everywhere = NamedSharding(mesh, PartitionSpec())
    state = abstract_state(params, stats, optimizer, average=config.train.ema_decay > 0, place=everywhere)
    return SizeTableSetup(config, mesh, train, graphdef, optimizer, state, table)


def train_size_table(config: Config, table: SizeTable) -> Split:
    """A table as training data, and its course."""
    stages = scale_of_epochs(config.train)
    scales = [scale for epochs, scale in stages for _ in epochs]
    dataset = _dataset(config, table, scale=scales.__getitem__, training=True)
    return Split(
        dataset, train_course(dataset.views, [epochs for epochs, _ in stages], config.schedule, seed=config.seed)
    )


def _dataset(config: Config, table: SizeTable, *, scale: Callable[[int], float], training: bool) -> Dataset:
    data, smallest = config.data, smallest_input(config)
    min_side = smallest if data.min_side is None else data.min_side
    resize = Resize.parse(data.resize)
    augment = data.augment if training else AugmentConfig()
    views = Views(
        resize.sizes(table.sizes), scale=scale, augment=augment, seed=config.seed, smallest=max(min_side, smallest)
    )
    return Dataset(
        table,
        resize=resize,
        views=views,
        min_side=min_side,
        background=data.background,
        bad=BadExamples("table", len(table), max_fraction=1.0),
        channels=data.channels,
    )
