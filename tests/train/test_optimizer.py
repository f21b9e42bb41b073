"""The optimisers of a config: Optax's, by the field that names them; and what is added to them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fcn_jax.config import Config, TrainConfig, UserError
from fcn_jax.config_rules import validate
from fcn_jax.core.step import split_model
from fcn_jax.nets.families import FCN, ConvNeXt
from fcn_jax.nets.model import make_model
from fcn_jax.train.optimizer import is_frozen, layers_that_follow, learning_rate_schedule, make_optimizer

RNG = np.random.default_rng(0)
KERNEL, BIAS = jnp.asarray(RNG.normal(size=(3, 3, 4, 6))), jnp.asarray(RNG.normal(size=6))
PARAMS = {"net": {"layers": {0: {"kernel": KERNEL, "bias": BIAS}}}}


def first_update(config: TrainConfig, grads) -> dict:
    """The change of the parameters in a first step at the peak rate."""
    optimizer = make_optimizer(config, warmup_steps=0, total_steps=10)
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    return updates["net"]["layers"][0]  # type: ignore[index]


GRADS = jax.tree.map(lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape)), PARAMS)


def test_lion_steps_by_signs():
    config = TrainConfig(optimizer="lion", learning_rate=0.01, weight_decay=0.5)
    found, grads = first_update(config, GRADS), GRADS["net"]["layers"][0]
    np.testing.assert_allclose(found["bias"], -0.01 * np.sign(grads["bias"]), rtol=1e-5)
    np.testing.assert_allclose(found["kernel"], -0.01 * (np.sign(grads["kernel"]) + 0.5 * KERNEL), rtol=1e-5, atol=1e-7)


def test_lamb_steps_by_the_norm_of_each_array():
    config = TrainConfig(optimizer="lamb", learning_rate=0.01, weight_decay=0.0)
    found = first_update(config, GRADS)
    for name, values in PARAMS["net"]["layers"][0].items():
        assert np.linalg.norm(found[name]) == pytest.approx(0.01 * np.linalg.norm(values), rel=1e-4)


def test_muon_steps_by_a_matrix_whose_singular_values_are_about_equal():
    config = TrainConfig(optimizer="muon", learning_rate=0.01, weight_decay=0.0)
    found = first_update(config, GRADS)
    values = np.linalg.svd(np.asarray(found["kernel"]).reshape(-1, 6), compute_uv=False)
    assert values.max() < 2.5 * values.min()
    assert np.sqrt(np.mean(found["kernel"] ** 2)) == pytest.approx(0.01 * 0.2, rel=0.2)
    # The first step of Adam with Nesterov's momentum has one length for all.
    np.testing.assert_allclose(found["bias"], -0.01 * 1.47367 * np.sign(GRADS["net"]["layers"][0]["bias"]), rtol=1e-4)


@pytest.mark.parametrize(("clip", "scaled"), [(0.5, True), (1e6, False), (0.0, False)])
def test_gradients_are_clipped_by_their_common_norm(clip, scaled):
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "learning_rate": 1.0}
    found, whole = first_update(TrainConfig(**plain, clip_norm=clip), GRADS), first_update(TrainConfig(**plain), GRADS)
    factor = clip / optax.global_norm(GRADS) if scaled else 1.0
    for name in found:
        np.testing.assert_allclose(found[name], factor * whole[name], rtol=1e-5)


@pytest.mark.parametrize(
    ("net", "layers"),
    [(FCN(norm="batch"), [3, 3, 2, 2, 1, 1]), (ConvNeXt(channels=(8, 16), blocks=(2,)), [6, 6, 5, 4, 4, 3])],
    ids=["fcn", "convnext"],
)
def test_a_layer_counts_if_it_has_a_kernel(net, layers):
    _, params, _ = split_model(make_model(Config(model=net), rank=2))
    follow = layers_that_follow(params)["net"]
    found = [max(jax.tree.leaves(follow["layers"][number])) for number in sorted(follow["layers"])]
    assert found[: len(layers)] == layers
    assert set(jax.tree.leaves(follow["head"])) == {0}


@pytest.mark.parametrize("freeze", ["", "kernel", "net/head/", "layers/0/"])
def test_layers_far_from_the_head_learn_slower(freeze):
    config = TrainConfig(optimizer="sgd", momentum=0.0, weight_decay=0.0, layer_decay=0.5, freeze=freeze)
    _, params, _ = split_model(make_model(Config(model=FCN()), rank=2))
    grads = jax.tree.map(jnp.ones_like, params)
    optimizer = make_optimizer(config, warmup_steps=0, total_steps=10)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    frozen = is_frozen(params, freeze) if freeze else jax.tree.map(lambda _: False, params)
    expected = jax.tree.map(
        lambda number, leaf, is_frozen: np.full(leaf.shape, 0 if is_frozen else -config.learning_rate * 0.5**number),
        layers_that_follow(params), params, frozen,
    )  # fmt: skip
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), updates, expected)


@pytest.mark.parametrize(
    ("decay", "restarts", "rates"),
    [
        ("cosine", 0, {0: 0, 10: 1, 60: 0.5, 110: 0}),
        ("linear", 0, {0: 0, 5: 0.5, 10: 1, 35: 0.75, 60: 0.5, 110: 0}),
        ("constant", 0, {0: 0, 10: 1, 60: 1, 109: 1}),
        ("cosine", 1, {10: 1, 35: 0.5, 60: 1, 85: 0.5, 110: 0}),
        ("linear", 3, {10: 1, 34: 0.04, 35: 1, 60: 1, 85: 1, 109: 0.04}),
    ],
)
def test_the_rate_falls_as_the_config_says(decay, restarts, rates):
    config = TrainConfig(learning_rate=1.0, decay=decay, restarts=restarts)
    rate = learning_rate_schedule(config, warmup_steps=10, total_steps=110)
    for step, expected in rates.items():
        assert float(rate(step)) == pytest.approx(expected, abs=1e-6), step


def test_a_rate_that_never_falls_has_no_restarts():
    config = Config(model=FCN())
    config.train.decay, config.train.restarts = "constant", 2
    with pytest.raises(UserError, match="never falls"):
        validate(config)
