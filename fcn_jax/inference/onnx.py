"""A net as ONNX, by jax2onnx, and the check that both say the same.

JAX traces the net before jax2onnx sees it: jax2onnx replaces parts of jax.numpy while it traces, and those do not know
sides that are names. What it makes of an equation depends on many cases of its own, so nothing is believed: onnxruntime
runs the result beside the net before it is written. Only imported where ONNX is asked for; see requirements-onnx.txt.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
import onnx_ir  # pyright: ignore[reportMissingImports]
import onnxruntime  # pyright: ignore[reportMissingImports]
from jax.extend.core import jaxpr_as_fun
from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]
from jax2onnx.plugins.plugin_system import (  # pyright: ignore[reportMissingImports]
    PLUGIN_REGISTRY,
    PrimitiveLeafPlugin,
    import_all_plugins,
)
from jaxtyping import Int, Num

from fcn_jax.config import UserError
from fcn_jax.core.block import VALUE_TYPES, AnyArray
from fcn_jax.core.geometry import format_size
from fcn_jax.core.net import Model
from fcn_jax.inference.classifier import Answer, Answering, Signature
from fcn_jax.inference.inputs import Recipe

INPUTS = ("image", "size")
TYPES = {"tensor(uint8)": np.dtype(np.uint8), "tensor(float)": np.dtype(np.float32)}
"""Of images and signals."""
ONLY_ERRORS = 3


class OnnxNet:
    """A net in onnxruntime.

    Args:
        serialized: an ONNX model with the inputs `INPUTS`, whose outputs are called as the fields of `Answer`.
    """

    def __init__(self, serialized: bytes):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ONLY_ERRORS
        self._session = onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])

    @property
    def signature(self) -> Signature:
        image, probabilities = self._session.get_inputs()[0], self._session.get_outputs()[0]
        return Signature(tuple(image.shape), TYPES[image.type], probabilities.shape[-1])

    def answer(self, image: Num[AnyArray, "b *spatial c"], size: Int[AnyArray, "b r"]) -> Answer:
        """What the net says of a padded batch."""
        values = (np.asarray(image), np.asarray(size))
        return Answer(*self._session.run(Answer._fields, dict(zip(INPUTS, values, strict=True))))


OPSET = 21
"""onnxruntime has it since 1.18."""
TOLERANCE = 1e-5
ROWS = 3
REMEDY = "export it with --format=stablehlo"


class Pad(PrimitiveLeafPlugin):
    """`lax.pad` of sides that are names, which jax2onnx 0.17's own conversion takes for numbers."""

    def lower(self, ctx, eqn) -> None:
        values, outside = (ctx.get_value_for_var(variable) for variable in eqn.invars)
        before, after, between = zip(*eqn.params["padding_config"], strict=True)
        assert not any(between), eqn.params
        widths = np.array([*before, *after], np.int64)
        widths = ctx.builder.add_initializer_from_array(name=ctx.fresh_name("widths"), array=widths)
        padded = ctx.builder.Pad(values, widths, outside, mode="constant", _outputs=[ctx.fresh_name("padded")])
        padded.type = values.type
        ctx.bind_value_for_var(eqn.outvars[0], padded)


class Remainder(PrimitiveLeafPlugin):
    """`lax.rem`, for the same reason; both have the sign of the dividend."""

    def lower(self, ctx, eqn) -> None:
        dividend, divisor = (ctx.get_value_for_var(variable) for variable in eqn.invars)
        remainder = ctx.builder.Mod(dividend, divisor, fmod=1, _outputs=[ctx.fresh_name("remainder")])
        remainder.type = dividend.type
        ctx.bind_value_for_var(eqn.outvars[0], remainder)


