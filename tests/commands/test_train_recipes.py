"""What a recipe may set: a run that was stopped goes on to the same bits."""

import numpy as np
import pytest

from configs.mnist import get_config
from fcn_jax.commands.train import train
from fcn_jax.config import Config
from fcn_jax.config_fields import overridden
from fcn_jax.nets.families import ResNet
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
    "resnet in micro-steps": {
        "train.optimizer": "lamb",
        "train.decay": "constant",
        "train.layer_decay": 0.8,
        "train.mixup": 0.2,
        "train.focal": 1.5,
        "train.balanced": True,
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


def config_of(recipe: str, cache) -> Config:
    config = get_config("tiny")
    config.model = ResNet(channels=(8, 8), blocks=(2, 1))
    return overridden(config, {**RECIPES[recipe], "machine.cache_dir": str(cache), "checkpoint.every_steps": 3})


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_stopped_run_goes_on_to_the_same_bits(recipe, tmp_path):
    config = config_of(recipe, tmp_path / "cache")
    whole = train(config, tmp_path / "whole")
    train_until(config, tmp_path / "stopped", steps=7)
    stopped = train(config, tmp_path / "stopped")
    for expected, found in zip(final_state(tmp_path / "whole"), final_state(tmp_path / "stopped"), strict=True):
        np.testing.assert_array_equal(expected, found)
    assert {name: whole[name] for name in ("loss", "accuracy", "count")} == {
        name: stopped[name] for name in ("loss", "accuracy", "count")
    }
