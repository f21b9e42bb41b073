"""Data sets that the tests of this folder share."""

import time
from functools import cache
from typing import ClassVar

import numpy as np

from fcn_jax.config import Config
from fcn_jax.config_data import AugmentConfig
from fcn_jax.data.bad_examples import BadExamples
from fcn_jax.data.dataset import Dataset, open_dataset
from fcn_jax.data.random_changes import Motion
from fcn_jax.data.source import Source
from fcn_jax.data.sources import open_source
from fcn_jax.data.transforms import Resize, Views
from fcn_jax.nets.families import FCN

SMALLEST = 8
BACKGROUND = 37


@cache
def mnist(split: str) -> Source:
    return open_source(Config(model=FCN()), split)


class Signals(Source):
    """A made-up source of rank 1: signal i has length 3 + i % 7."""

    label_names = ("even", "odd")
    bad: ClassVar[dict[str, str]] = {}

    def __init__(self, count: int, *, seconds_to_read: float = 0.0, error: str = ""):
        self.sizes = (3 + np.arange(count) % 7)[:, None]
        self.labels = np.arange(count) % 2
        self._seconds, self._error = seconds_to_read, error

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        time.sleep(self._seconds)
        if self._error:
            raise ValueError(self._error)
        return np.full((int(self.sizes[index, 0]), 2), 1 + index % 255, np.float32)

    def name(self, index: int) -> str:
        return f"signal {index}"


def dataset(source: Source, *, cache_bytes: int = 2**20, motion: Motion | None = None, **views) -> Dataset:
    return Dataset(
        source,
        resize=Resize("none"),
        views=Views(source.sizes, smallest=SMALLEST, **views),
        min_side=SMALLEST,
        background=BACKGROUND,
        bad=BadExamples("train", len(source), max_fraction=0.0),
        channels=2 if isinstance(source, Signals) else 1,
        cache_bytes=cache_bytes,
        motions=[] if motion is None else [motion],
    )


def with_data(**fields) -> Config:
    config = Config(model=FCN())
    for name, value in fields.items():
        setattr(config.data, name, value)
    return config


def strong_motion(seed: int = 0) -> Motion:
    return Motion(AugmentConfig(rotate=20.0, stretch=0.2, shift=2.0), seed=seed, background=BACKGROUND)


def assert_same(block, other):
    for name in ("image", "size", "label", "weight", "index"):
        array, other_array = getattr(block, name), getattr(other, name)
        assert array.dtype == other_array.dtype, name
        assert np.array_equal(array, other_array), name


def config_for(source, **fields) -> Config:
    config = Config(model=FCN())
    config.data.source, config.data.channels, config.model.num_classes = source, 3, 2
    config.machine.cache_dir = ""
    for name, value in fields.items():
        setattr(config.data, name, value)
    return config


def opened(config, split="train"):
    return open_dataset(config, split, smallest_input=8, training=False)
