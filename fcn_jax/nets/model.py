"""The model of a config. `make_model` maps the name of a family to its constructor, explicitly."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fcn_jax.config import Config, ModelConfig, UserError
from fcn_jax.config_model_rules import SIGNAL_MODELS
from fcn_jax.core.block import abstract_block
from fcn_jax.core.geometry import Window, format_size, smallest_side
from fcn_jax.core.layers import Record, recording
from fcn_jax.core.net import LayerMaker, Model, Net
from fcn_jax.nets.convnext import make_convnext
from fcn_jax.nets.convolutional import make_all_cnn, make_fcn, make_fcn1d, make_nin
from fcn_jax.nets.dense import make_flatten, make_mlp
from fcn_jax.nets.recurrent import make_lstm, make_tacotron2_encoder
from fcn_jax.nets.resnet import make_resnet
from fcn_jax.nets.wavenet import make_wavenet

LARGEST_SIDE = 2**20
"""That a net may ask for."""


def make_model(config: Config, *, rank: int, dtype=jnp.float32) -> Model:
    """The model of a config, its parameters drawn from the config's seed.

    Args:
        dtype: of its parameters, and of what it computes unless the config says bfloat16.
    """
    c = config.model
    by_window = None if jax.default_backend() == "cpu" else False
    patches = {"direct": False, "patches": True, "auto": by_window}[c.convolution]
    make = LayerMaker(
        rank=rank,
        rngs=nnx.Rngs(config.seed),
        norm_kind=c.norm,
        norm_momentum=c.norm_momentum,
        group_size=c.group_size,
        patches=patches,
        dtype=dtype,
    )
    return Model(
        make_net(config, make),
        mean=config.data.mean,
        std=config.data.std,
        is_masked=c.masked,
        dtype=jnp.bfloat16 if c.dtype == "bfloat16" else dtype,
    )


def make_net(config: Config, make: LayerMaker) -> Net:
    """The constructor of every family, and what it takes from the config.

    Raises:
        UserError: images for a family that reads signals.
    """
    c, inputs = config.model, config.data.channels
    if make.rank != 1 and c.name in SIGNAL_MODELS:
        raise UserError(
            f"config.model.name is {c.name!r}, which goes through signals from one end to the other, but the examples "
            f"have {make.rank} spatial axes: choose a family that takes any, such as fcn"
        )
    shared: Any = {"num_classes": c.num_classes, "head": c.head, "make": make}
    match c.name:
        case "fcn":
            pool = {"adaptive_pool": c.adaptive_pool, "adaptive_pool_after": c.adaptive_pool_after}
            return make_fcn(inputs, c.channels, windows_of(c), **pool, **shared)
        case "resnet":
            return make_resnet(
                inputs,
                c.channels,
                each(len(c.channels), c.blocks),
                stem=Window(c.stem_kernel, c.stem_stride, padding=c.stem_kernel // 2),
                stem_pool=c.stem_pool,
                bottleneck=c.bottleneck,
                zero_init=c.zero_init,
                **shared,
            )
        case "all_cnn":
            return make_all_cnn(inputs, c.channels, **shared)
        case "nin":
            return make_nin(inputs, c.channels, each((len(c.channels) + 1) // 3, c.kernel), **shared)
        case "convnext":
            stages = len(c.channels)
            blocks, kernels = each(stages, c.blocks), each(stages, c.kernel)
            return make_convnext(inputs, c.channels, blocks, kernels, patch=c.stem_stride, **shared)
        case "fcn1d":
            return make_fcn1d(inputs, c.channels, each(len(c.channels), c.kernel), **shared)
        case "wavenet":
            return make_wavenet(inputs, c.channels, c.kernel[0], c.dilation, **shared)
        case "lstm":
            return make_lstm(inputs, c.channels, bidirectional=c.bidirectional, **shared)
        case "tacotron2_encoder":
            return make_tacotron2_encoder(inputs, c.channels, each(len(c.channels), c.kernel), **shared)
        case "flatten":
            return make_flatten(inputs, c.channels, windows_of(c), input_side=c.input_side, **shared)
        case "mlp" | "dense":
            return make_mlp(inputs, c.channels, input_side=c.input_side, pads=c.name == "dense", **shared)
        case _:
            raise AssertionError(c.name)


def windows_of(c: ModelConfig) -> list[Window]:
    """One for every convolution."""
    columns = (each(len(c.channels), values) for values in (c.kernel, c.stride, c.dilation, c.padding))
    return [Window(*column) for column in zip(*columns, strict=True)]


def each(number: int, values: tuple[int, ...]) -> tuple[int, ...]:
    """A value for each of `number` layers; one value serves all."""
    return values * number if len(values) == 1 else values


def abstract_model(config: Config, *, rank: int) -> Model:
    """The model of a config without its arrays."""
    return nnx.eval_shape(lambda: make_model(config, rank=rank))


def smallest_input(config: Config) -> int:
    """The smallest side that survives the model of a config.

    Raises:
        UserError: no image is that large.
    """
    side = smallest_side(abstract_model(config, rank=1).windows)
    if side > LARGEST_SIDE:
        raise UserError(
            f"the net of config.model takes no side below {side:,}: make its kernels, strides or dilations smaller, or "
            "its layers fewer"
        )
    return side


def trace_shapes(config: Config, size: tuple[int, ...]) -> list[Record]:
    """What every layer makes of an input of that size, without computing anything.

    Raises:
        UserError: the net does not take the size.
    """
    model = abstract_model(config, rank=len(size))
    model.net.check_size(size)
    block = abstract_block(1, size, config.data.channels)
    with recording() as records:
        nnx.eval_shape(lambda m, b: m((b,), training=False), model, block)
    return records


def format_shapes(config: Config, size: tuple[int, ...], records: list[Record]) -> str:
    """The table of `shapes`, in the notation (-1, channels, height, width)."""
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
