"""A trained net ready for use, wherever it comes from: how files are read for it, its classes, its function."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Num

from fcn_jax.models.heads import Prediction
from fcn_jax.models.model import Model, smallest_input
from fcn_jax.train.compile import use_compilation_cache
from fcn_jax.train.state import split_model
from fcn_jax.train.trained import Trained, restore_trained
from fcn_jax.train.workdir import read_config
from fcn_jax.types import AnyArray, Block
from fcn_jax.use.inference.ladder import Ladder
from fcn_jax.use.inference.recipe import Recipe, recipe_of

AnswerT = TypeVar("AnswerT")
"""What a function of a net returns for a batch."""

DECIMALS = 7
"""What float32 can hold of a logit."""


class Answer(NamedTuple):
    """What a net says of a batch."""

    probabilities: Float[Array, "b k"]
    logits: Float[Array, "b k"]


Answering = Callable[[AnyArray, AnyArray], Answer]
"""(images or signals, true sizes) -> answer."""


class Signature(NamedTuple):
    """What an artifact takes and answers with."""

    shape: tuple[Any, ...]
    """[b, *spatial, c] of images or signals; a side that may be any has a name."""
    dtype: np.dtype
    num_classes: int


@dataclass(frozen=True)
class Classifier(Generic[AnswerT]):
    """A trained net and what belongs to it."""

    recipe: Recipe
    label_names: tuple[str, ...]
    ladder: Ladder
    variables: Any
    """What `function` takes first."""
    function: Callable[[Any, AnyArray, AnyArray], AnswerT]
    """(variables, images or signals, true sizes) -> answer."""
    num_threads: int
    """That read files."""
    is_compiled: bool = True
    """Whether `function` is XLA's to compile for every canvas; onnxruntime takes all as they are."""


def predict_batch(model: Model, image: Num[AnyArray, "b *spatial c"], size: Int[AnyArray, "b r"]) -> Prediction:
    """What a model says of a padded batch; normalisation of the input is inside."""
    rows = image.shape[0]
    nothing = jnp.zeros(rows, jnp.int32)
    block = Block(image=image, size=size, label=nothing, weight=jnp.ones(rows), index=nothing)
    (prediction,) = model((block,), training=False)
    return prediction


def answer_of(model: Model, image: Num[AnyArray, "b *spatial c"], size: Int[AnyArray, "b r"]) -> Answer:
    """Logits of a padded batch, and their softmax."""
    logits = predict_batch(model, image, size).logits
    return Answer(jax.nn.softmax(logits), logits)


def classifier_of_workdir(workdir: Path, *, strict: bool = False) -> Classifier[Answer]:
    """The newest whole checkpoint of a run.

    Args:
        strict: the newest of all has to be whole.

    Raises:
        ValueError: there is none.
    """
    use_compilation_cache(read_config(workdir))
    return classifier_of_trained(restore_trained(workdir, strict=strict), answer_of)


def classifier_of_trained(
    trained: Trained, answer: Callable[[Model, AnyArray, AnyArray], AnswerT]
) -> Classifier[AnswerT]:
    """A trained net in memory.

    Args:
        answer: (model, images or signals, true sizes) -> what is wanted of it.
    """
    recipe = recipe_of_trained(trained)
    graphdef, params, stats = split_model(trained.model)
    return Classifier(
        recipe,
        trained.label_names,
        Ladder(recipe, trained.plan.shapes),
        variables=(params, stats),
        function=lambda variables, image, size: answer(nnx.merge(graphdef, *variables), image, size),
        num_threads=trained.config.machine.num_threads,
    )


def recipe_of_trained(trained: Trained) -> Recipe:
    """How files are read for a trained net."""
    smallest, largest = smallest_input(trained.config), trained.model.net.largest_side
    return recipe_of(trained.config, rank=trained.rank, smallest_side=smallest, largest_side=largest)
