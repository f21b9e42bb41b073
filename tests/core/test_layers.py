"""Every layer leaves zeros outside the true sizes, and branches that add only where their sizes agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcn_jax.core.convolution import Convolution
from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Activate, Add
from fcn_jax.core.norms import BatchNorm, GroupNorm, LayerNorm
from fcn_jax.core.pooling import AveragePool, GlobalAverage, MaxPool
from tests.core.made_maps import CHANNELS, inside_of, make_map, shake

LAYERS = [
    *("convolution, patches", "convolution, direct", "convolution, depthwise", "max pool", "average pool"),
    *("batch", "group", "layer", "activate", "average"),
]


def make_layer(name: str):
    options = {"activation": lambda x: x, "dtype": jnp.float64}
    match name:
        case "convolution, patches" | "convolution, direct":
            return Convolution(
                (CHANNELS, 4), Window(3, 2, padding=2), rank=2, bias=True, patches="patches" in name,
                rngs=nnx.Rngs(0), dtype=jnp.float64,
            )  # fmt: skip
        case "convolution, depthwise":
            return Convolution(
                (CHANNELS, CHANNELS), Window(3, 2, 2, 3), rank=2, groups=CHANNELS, bias=True, patches=False,
                rngs=nnx.Rngs(0), dtype=jnp.float64,
            )  # fmt: skip
        case "max pool":
            return MaxPool(Window(3, 2, padding=1), rank=2)
        case "average pool":
            return AveragePool(Window(3, 2, padding=1), rank=2)
        case "batch":
            return BatchNorm(CHANNELS, momentum=0.7, **options)
        case "group":
            return GroupNorm(CHANNELS, group_size=3, **options)
        case "layer":
            return LayerNorm(CHANNELS, **options)
        case "activate":
            return Activate(jax.nn.relu)
        case "average":
            return GlobalAverage()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_leaves_zeros_outside(float64, name, training):
    rng = np.random.default_rng(0)
    layer = make_layer(name)
    shake(layer, rng)
    maps = (make_map(rng, [(2, 3), (0, 0), (4, 4)], (6, 5)), make_map(rng, [(1, 1), (7, 2)], (7, 4)))
    for m in layer(maps, training=training):
        inside = inside_of(m.size, m.x.shape[1:-1])
        x = np.asarray(m.x)
        assert not x[~inside].any()
        assert (np.abs(x[inside]).max(axis=-1) > 0).all()


def test_branches_of_different_size_do_not_add():
    rng = np.random.default_rng(0)
    branch, shortcut = (make_map(rng, [(2, 2)], canvas) for canvas in ((3, 3), (3, 1)))
    with pytest.raises(AssertionError):
        Add()((branch,), (shortcut,))
