"""Workdirs as training leaves them, of nets that nobody trained, and files to predict."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from fcn_jax.commands.export import answering
from fcn_jax.config import Config
from fcn_jax.core.block import value_type
from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.net import Model
from fcn_jax.core.step import initial_state, split_model
from fcn_jax.data.meaning import Meaning
from fcn_jax.inference.classifier import Answering
from fcn_jax.inference.inputs import Recipe, recipe_of
from fcn_jax.nets.model import make_model, smallest_input
from fcn_jax.system.disk import write_json
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.workdir import LABELS
from tests.core.padding import drawn
from tests.made_models import model_of

LABEL_NAMES = ("ant", "bee", "cow", "dog", "elk", "fox")
BUCKETS = ((12, 12), (16, 24))


def small_config(*, data_channels: int = 1, **fields) -> Config:
    """A net of two convolutions; `fields` are of the model."""
    config = Config(model=model_of(**{"num_classes": len(LABEL_NAMES), "channels": (4, 6), **fields}))
    config.data.channels, config.data.mean, config.data.std = data_channels, (0.4,), (0.5,)
    config.machine.cache_dir = ""
    return config


def make_workdir(
    workdir: Path,
    config: Config,
    *,
    buckets: tuple[tuple[int, ...], ...] = BUCKETS,
    label_names: tuple[str, ...] = LABEL_NAMES,
    sampling_rate: int | None = None,
) -> Model:
    """A workdir with a checkpoint; returns the net in it."""
    model = drawn(lambda: make_model(config, rank=len(buckets[0])))
    _, params, stats = split_model(model)
    optimizer = make_optimizer(config.train, warmup_steps=3, total_steps=9)
    state = initial_state(params, stats, optimizer, average=False)
    workdir.mkdir()
    with Checkpoints(workdir / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(7, state, {"meaning": Meaning(label_names, sampling_rate, None).to_json()})
    write_json(workdir / "config.json", dataclasses.asdict(config))
    write_json(workdir / LABELS, label_names)
    (workdir / "plan.json").write_text(BucketPlan(buckets).to_json())
    return model


def worst_difference(
    exported: Callable[[Model, Recipe], Answering], config: Config, rank: int, canvases, *, rows: int = 2
) -> float:
    """Between a model and what it is exported to, over all logits and probabilities."""
    model = drawn(lambda: make_model(config, rank=rank))
    smallest, largest = smallest_input(config), model.net.largest_side
    recipe = recipe_of(config, rank=rank, smallest_side=smallest, largest_side=largest)
    theirs, ours = exported(model, recipe), jax.jit(answering(model))
    rng, worst = np.random.default_rng(0), 0.0
    for canvas in canvases:
        image = rng.integers(0, 256, (rows, *canvas, config.data.channels)).astype(value_type(rank))
        size = np.array([canvas, *[[max(smallest, side - 1) for side in canvas]] * (rows - 1)], np.int32)
        answer, expected = theirs(image, size), ours(image, size)
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in zip(answer, expected, strict=True)))
        np.testing.assert_allclose(answer.probabilities.sum(1), 1, atol=1e-6)
    return worst


def write_picture(path: Path, size: tuple[int, int], *, mode: str = "L") -> np.ndarray:
    """A grey picture of noise; returns its pixels."""
    pixels = np.random.default_rng(size[0] * size[1]).integers(0, 256, size, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels[..., None]
