"""The `export` command: a trained net as one StableHLO artifact for any batch, height and width.

Parameters, the input's normalisation and the softmax are inside; what is done with a file before stands in the
sidecar. It is compiled where it is used, on CPU, CUDA or TPU.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jax import export as jax_export

from fcn_jax.models.model import Model
from fcn_jax.train.trained import restore_trained
from fcn_jax.types import VALUE_TYPES
from fcn_jax.use.artifact import write_artifact
from fcn_jax.use.classifier import answer_of, recipe_of_trained
from fcn_jax.use.recipe import SIDES, Recipe

PLATFORMS = ("cpu", "cuda", "tpu")


def export_workdir(workdir: Path, out: Path, *, strict: bool = False) -> str:
    """Write the artifact of a run's newest whole checkpoint and its sidecar; returns what to say of it.

    Args:
        strict: the newest of all checkpoints has to be whole.

    Raises:
        ValueError: there is no checkpoint, or the file cannot be written.
    """
    # Patches are the faster way on some CPUs alone.
    trained = restore_trained(workdir, convolution="direct", strict=strict)
    recipe = recipe_of_trained(trained)
    serialized = export_model(trained.model, recipe).serialize()
    sidecar = write_artifact(out, bytes(serialized), trained, recipe)
    largest = recipe.largest_side
    sizes = f"sides of {recipe.smallest_side} and more" if largest is None else f"a canvas of side {largest}"
    return (
        f"{out} ({len(serialized) / 2**20:.1f} MiB: any batch, {sizes}; {', '.join(PLATFORMS)}) and {sidecar}, from "
        f"step {trained.step}"
    )


def export_model(model: Model, recipe: Recipe) -> jax_export.Exported:
    """(images or signals [b, *spatial, c], true sizes [b, r]) -> answer, for any b and, where the net allows, size."""
    names, least = SIDES[recipe.rank], recipe.smallest_side
    if recipe.largest_side is None:
        spatial, constraints = ", ".join(names), [f"{name} >= {least}" for name in names]
    else:
        spatial, constraints = ", ".join([str(recipe.largest_side)] * recipe.rank), []
    shape = jax_export.symbolic_shape(f"batch, {spatial}, {recipe.channels}", constraints=constraints)
    image = jax.ShapeDtypeStruct(shape, VALUE_TYPES[recipe.rank])
    size = jax.ShapeDtypeStruct((shape[0], recipe.rank), jnp.int32)
    graphdef, state = nnx.split(model)

    def answer(image, size):
        return answer_of(nnx.merge(graphdef, state), image, size)._asdict()

    return jax_export.export(jax.jit(answer), platforms=PLATFORMS)(image, size)