class Sum(PrimitiveLeafPlugin):
    """`lax.reduce_sum` in double: floats, which onnxruntime adds one after the other, are 2e-4 off after 8,000."""

    def lower(self, ctx, eqn) -> None:
        values = ctx.get_value_for_var(eqn.invars[0])
        axes = np.array(eqn.params["axes"], np.int64)
        axes = ctx.builder.add_initializer_from_array(name=ctx.fresh_name("axes"), array=axes)
        double = onnx_ir.DataType.DOUBLE
        precise = ctx.builder.Cast(values, to=double, _outputs=[ctx.fresh_name("precise")])
        total = ctx.builder.ReduceSum(precise, axes, keepdims=0, _outputs=[ctx.fresh_name("total")])
        precise.type = total.type = onnx_ir.TensorType(double)
        rounded = ctx.builder.Cast(total, to=values.type.dtype, _outputs=[ctx.fresh_name("rounded")])
        rounded.type = values.type
        ctx.bind_value_for_var(eqn.outvars[0], rounded)


class Tried(NamedTuple):
    """A batch that was given to a net, and what it said."""

    image: np.ndarray
    size: np.ndarray
    answer: Answer


def try_net(model: Model, answer: Answering, recipe: Recipe, canvas: tuple[int, ...]) -> Tried:
    """A batch of noise on a canvas, the first row as large as that, given to the net."""
    rng = np.random.default_rng(0)
    shape = (ROWS, *canvas, recipe.channels)
    values = rng.integers(0, 256, shape) if recipe.rank == 2 else rng.normal(model.mean, model.std, shape)
    image = values.astype(VALUE_TYPES[recipe.rank])
    size = rng.integers(recipe.smallest_side, np.array(canvas) + 1, (ROWS, recipe.rank)).astype(np.int32)
    size[0] = canvas
    return Tried(image, size, jax.device_get(jax.jit(answer)(image, size)))


def convert(
    answer: Answering, inputs: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct], tried: Sequence[Tried]
) -> tuple[bytes, float]:
    """(serialized ONNX model of a net, its largest difference from the net over what was tried)

    Args:
        inputs: shapes of the images or signals and of the true sizes; names stand for what may be any.

    Raises:
        UserError: jax2onnx does not convert the net, or what it makes says otherwise than the net.
    """
    traced = jaxpr_as_fun(jax.make_jaxpr(answer)(*inputs))
    try:
        serialized = _converted(traced, inputs)
        net = OnnxNet(serialized)
        answers = [net.answer(image, size) for image, size, _ in tried]
    except Exception as error:  # Of jax2onnx, onnx_ir, JAX's symbols or onnxruntime: no two nets fail alike.
        reason = str(error).partition("\n")[0]
        raise UserError(f"jax2onnx cannot convert this net ({type(error).__name__}: {reason}): {REMEDY}") from error
    differences = [_difference(*pair) for pair in zip(answers, tried, strict=True)]
    return serialized, max(differences)


def _converted(traced: Callable, inputs: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]) -> bytes:
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)  # They warn of shapes that ONNX finds out by itself.
    import_all_plugins()
    PLUGIN_REGISTRY["pad"] = Pad()
    PLUGIN_REGISTRY["rem"] = Remainder()
    PLUGIN_REGISTRY["reduce_sum"] = Sum()
    model = to_onnx(traced, inputs, model_name="fcn_jax", opset=OPSET, input_names=INPUTS, output_names=Answer._fields)
    return model.SerializeToString()


def _difference(answer: Answer, tried: Tried) -> float:
    """The largest of a probability, and of a logit as a share of the largest logit where that is above 1.

    Raises:
        UserError: it is not mere rounding.
    """
    probabilities, logits = (np.abs(a - b).max() for a, b in zip(answer, tried.answer, strict=True))
    largest = np.max([probabilities, logits / max(1.0, np.abs(tried.answer.logits).max())])
    if not largest <= TOLERANCE:  # What is no number is not small either.
        raise UserError(
            f"jax2onnx makes another net of this one: at {format_size(tried.image.shape[1:-1])} it differs by "
            f"{largest:.1g}, more than {TOLERANCE:.0g}: {REMEDY}"
        )
    return float(largest)
