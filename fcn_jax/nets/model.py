"""The model of a config: `MAKERS` says which function makes the net of which family.

A new family needs a dataclass in `families.py` (or in a file of its own), a file with its layers and a function that
makes its net, and one line in `MAKERS`. docs/new_model.md shows how.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fcn_jax.config import Config, ModelConfig, UserError
from fcn_jax.config_fields import overridden
from fcn_jax.core.block import abstract_block, value_type
from fcn_jax.core.convolution import prefers_patches
from fcn_jax.core.geometry import Window, format_size, smallest_side
from fcn_jax.core.layers import Record, recording
from fcn_jax.core.net import LayerMaker, Model, Net
from fcn_jax.nets import families
from fcn_jax.nets.convnext import make_convnext
from fcn_jax.nets.convolutional import make_all_cnn, make_fcn, make_fcn1d, make_nin
from fcn_jax.nets.dense import make_flatten, make_mlp
from fcn_jax.nets.efficientnet import make_efficientnet
from fcn_jax.nets.recurrent import make_lstm, make_tacotron2_encoder
from fcn_jax.nets.resnet import make_resnet
from fcn_jax.nets.wavenet import make_wavenet

LARGEST_SIDE = 2**20
"""The largest side that a net may need as its smallest input, in pixels."""

MAKERS: dict[type[ModelConfig], Callable[[Any, int, LayerMaker], Net]] = {
    families.FCN: make_fcn,
    families.ResNet: make_resnet,
    families.AllCNN: make_all_cnn,
    families.NIN: make_nin,
    families.ConvNeXt: make_convnext,
    families.EfficientNet: make_efficientnet,
    families.FCN1D: make_fcn1d,
    families.WaveNet: make_wavenet,
    families.LSTM: make_lstm,
    families.Tacotron2Encoder: make_tacotron2_encoder,
    families.Flatten: make_flatten,
    families.MLP: make_mlp,
    families.Dense: make_mlp,
}
"""{config of a family: function that makes its net from the config, the number of input channels and a LayerMaker}"""


def make_model(config: Config, *, rank: int, dtype=jnp.float32, platform: str | None = None, devices: int = 1) -> Model:
    """Make the model of a config, and draw its parameters from the config's seed.

    Args:
        rank: number of spatial axes: 2 for images, 1 for signals.
        dtype: type of its parameters, and of its computation unless the config says bfloat16.
        platform, devices: kind and number of the devices that it is for: cpu, gpu or tpu; None: JAX's default. They
            decide how layers compute, not what.
    """
    platform = platform or jax.default_backend()
    c = with_type(config, platform).model
    make = LayerMaker(
        rank=rank,
        rngs=nnx.Rngs(config.seed),
        norm_kind=c.norm,
        norm_momentum=c.norm_momentum,
        group_size=c.group_size,
        patches=partial(takes_patches, c, platform),
        reduce_window=platform == "tpu",
        dtype=dtype,
    )
    net = make_net(config, make)
    net.joins_blocks, net.dropout = devices == 1, make.dropout(c.dropout)
    return Model(
        net,
        mean=config.data.mean,
        std=config.data.std,
        is_masked=c.masked,
        dtype=jnp.bfloat16 if c.dtype == "bfloat16" else dtype,
        seed=config.seed,
    )


def takes_patches(c: ModelConfig, platform: str, features: tuple[int, int], window: Window) -> bool:
    """Return whether a convolution of a net is computed by patches (see `Convolution`)."""
    if c.convolution == "measured" and not c.leaves_ways_open:
        return way_name("patches", features, window.computed) in c.convolution_ways
    by_rule = platform == "cpu" and prefers_patches(features, window)
    return {"direct": False, "patches": True, "auto": by_rule, "measured": by_rule}[c.convolution]


def way_name(way: str, features: tuple[int, int], window: Window) -> str:
    """Return how `model.convolution_ways` names the way of a convolution."""
    return f"{way}: kernel {window.describe(1)}, {features[0]} -> {features[1]} channels"


def make_net(config: Config, make: LayerMaker) -> Net:
    """Make the net of the config's family.

    Raises:
        UserError: the examples are images, but the family takes only signals.
    """
    c = config.model
    if make.rank != 1 and not c.takes_images:
        raise UserError(
            f"config.model.name is {c.name!r}, which goes through signals from one end to the other, but the examples "
            f"have {make.rank} spatial axes: choose a family that takes any, such as fcn"
        )
    assert type(c) in MAKERS, f"{type(c).__name__} has no line in MAKERS"
    return MAKERS[type(c)](c, config.data.channels, make)


def with_type(config: Config, platform: str) -> Config:
    """Return the config with the type that its layers compute in on a kind of device, where it says auto."""
    if config.model.dtype != "auto":
        return config
    return overridden(config, {"model.dtype": "float32" if platform == "cpu" else "bfloat16"})


def abstract_model(config: Config, *, rank: int, platform: str | None = None, devices: int = 1) -> Model:
    """Make the model of a config without its arrays."""
    return nnx.eval_shape(lambda: make_model(config, rank=rank, platform=platform, devices=devices))


def smallest_input(config: Config) -> int:
    """Return the smallest side that the model of a config can take.

    Raises:
        UserError: it is larger than LARGEST_SIDE.
    """
    side = smallest_side(abstract_model(config, rank=1).windows)
    if side > LARGEST_SIDE:
        raise UserError(
            f"the net of config.model takes no side below {side:,}: make its kernels, strides or dilations smaller, or "
            "its layers fewer"
        )
    return side


def trace_shapes(config: Config, size: tuple[int, ...]) -> list[Record]:
    """Return the shape that every layer outputs for an input size, without computing anything.

    Raises:
        UserError: the net does not take the size.
    """
    model = abstract_model(config, rank=len(size))
    model.net.check_size(size)
    block = abstract_block(1, size, config.data.channels, value_type(len(size), config.data.pixel_range))
    with recording() as records:
        nnx.eval_shape(lambda m, b: m((b,), training=False), model, block)
    return records


def format_shapes(config: Config, size: tuple[int, ...], records: list[Record]) -> str:
    """Format the table of the command `shapes`, with shapes as (-1, channels, height, width)."""
    rows = [("input", (-1, config.data.channels, *size), 0)]
    for record in records:
        shape = (-1, record.channels, *record.canvas)
        pooled = record.canvas == () or rows[-1][1][2:] == ()
        rows.append((record.layer, shape[:2] if pooled else shape, record.parameters))
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{config.model.name} on {format_size(size)}", ""]
    lines += [f"{'layer':<{width}}  {'output':<22}{'parameters':>12}"]
    lines += [f"{name:<{width}}  {shape!s:<22}{parameters:>12,}" for name, shape, parameters in rows]
    lines += ["", f"{'total':<{width}}  {'':<22}{sum(parameters for _, _, parameters in rows):>12,}"]
    return "\n".join(lines)
