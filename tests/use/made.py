"""Workdirs as training leaves them, of nets that nobody trained, and files to predict."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from fcn_jax.config import Config
from fcn_jax.data.buckets import BucketPlan
from fcn_jax.models.model import Model, make_model
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.state import initial_state, split_model
from fcn_jax.train.workdir import LABELS
from fcn_jax.train.writer import write_json
from tests.models.law import drawn

LABEL_NAMES = ("ant", "bee", "cow", "dog", "elk", "fox")
BUCKETS = ((12, 12), (16, 24))


def small_config(*, data_channels: int = 1, **fields) -> Config:
    """A net of two convolutions; `fields` are of the model."""
    config = Config()
    config.data.channels, config.data.mean, config.data.std = data_channels, (0.4,), (0.5,)
    config.model.num_classes, config.model.channels = len(LABEL_NAMES), (4, 6)
    config.machine.cache_dir = ""
    for name, value in fields.items():
        setattr(config.model, name, value)
    return config


def make_workdir(workdir: Path, config: Config, *, buckets: tuple[tuple[int, ...], ...] = BUCKETS) -> Model:
    """A workdir with a checkpoint; returns the net in it."""
    model = drawn(lambda: make_model(config, rank=len(buckets[0])))
    _, params, stats = split_model(model)
    optimizer = make_optimizer(config.train, warmup_steps=3, total_steps=9)
    state = initial_state(params, stats, optimizer, average=False)
    workdir.mkdir()
    with Checkpoints(workdir / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(7, state, {})
    write_json(workdir / "config.json", dataclasses.asdict(config))
    write_json(workdir / LABELS, LABEL_NAMES)
    (workdir / "plan.json").write_text(BucketPlan(buckets).to_json())
    return model


def write_picture(path: Path, size: tuple[int, int], *, mode: str = "L") -> np.ndarray:
    """A grey picture of noise; returns its pixels."""
    pixels = np.random.default_rng(size[0] * size[1]).integers(0, 256, size, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels[..., None]
