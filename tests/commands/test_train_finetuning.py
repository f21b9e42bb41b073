"""Fine-tuning: what is frozen stays to the bit, the backbone has its rate, and a resume needs no file of weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file

from configs.mnist import get_config
from fcn_jax.commands.evaluate import evaluate_run
from fcn_jax.commands.train import train
from fcn_jax.config import Config, TrainConfig
from fcn_jax.nets.families import ResNet
from fcn_jax.train.checkpoint import restore_latest
from fcn_jax.train.optimizer import describe_frozen, make_base_optimizer, make_optimizer
from fcn_jax.train.setup import prepare
from tests.commands.stopped import train_until
from tests.commands.test_train import final_state

LAYER = {"kernel": jnp.full((3, 2), 2.0), "bias": jnp.ones(2)}
PARAMS = {"net": {"layers": {0: LAYER, 1: LAYER, 10: LAYER}, "head": {"classifier": LAYER}}}
OPTIMIZERS = ["adamw", "sgd", "lion", "lamb", "muon"]
EVERY_RATE = {"warmup_steps": 1, "total_steps": 100}


def after(config: TrainConfig, make=make_optimizer, *, steps: int = 5):
    """Parameters after some updates, and the state of the optimiser."""
    optimizer, params, rng = make(config, **EVERY_RATE), PARAMS, np.random.default_rng(0)
    state = optimizer.init(params)
    for _ in range(steps):
        grads = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), params)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def flat(params) -> dict[str, np.ndarray]:
    leaves = jax.tree.leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_frozen_stays_and_the_rest_learns_as_ever(optimizer):
    config = TrainConfig(optimizer=optimizer, weight_decay=0.5)
    plain, plain_state = after(config)
    frozen, frozen_state = after(dataclasses.replace(config, freeze="layers/1/|0/bias"))
    for path, before in flat(PARAMS).items():
        is_frozen = "layers/1/" in path or path in ("net/layers/0/bias", "net/layers/10/bias")
        expected = before if is_frozen else flat(plain)[path]
        assert is_frozen or not np.array_equal(expected, before)
        np.testing.assert_array_equal(flat(frozen)[path], expected, err_msg=path)
    momenta = [
        sum(leaf.shape in ((3, 2), (2,)) for leaf in jax.tree.leaves(state)) for state in (plain_state, frozen_state)
    ]
    # Of the kernels, which Muon gives one momentum, 3 of 4 learn; of the biases, with two moments, 1 of 4.
    assert momenta[1] == (3 + 2 if optimizer == "muon" else momenta[0] / 2)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("freeze", ["", "layers/1/"])
def test_the_backbone_learns_at_its_own_rate(optimizer, freeze):
    config = TrainConfig(optimizer=optimizer, freeze=freeze)
    plain, _ = after(config, steps=2)
    slow, _ = after(dataclasses.replace(config, backbone_rate=0.125), steps=2)
    for path, before in flat(PARAMS).items():
        factor = 1 if path.startswith("net/head/") else 0.125
        change, expected = flat(slow)[path] - before, factor * (flat(plain)[path] - before)
        np.testing.assert_allclose(change, expected, rtol=0, atol=2e-6, err_msg=path)
        assert change.any() == (not freeze or "layers/1/" not in path)


def test_without_fine_tuning_the_optimiser_is_the_plain_one():
    config = TrainConfig()
    (_, state), (_, base) = after(config), after(config, make_base_optimizer)
    assert jax.tree.structure(state) == jax.tree.structure(base)


@pytest.mark.parametrize(("pattern", "said"), [("conv1", "fits none of the 8 paths"), ("net", "fits all 8 paths")])
def test_a_pattern_that_fits_nothing_or_everything_is_refused(pattern, said):
    optimizer = make_optimizer(TrainConfig(freeze=pattern), **EVERY_RATE)
    with pytest.raises(ValueError, match=rf"config\.train\.freeze is '{pattern}', which {said}.*net/layers/") as error:
        optimizer.init(PARAMS)
    assert "\n" not in str(error.value)


def test_frozen_parameters_are_counted():
    assert describe_frozen(PARAMS, "layers/.*/kernel") == "frozen: 18 of 32 parameters (layers/.*/kernel)"


def weights(path, num_classes: int) -> dict[str, np.ndarray]:
    """A file for the net of `fine_tuning`, of random weights."""
    rng = np.random.default_rng(0)
    shapes = {"conv1.weight": (4, 1, 3, 3), "fc.weight": (num_classes, 4), "fc.bias": (num_classes,)}
    shapes |= {f"layer1.0.conv{number}.weight": (4, 4, 3, 3) for number in (1, 2)}
    for norm in ("bn1", "layer1.0.bn1", "layer1.0.bn2"):
        shapes |= {f"{norm}.{name}": (4,) for name in ("weight", "bias", "running_mean", "running_var")}
    tensors = {name: rng.uniform(0.1, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, path)
    return tensors


def fine_tuning(directory) -> Config:
    config = get_config("tiny")
    config.machine.cache_dir = str(directory)
    config.model = ResNet(channels=(4,), blocks=(1,), init_from=str(directory / "weights.safetensors"))
    config.train.freeze, config.train.backbone_rate, config.train.ema_decay = "layers/0/|bias", 0.1, 0.9
    config.checkpoint.every_steps = 3
    return config


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def undisturbed(directory):
    tensors = weights(directory / "weights.safetensors", num_classes=4)
    train(fine_tuning(directory), directory / "undisturbed")
    return directory / "undisturbed", tensors


def test_a_run_begins_with_the_file_and_keeps_what_is_frozen(directory, undisturbed, capsys):
    workdir, tensors = undisturbed
    setup = prepare(fine_tuning(directory))
    assert "the head stays newly drawn: fc.weight is (4, 4) in the file and (10, 4) here" in capsys.readouterr().err
    first, last = setup.state, restore_latest(workdir, setup.state)
    stem = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    for state in (first, last):
        np.testing.assert_array_equal(state.params["net"]["layers"][0]["kernel"], stem)
        np.testing.assert_array_equal(state.params["net"]["layers"][1]["bias"], tensors["bn1.bias"])
    np.testing.assert_array_equal(first.average.params["net"]["layers"][0]["kernel"], stem)
    for stats in (first.stats, first.average.stats):
        np.testing.assert_array_equal(stats["net"]["layers"][1]["mean"], tensors["bn1.running_mean"])
    assert not np.array_equal(last.stats["net"]["layers"][1]["mean"], tensors["bn1.running_mean"])
    assert not np.array_equal(last.params["net"]["layers"][1]["scale"], tensors["bn1.weight"])


def test_a_resumed_run_needs_no_file_and_ends_with_the_same_bits(directory, undisturbed, capsys):
    workdir, _ = undisturbed
    train_until(fine_tuning(directory), directory / "stopped", steps=7)
    began = capsys.readouterr().err
    assert "initial weights: " in began
    assert "frozen: 58 of 398 parameters (layers/0/|bias)" in began
    (directory / "weights.safetensors").rename(directory / "away")
    try:
        train(fine_tuning(directory), directory / "stopped")
        resumed = capsys.readouterr().err
        assert "resumed after step 6 of 16" in resumed
        assert "initial weights: " not in resumed
        (evaluated,) = evaluate_run(directory / "stopped", split="test")
        assert evaluated["count"] == 128
        with pytest.raises(ValueError, match="there is no such file"):
            train(fine_tuning(directory), directory / "new")
        assert not (directory / "new").exists()
    finally:
        (directory / "away").rename(directory / "weights.safetensors")
    for one, other in zip(final_state(workdir), final_state(directory / "stopped"), strict=True):
        np.testing.assert_array_equal(one, other)
