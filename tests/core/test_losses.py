"""The losses of several labels and of shares: by hand, linear in the label, and that of one label where it is one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fcn_jax.config import TrainConfig
from fcn_jax.core.losses import is_correct, plain_loss, probabilities_of, training_loss

RNG = np.random.default_rng(0)
LOGITS, LABELS = jnp.asarray(RNG.normal(0, 3, (6, 4))), jnp.asarray(RNG.integers(0, 4, 6))
TARGETS = jnp.asarray(RNG.integers(0, 2, (6, 4)).astype(np.float64))
WAYS = {
    "plain": {},
    "smooth": {"label_smoothing": 0.1},
    "all": {"label_smoothing": 0.2, "focal": 1.5, "class_weights": (0.5, 1.0, 2.0, 3.0)},
}


@pytest.mark.parametrize("way", WAYS)
def test_all_of_the_shares_for_one_class_are_one_label(way):
    config = TrainConfig(**WAYS[way])
    shares = jax.nn.one_hot(LABELS, 4, dtype=LOGITS.dtype)
    found = training_loss(config, "shares")(LOGITS, shares)
    np.testing.assert_allclose(found, training_loss(config)(LOGITS, LABELS), rtol=1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("labels", ["several", "shares"])
def test_the_loss_to_a_mix_of_labels_is_the_mix_of_the_losses(labels, way):
    loss_of = training_loss(TrainConfig(**WAYS[way]), labels)
    one, other = TARGETS, TARGETS[::-1]
    mixed = loss_of(LOGITS, 0.3 * one + 0.7 * other)
    np.testing.assert_allclose(mixed, 0.3 * loss_of(LOGITS, one) + 0.7 * loss_of(LOGITS, other), rtol=1e-5)


def test_the_loss_to_shares_is_the_cross_entropy():
    shares = jax.nn.softmax(LOGITS[::-1])
    np.testing.assert_allclose(
        plain_loss("shares")(LOGITS, shares), optax.softmax_cross_entropy(LOGITS, shares), rtol=1e-5
    )


def test_the_loss_to_several_labels_is_the_mean_of_binary_cross_entropies():
    by_class = optax.sigmoid_binary_cross_entropy(LOGITS, TARGETS)
    np.testing.assert_allclose(plain_loss("several")(LOGITS, TARGETS), by_class.mean(1), rtol=1e-5)
    weighted = training_loss(TrainConfig(class_weights=(1.0, 0.0, 2.0, 3.0)), "several")(LOGITS, TARGETS)
    np.testing.assert_allclose(weighted, (by_class * jnp.asarray([1.0, 0.0, 2.0, 3.0])).mean(1), rtol=1e-5)
    smooth = training_loss(TrainConfig(label_smoothing=0.2), "several")(LOGITS, TARGETS)
    expected = optax.sigmoid_binary_cross_entropy(LOGITS, 0.8 * TARGETS + 0.1).mean(1)
    np.testing.assert_allclose(smooth, expected, rtol=1e-5)


def test_the_focal_loss_of_several_labels_weighs_by_what_is_missing_to_certainty():
    found = training_loss(TrainConfig(focal=2.0), "several")(LOGITS, TARGETS)
    probability = jnp.where(TARGETS > 0, jax.nn.sigmoid(LOGITS), jax.nn.sigmoid(-LOGITS))
    expected = -((1 - probability) ** 2) * jnp.log(probability)
    np.testing.assert_allclose(found, expected.mean(1), rtol=1e-4)
    sure = jnp.asarray([[60.0, -60.0, 60.0, -60.0]])
    gradient = jax.grad(lambda x: training_loss(TrainConfig(focal=0.5), "several")(x, (sure > 0) * 1.0).sum())(sure)
    assert np.isfinite(gradient).all()


def test_probabilities_add_up_to_one_unless_there_may_be_several_labels():
    np.testing.assert_allclose(probabilities_of(LOGITS, "shares").sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(probabilities_of(LOGITS, "several"), 1 / (1 + np.exp(-LOGITS)), rtol=1e-5)


def test_an_answer_is_right_if_all_labels_are():
    logits = jnp.asarray([[1.0, -1.0, 2.0], [1.0, -1.0, 2.0], [-1.0, -2.0, -3.0]])
    targets = jnp.asarray([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert is_correct(logits, targets, "several").tolist() == [True, False, True]
    shares = jnp.asarray([[0.5, 0.1, 0.4], [0.2, 0.2, 0.6], [0.4, 0.3, 0.3]])
    assert is_correct(logits, shares, "shares").tolist() == [False, True, True]
