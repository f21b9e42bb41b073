"""The `export` command: it writes a trained net as one StableHLO or ONNX artifact for any batch, height and width.

The artifact holds the parameters, the normalisation of the input and the softmax, or the sigmoid of several labels. The
sidecar says how to turn a file into an input. StableHLO is compiled where it is used, on CPU, CUDA or TPU.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jax import export as jax_export

from fcn_jax.config import UserError
from fcn_jax.core.geometry import format_size
from fcn_jax.core.net import Model
from fcn_jax.inference.artifact import check_export_format, write_artifact
from fcn_jax.inference.classifier import Answering, answer_of, recipe_of_trained, restore_trained
from fcn_jax.inference.inputs import SIDES, Recipe

PLATFORMS = ("cpu", "cuda", "tpu")


def export_workdir(workdir: Path, out: Path, *, form: str, which: str | None = None, strict: bool = False) -> str:
    """Write the artifact of a run's checkpoint and its sidecar; return a message that describes them.

    Args:
        which: the checkpoint: best, last or the number of a step; None: the best if the run kept one.
        strict: fail if the newest checkpoint is damaged.

    Raises:
        UserError: there is no checkpoint or no such format, a package is missing, or a file cannot be written.
    """
    check_export_format(form)
    if out.suffix == ".onnx" and form != "onnx":
        raise UserError(f"--out={out} ends in .onnx, but --format is {form}: add --format=onnx, or choose another name")
    # The other way, by patches, is faster only on some CPUs.
    trained = restore_trained(workdir, convolution="direct", which=which, strict=strict)
    recipe, labels = recipe_of_trained(trained), trained.labels
    match form:
        case "stablehlo":
            exported = export_model(trained.model, recipe, labels, temperature=trained.temperature)
            serialized, note = bytes(exported.serialize()), ", ".join(PLATFORMS)
        case "onnx":
            serialized, note = export_onnx(
                trained.model, recipe, trained.plan.shapes, labels, temperature=trained.temperature
            )
        case _:
            raise AssertionError(form)
    sidecar = write_artifact(out, serialized, trained, recipe, form=form)
    largest = recipe.largest_side
    sides = "lengths" if recipe.rank == 1 else "sides"
    sizes = f"{sides} of {recipe.smallest_side} and more" if largest is None else f"a canvas of side {largest}"
    return (
        f"{out} ({len(serialized) / 2**20:.1f} MiB: any batch, {sizes}; {note}) and {sidecar}, from step {trained.step}"
    )


def export_model(model: Model, recipe: Recipe, labels: str = "one", *, temperature: float = 1.0) -> jax_export.Exported:
    """Export (images or signals [b, *spatial, c], true sizes [b, r]) -> answer.

    It holds for any b and, unless the net takes only one size, for any size.

    Args:
        labels: what the net's labels are: see `DataConfig.labels`.
    """
    answer = answering(model, labels, temperature=temperature)
    named = jax.jit(lambda image, size: answer(image, size)._asdict())
    return jax_export.export(named, platforms=PLATFORMS)(*inputs_of(recipe))


def export_onnx(
    model: Model,
    recipe: Recipe,
    buckets: Sequence[tuple[int, ...]],
    labels: str = "one",
    *,
    temperature: float = 1.0,
) -> tuple[bytes, str]:
    """Return the same function as a serialized ONNX model, and a note that describes it.

    Args:
        buckets: bucket shapes of the run. The model is tried at the smallest canvas that the net takes, at the smallest
            bucket, and at a canvas larger than every bucket; or at the only canvas, if the net takes only one.
        labels: what the net's labels are: see `DataConfig.labels`.

    Raises:
        UserError: jax2onnx cannot convert the net, or the ONNX model's answers differ from those of the net.
    """
    from fcn_jax.inference.onnx import OPSET, convert, try_net

    if model.dtype == jnp.bfloat16:
        # onnxruntime has hardly any bfloat16 operation on a CPU.
        model = nnx.clone(model)
        model.dtype = jnp.float32
    smallest, beyond = (recipe.smallest_side,) * recipe.rank, tuple(side + 1 for side in buckets[-1])
    canvases = list(dict.fromkeys([smallest, buckets[0], beyond]))
    if recipe.largest_side is not None:
        canvases = [(recipe.largest_side,) * recipe.rank]
    answer = answering(model, labels, temperature=temperature)
    tried = [try_net(model, answer, recipe, canvas) for canvas in canvases]
    serialized, worst = convert(answer, inputs_of(recipe), tried)
    named = ", ".join(format_size(canvas) for canvas in canvases)
    return serialized, f"opset {OPSET}; onnxruntime agrees to {worst:.1e} at {named}"


def answering(model: Model, labels: str = "one", *, temperature: float = 1.0) -> Answering:
    graphdef, state = nnx.split(model)
    return lambda image, size: answer_of(
        nnx.merge(graphdef, state), image, size, labels=labels, temperature=temperature
    )


def inputs_of(recipe: Recipe) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Return the shapes of (images or signals, true sizes), with symbols for the batch and for sides that may vary."""
    names, least = SIDES[recipe.rank], recipe.smallest_side
    if recipe.largest_side is None:
        spatial, constraints = ", ".join(names), [f"{name} >= {least}" for name in names]
    else:
        spatial, constraints = ", ".join([str(recipe.largest_side)] * recipe.rank), []
    shape = jax_export.symbolic_shape(f"batch, {spatial}, {recipe.channels}", constraints=constraints)
    image = jax.ShapeDtypeStruct(shape, recipe.value_type)
    return image, jax.ShapeDtypeStruct((shape[0], recipe.rank), jnp.int32)
