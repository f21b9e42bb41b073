"""Logits of a whole split: what the accuracy is made of, in its order; padding leaves them alone where it is masked."""

import numpy as np
import pytest

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.config_fields import overridden
from fcn_jax.train.compile_in_threads import compile_programs
from fcn_jax.train.passes import evaluate, split_logits
from fcn_jax.train.setup import prepare

SMALL = {"data.train_split": "train[:64]", "data.test_split": "test[:50]", "model.channels": (4, 8, 8)}


def logits_of(config: Config) -> np.ndarray:
    setup = prepare(config)
    return split_logits(setup, setup.state, setup.test, title="test")


def test_they_are_what_the_accuracy_is_made_of():
    setup = prepare(overridden(mnist.get_config("tiny"), SMALL))
    programs = compile_programs(setup, train=False, splits=(setup.test,))
    means = evaluate(setup, programs, setup.state, setup.test, title="test")
    logits = split_logits(setup, setup.state, setup.test, title="test")
    assert logits.shape == (50, 10)
    assert np.mean(logits.argmax(1) == setup.test.dataset.labels) == means["accuracy"]


@pytest.mark.parametrize("masked", [True, False])
def test_padding_at_test_time_changes_them_where_nobody_masks(masked):
    config = overridden(mnist.get_config("tiny"), {**SMALL, "model.masked": masked})
    near, far = logits_of(config), logits_of(overridden(config, {"evaluate.padding": 9}))
    drift = np.abs(near - far).max()
    assert drift < 2e-6 if masked else drift > 1e-3
