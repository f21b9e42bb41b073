"""bfloat16 for what layers compute: near float32 for every family, and padding still changes nothing.

Tolerances are shares of the largest logit, at least of 1. bfloat16 keeps 8 bits, so one rounding is up to 0.004.
Measured were at most 0.01 against float32, and 2e-7 for padding, since all that sums over positions is float32;
statistics of BatchNorm in bfloat16 made that 0.005.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcn_jax.core.block import Block
from fcn_jax.nets.model import abstract_model, make_model, smallest_input, with_type
from tests.core.padding import alone, by_number, drawn, make_images, spread
from tests.nets.test_families import CHANNELS, FAMILIES, LAYOUTS, SIZES, Layout, config_of

AGAINST_FLOAT32, OF_PADDING = 0.03, 0.002
FAMILIES_AND_NORMS = [
    *(("fcn", norm) for norm in ("batch", "group", "layer", "none")),
    *((family, None) for family in FAMILIES if family != "fcn" and "with" not in family),
]


def logits_of(model, blocks: tuple[Block, ...], modes: tuple[bool, ...]):
    """Return the logits of every example, in training or evaluation; check the types of what is float32 in any case."""
    graphdef, state = nnx.split(model)

    def predict(state, blocks):
        net = nnx.merge(graphdef, state)
        predictions = [net(blocks, training=training) for training in modes]
        return predictions, nnx.to_pure_dict(nnx.state(net, (nnx.Param, nnx.BatchStat)))

    predictions, state = jax.device_get(jax.jit(predict)(state, blocks))
    types = {leaf.dtype for leaf in jax.tree.leaves(state)}
    types |= {array.dtype for of_mode in predictions for p in of_mode for array in (p.logits, p.logits_2d.x)}
    assert types == {np.dtype(np.float32)}
    return [row for of_mode in predictions for row in by_number([p.logits for p in of_mode], blocks)]


def largest_difference(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    scale = max(1, *(np.abs(row).max() for row in expected))
    return max(np.abs(a - b).max() for a, b in zip(expected, found, strict=True)) / scale


@pytest.mark.parametrize(("family", "norm"), FAMILIES_AND_NORMS)
def test_logits_are_near_those_of_float32_and_padding_changes_nothing(family, norm):
    config = config_of(family)
    config.model.norm, config.model.group_size = norm or config.model.norm, 2
    rank = 2 if config.model.takes_images else 1
    smallest = smallest_input(config) - 1
    rng = np.random.default_rng(0)
    images = make_images([tuple(side + smallest for side in size) for size in SIZES[rank]], CHANNELS, rng)
    unpadded = alone(images, rng)
    padded = spread(images, [Layout(layout.rows, layout.margin[:rank]) for layout in LAYOUTS], rng)
    modes = (True, False) if family == "fcn" else (True,)  # Norms alone tell the two apart.
    expected = logits_of(drawn(lambda: make_model(config, rank=rank)), unpadded, modes)
    config.model.dtype = "bfloat16"
    model = drawn(lambda: make_model(config, rank=rank))
    assert model.dtype == jnp.bfloat16
    found = logits_of(model, unpadded, modes)
    assert 1e-5 < largest_difference(expected, found) < AGAINST_FLOAT32
    assert largest_difference(found, logits_of(model, padded, modes)) < OF_PADDING


@pytest.mark.parametrize(("said", "platform", "meant"), [
    ("auto", "cpu", "float32"), ("auto", "gpu", "bfloat16"), ("auto", "tpu", "bfloat16"),
    ("float32", "tpu", "float32"), ("bfloat16", "cpu", "bfloat16"),
])  # fmt: skip
def test_auto_means_what_the_platform_is_fast_in(said, platform, meant):
    config = config_of("fcn")
    config.model.dtype = said
    assert with_type(config, platform).model.dtype == meant
    assert abstract_model(config, rank=2, platform=platform).dtype == jnp.dtype(meant)
    assert config.model.dtype == said
