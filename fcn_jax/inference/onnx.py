"""Conversion of a net to ONNX by jax2onnx, with a check that the result agrees with the net.

JAX traces the net before jax2onnx sees it. If jax2onnx traced the net itself, it would replace parts of jax.numpy by
versions that do not support dimensions of any size (names in place of numbers). jax2onnx has many special cases, so its
result is not trusted: onnxruntime runs it beside the net before it is written. This module is imported only if ONNX is
asked for; see requirements-onnx.txt.
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
from fcn_jax.core.block import AnyArray
from fcn_jax.core.geometry import format_size
from fcn_jax.core.net import Model
from fcn_jax.inference.classifier import Answer, Answering, Signature
from fcn_jax.inference.inputs import Recipe

INPUTS = ("image", "size")
TYPES = {"tensor(uint8)": np.dtype(np.uint8), "tensor(float)": np.dtype(np.float32)}
"""ONNX types of images and signals, and their NumPy types."""
ONLY_ERRORS = 3


class OnnxNet:
    """A net in onnxruntime.

    Args:
        serialized: an ONNX model with the inputs `INPUTS`; its outputs have the names of the fields of `Answer`.
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
        """Return the answer of the net for a padded batch."""
        values = (np.asarray(image), np.asarray(size))
        return Answer(*self._session.run(Answer._fields, dict(zip(INPUTS, values, strict=True))))


OPSET = 21
"""Version of the ONNX operators; onnxruntime supports it since 1.18."""
TOLERANCE = 1e-5
"""Largest difference between ONNX model and net that counts as rounding."""
ROWS = 3
"""Rows of a batch that both are tried with."""
REMEDY = "export it with --format=stablehlo"


class Pad(PrimitiveLeafPlugin):
    """Conversion of `lax.pad` for dimensions that are names; that of jax2onnx 0.17 takes them for numbers."""

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
    """Conversion of `lax.rem`, for the same reason. `lax.rem` and ONNX's `Mod` both keep the sign of the dividend."""

    def lower(self, ctx, eqn) -> None:
        dividend, divisor = (ctx.get_value_for_var(variable) for variable in eqn.invars)
        remainder = ctx.builder.Mod(dividend, divisor, fmod=1, _outputs=[ctx.fresh_name("remainder")])
        remainder.type = dividend.type
        ctx.bind_value_for_var(eqn.outvars[0], remainder)


class Sum(PrimitiveLeafPlugin):
    """Conversion of `lax.reduce_sum` that adds in float64: onnxruntime's float32 sum of 8,000 values is off by 2e-4."""

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
    """A batch that was given to a net, and the answer of the net."""

    image: np.ndarray
    size: np.ndarray
    answer: Answer


def try_net(model: Model, answer: Answering, recipe: Recipe, canvas: tuple[int, ...]) -> Tried:
    """Give the net a batch of noise on a canvas; the first row fills the canvas, the others are smaller or equal."""
    rng = np.random.default_rng(0)
    shape = (ROWS, *canvas, recipe.channels)
    are_bytes = recipe.value_type is np.uint8
    values = rng.integers(0, 256, shape) if are_bytes else rng.normal(model.mean, model.std, shape)
    image = values.astype(recipe.value_type)
    size = rng.integers(recipe.smallest_side, np.array(canvas) + 1, (ROWS, recipe.rank)).astype(np.int32)
    size[0] = canvas
    return Tried(image, size, jax.device_get(jax.jit(answer)(image, size)))


def convert(
    answer: Answering, inputs: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct], tried: Sequence[Tried]
) -> tuple[bytes, float]:
    """Convert a net; return the serialized ONNX model, and its largest difference from the net on the tried batches.

    Args:
        answer: the function of the net.
        inputs: shapes of the images or signals and of the true sizes; names stand for dimensions of any size.
        tried: batches with the answers of the net.

    Raises:
        UserError: jax2onnx cannot convert the net, or the ONNX model gives other answers than the net.
    """
    traced = jaxpr_as_fun(jax.make_jaxpr(answer)(*inputs))
    try:
        serialized = _converted(traced, inputs)
        net = OnnxNet(serialized)
        answers = [net.answer(image, size) for image, size, _ in tried]
    except Exception as error:  # From jax2onnx, onnx_ir, JAX or onnxruntime: every net fails in its own way.
        reason = str(error).partition("\n")[0]
        raise UserError(f"jax2onnx cannot convert this net ({type(error).__name__}: {reason}): {REMEDY}") from error
    differences = [_difference(*pair) for pair in zip(answers, tried, strict=True)]
    return serialized, max(differences)


def _converted(traced: Callable, inputs: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]) -> bytes:
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)  # They warn about unknown shapes, which ONNX infers by itself.
    import_all_plugins()
    PLUGIN_REGISTRY["pad"] = Pad()
    PLUGIN_REGISTRY["rem"] = Remainder()
    PLUGIN_REGISTRY["reduce_sum"] = Sum()
    model = to_onnx(traced, inputs, model_name="fcn_jax", opset=OPSET, input_names=INPUTS, output_names=Answer._fields)
    return model.SerializeToString()


def _difference(answer: Answer, tried: Tried) -> float:
    """Return the largest difference of probabilities and of logits (relative to the largest logit if that is above 1).

    Raises:
        UserError: the difference is larger than rounding explains.
    """
    probabilities, logits = (np.abs(a - b).max() for a, b in zip(answer, tried.answer, strict=True))
    largest = np.max([probabilities, logits / max(1.0, np.abs(tried.answer.logits).max())])
    if not largest <= TOLERANCE:  # `not <=` is also true for NaN.
        raise UserError(
            "the ONNX model that jax2onnx makes gives other answers than the net: at "
            f"{format_size(tried.image.shape[1:-1])} it differs by {largest:.1g}, more than {TOLERANCE:.0g}: {REMEDY}"
        )
    return float(largest)
