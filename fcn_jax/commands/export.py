"""The `export` command: a trained net as one artifact for any batch, height and width, StableHLO or ONNX.

Parameters, the input's normalisation and the softmax are inside; what is done with a file before stands in the
sidecar. StableHLO is compiled where it is used, on CPU, CUDA or TPU.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jax import export as jax_export

from fcn_jax.config import UserError
from fcn_jax.core.block import VALUE_TYPES
from fcn_jax.core.geometry import format_size
from fcn_jax.core.net import Model
from fcn_jax.inference.artifact import check_export_format, write_artifact
from fcn_jax.inference.classifier import Answering, answer_of, recipe_of_trained, restore_trained
from fcn_jax.inference.inputs import SIDES, Recipe

PLATFORMS = ("cpu", "cuda", "tpu")


def export_workdir(workdir: Path, out: Path, *, form: str, strict: bool = False) -> str:
    """Write the artifact of a run's newest whole checkpoint and its sidecar; returns what to say of it.

    Args:
        strict: the newest of all checkpoints has to be whole.

    Raises:
        UserError: there is no checkpoint, no such format, what it needs is not installed, or a file cannot be written.
    """
    check_export_format(form)
    if out.suffix == ".onnx" and form != "onnx":
        raise UserError(f"--out={out} ends in .onnx, but --format is {form}: add --format=onnx, or choose another name")
    # Patches are the faster way on some CPUs alone.
    trained = restore_trained(workdir, convolution="direct", strict=strict)
    recipe = recipe_of_trained(trained)
    match form:
        case "stablehlo":
            serialized, note = bytes(export_model(trained.model, recipe).serialize()), ", ".join(PLATFORMS)
        case "onnx":
            serialized, note = export_onnx(trained.model, recipe, trained.plan.shapes)
        case _:
            raise AssertionError(form)
    sidecar = write_artifact(out, serialized, trained, recipe, form=form)
    largest = recipe.largest_side
    sides = "lengths" if recipe.rank == 1 else "sides"
    sizes = f"{sides} of {recipe.smallest_side} and more" if largest is None else f"a canvas of side {largest}"
    return (
        f"{out} ({len(serialized) / 2**20:.1f} MiB: any batch, {sizes}; {note}) and {sidecar}, from step {trained.step}"
    )


def export_model(model: Model, recipe: Recipe) -> jax_export.Exported:
    """(images or signals [b, *spatial, c], true sizes [b, r]) -> answer, for any b and, where the net allows, size."""
    answer = answering(model)
    named = jax.jit(lambda image, size: answer(image, size)._asdict())
    return jax_export.export(named, platforms=PLATFORMS)(*inputs_of(recipe))


def export_onnx(model: Model, recipe: Recipe, buckets: Sequence[tuple[int, ...]]) -> tuple[bytes, str]:
    """The same as a serialized ONNX model, and what to say of it.

    Args:
        buckets: of the run: the smallest and one larger than all are tried, beside the smallest canvas of all.

    Raises:
        UserError: jax2onnx does not convert the net, or what it makes says otherwise than the net.
    """
    from fcn_jax.inference.onnx import OPSET, convert, try_net

    if model.dtype == jnp.bfloat16:
        # In which onnxruntime has hardly any operation on a CPU.
        model = nnx.clone(model)
        model.dtype = jnp.float32
    smallest, beyond = (recipe.smallest_side,) * recipe.rank, tuple(side + 1 for side in buckets[-1])
    canvases = list(dict.fromkeys([smallest, buckets[0], beyond]))
    if recipe.largest_side is not None:
        canvases = [(recipe.largest_side,) * recipe.rank]
    answer = answering(model)
    tried = [try_net(model, answer, recipe, canvas) for canvas in canvases]
    serialized, worst = convert(answer, inputs_of(recipe), tried)
    named = ", ".join(format_size(canvas) for canvas in canvases)
    return serialized, f"opset {OPSET}; onnxruntime agrees to {worst:.1e} at {named}"


def answering(model: Model) -> Answering:
    graphdef, state = nnx.split(model)
    return lambda image, size: answer_of(nnx.merge(graphdef, state), image, size)


def inputs_of(recipe: Recipe) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """(images or signals, true sizes), whose batch and, where the net allows, size have names in place of numbers."""
    names, least = SIDES[recipe.rank], recipe.smallest_side
    if recipe.largest_side is None:
        spatial, constraints = ", ".join(names), [f"{name} >= {least}" for name in names]
    else:
        spatial, constraints = ", ".join([str(recipe.largest_side)] * recipe.rank), []
    shape = jax_export.symbolic_shape(f"batch, {spatial}, {recipe.channels}", constraints=constraints)
    image = jax.ShapeDtypeStruct(shape, VALUE_TYPES[recipe.rank])
    return image, jax.ShapeDtypeStruct((shape[0], recipe.rank), jnp.int32)
