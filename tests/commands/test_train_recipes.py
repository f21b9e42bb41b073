"""What a recipe may set: a run that was stopped goes on to the same bits."""

import numpy as np
import pytest

from configs.mnist import get_config
from fcn_jax.commands.train import train
from fcn_jax.config import Config
from fcn_jax.config_fields import overridden
from fcn_jax.nets.families import ResNet
from tests.commands.made_labels import CLASSES, write_table
from tests.commands.stopped import train_until
from tests.commands.test_train import final_state

RECIPES = {
    "resnet": {
        "train.optimizer": "muon",
        "train.decay": "linear",
        "train.restarts": 1,
        "train.clip_norm": 0.5,
        "model.dropout": 0.3,
        "model.stochastic_depth": 0.4,
        "checkpoint.best": "loss",
        "train.patience": 5,
        "train.mixup": 0.8,
        "data.augment.policy": "trivial",
        "data.augment.erase": 0.25,
        "data.balance": 0.6,
        "train.cutmix": 1.0,
    },
    "resnet in micro-steps, on several labels of a table, with weights": {
        "train.optimizer": "lamb",
        "train.decay": "constant",
        "train.layer_decay": 0.8,
        "train.mixup": 0.2,
        "train.focal": 1.5,
        "train.balanced": True,
        "train.label_smoothing": 0.1,
        "data.labels": "several",
        "checkpoint.best": "mean_average_precision",
        "data.augment.policy": "rand",
        "data.augment.operations": 3,
        "data.augment.magnitude": 5.0,
        "data.augment.magnitude_noise": 0.5,
        "data.augment.flip_vertical": True,
        "train.accumulate": 2,
        "model.norm": "group",
        "model.group_size": 4,
        "model.dropout": 0.2,
        "model.stochastic_depth": 0.5,
    },
}
"""Two recipes, which together set every field of a recipe."""


def config_of(recipe: str, cache, folder) -> Config:
    config = get_config("tiny")
    config.model = ResNet(channels=(8, 8), blocks=(2, 1))
    if RECIPES[recipe].get("data.labels") == "several":
        config.data.source, config.model.num_classes = write_table(folder), len(CLASSES)
        config.data.train_split, config.data.validation_split, config.data.test_split = "train", "validation", "test"
        config.schedule.examples_per_step = 24
    return overridden(config, {**RECIPES[recipe], "machine.cache_dir": str(cache), "checkpoint.every_steps": 3})


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_stopped_run_goes_on_to_the_same_bits(recipe, tmp_path):
    config = config_of(recipe, tmp_path / "cache", tmp_path / "data")
    whole = train(config, tmp_path / "whole")
    train_until(config, tmp_path / "stopped", steps=7)
    stopped = train(config, tmp_path / "stopped")
    for expected, found in zip(final_state(tmp_path / "whole"), final_state(tmp_path / "stopped"), strict=True):
        np.testing.assert_array_equal(expected, found)
    names = [name for name in ("loss", "accuracy", "mean_average_precision", "micro_f1", "count") if name in whole]
    assert {name: whole[name] for name in names} == {name: stopped[name] for name in names}
    assert len(names) == (5 if config.data.labels == "several" else 3)
