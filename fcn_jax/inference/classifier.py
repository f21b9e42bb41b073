"""A trained net ready for use, wherever it comes from: how files are read for it, its classes, its function."""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Num

from fcn_jax.config import Config, UserError, validate
from fcn_jax.core.block import AnyArray, Block
from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.net import Model, Prediction
from fcn_jax.core.step import abstract_state, split_model
from fcn_jax.inference.inputs import Recipe, recipe_of
from fcn_jax.nets.model import abstract_model, smallest_input
from fcn_jax.system.disk import parse_json
from fcn_jax.system.machine import use_compilation_cache
from fcn_jax.train.checkpoint import restore_latest
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.workdir import LABELS, read_config


@dataclass(frozen=True)
class Trained:
    """A trained net."""

    config: Config
    plan: BucketPlan
    label_names: tuple[str, ...]
    model: Model
    """With what evaluation uses as its parameters."""
    step: int

    @property
    def rank(self) -> int:
        return len(self.plan.shapes[0])


def restore_trained(workdir: Path, *, convolution: str | None = None, strict: bool = False) -> Trained:
    """The newest whole checkpoint of a run, on the first device.

    Args:
        convolution: in place of the run's `model.convolution`.
        strict: the newest of all checkpoints has to be whole.

    Raises:
        UserError: there is no run, no checkpoint, or a file is missing or damaged.
    """
    config = read_config(workdir)
    config.model.convolution = convolution or config.model.convolution
    validate(config)
    plan = _read_plan(workdir)
    label_names = _read_labels(workdir, config)
    graphdef, params, stats = split_model(abstract_model(config, rank=len(plan.shapes[0])))
    # The number of steps decides the learning rate, not the shape of the state.
    optimizer = make_optimizer(config.train, warmup_steps=0, total_steps=1)
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    average = config.train.ema_decay > 0
    target = abstract_state(params, stats, optimizer, average=average, place=place)
    state = restore_latest(workdir, target, strict=strict)
    model = nnx.merge(graphdef, state.evaluated_params, state.stats)
    return Trained(config, plan, label_names, model, step=int(state.step))


def _read_plan(workdir: Path) -> BucketPlan:
    path = workdir / "plan.json"
    try:
        return BucketPlan.from_json(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be used ({error}): train this workdir again") from error


def _read_labels(workdir: Path, config: Config) -> tuple[str, ...]:
    path, again = workdir / LABELS, "run the train command of this workdir again, which writes it"
    try:
        names = parse_json(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be used ({error}): {again}") from error
    if not isinstance(names, list) or [type(name) for name in names] != [str] * config.model.num_classes:
        raise UserError(f"{path} holds no list of {config.model.num_classes} names: {again}")
    return tuple(names)


RATIO = 1.25
HIGHEST_RUNG = 2**31


@dataclass(frozen=True)
class Ladder:
    """The canvases of a net."""

    recipe: Recipe
    buckets: tuple[tuple[int, ...], ...]
    """Of the run's plan, ascending by area."""

    @cached_property
    def _rungs(self) -> list[int]:
        rungs = [self.recipe.smallest_side]
        while rungs[-1] < HIGHEST_RUNG:
            rungs.append(math.ceil(rungs[-1] * RATIO))
        return rungs

    def canvas(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The canvas of a size that the recipe lets through."""
        if self.recipe.largest_side is not None:
            return (self.recipe.largest_side,) * len(size)
        if not self.recipe.is_masked:
            return size
        rungs = tuple(self._rungs[bisect_left(self._rungs, side)] for side in size)
        most = math.prod(size) * RATIO ** len(size)
        for bucket in self.buckets:
            if math.prod(bucket) > most:
                break
            if all(side <= length for side, length in zip(size, bucket, strict=True)):
                return bucket
        return rungs


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
        UserError: there is none.
    """
    use_compilation_cache(read_config(workdir).machine)
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
