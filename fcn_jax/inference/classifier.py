"""A trained net that is ready for use, from a workdir or an artifact: its input recipe, classes and function."""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Num

from fcn_jax.config import Config, UserError
from fcn_jax.config_rules import validate
from fcn_jax.core.block import AnyArray, Block
from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.losses import probabilities_of
from fcn_jax.core.net import Model, Prediction
from fcn_jax.core.step import abstract_state, split_model
from fcn_jax.data.meaning import Meaning
from fcn_jax.inference.averaging import AS_THE_RUN, Averaging, describe_views
from fcn_jax.inference.inputs import Recipe, recipe_of
from fcn_jax.inference.temperature import read_temperature
from fcn_jax.nets.model import abstract_model, smallest_input
from fcn_jax.system.cache import use_compilation_cache
from fcn_jax.system.machine import threads_of
from fcn_jax.train.checkpoint import read_checkpoint
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.placement import with_sharding
from fcn_jax.train.workdir import read_config, read_meaning


@dataclass(frozen=True)
class Trained:
    """A trained net, with its config, plan and label names."""

    config: Config
    plan: BucketPlan
    meaning: Meaning
    model: Model
    """The model with the parameters that evaluation uses: their moving average, if the run has one."""
    step: int
    temperature: float = 1.0
    """Number by which logits are divided before they become probabilities; 1: none was fitted."""

    @property
    def rank(self) -> int:
        return len(self.plan.shapes[0])

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.meaning.label_names

    @property
    def labels(self) -> str:
        """What its labels are: see `DataConfig.labels`."""
        return self.config.data.labels


def restore_trained(
    workdir: Path,
    *,
    convolution: str | None = None,
    average: Averaging = AS_THE_RUN,
    which: str | None = None,
    strict: bool = False,
) -> Trained:
    """Restore a checkpoint of a run that is whole, on the first device.

    Args:
        average: the views of a file whose answers are averaged, where they differ from those of the run's config.
        convolution: replaces the run's `model.convolution`; None keeps it.
        which: the checkpoint: see `read_checkpoint`.
        strict: refuse the run if its newest checkpoint is damaged.

    Raises:
        UserError: there is no run or no checkpoint, or a file is missing or damaged.
    """
    config = average.on(read_config(workdir))
    config.model.convolution = convolution or config.model.convolution
    validate(config)
    plan = read_plan(workdir)
    graphdef, params, stats = split_model(abstract_model(config, rank=len(plan.shapes[0])))
    # The number of steps changes only the learning rate, not the shapes of the state; any number will do.
    optimizer = make_optimizer(config.train, warmup_steps=0, total_steps=1)
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = abstract_state(params, stats, optimizer, average=config.train.ema_decay > 0)
    target = jax.tree.map(lambda array: with_sharding(array, place), target)
    restored = read_checkpoint(workdir, target, config.checkpoint, which=which, strict=strict)
    state, meaning = restored.state, read_meaning(workdir, restored)
    model = nnx.merge(graphdef, *state.evaluated)
    step = int(state.step)
    temperature = read_temperature(workdir, step=step, views=describe_views(config.evaluate))
    return Trained(config, plan, meaning, model, step, temperature)


def read_plan(workdir: Path) -> BucketPlan:
    """Return the plan of the run in a workdir.

    Raises:
        UserError: it is missing or damaged.
    """
    path = workdir / "plan.json"
    try:
        return BucketPlan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be used ({error}): train this workdir again") from error


RATIO = 1.25
"""Factor between two rungs."""
HIGHEST_RUNG = 2**31


@dataclass(frozen=True)
class Ladder:
    """The canvases of a net: a few for files of all sizes, so that few programs are compiled.

    The sides of a canvas are rungs: numbers that grow by `RATIO`, from the smallest side that the net takes.
    """

    recipe: Recipe
    buckets: tuple[tuple[int, ...], ...]
    """The canvases of the run's plan, ascending by area."""

    @cached_property
    def _rungs(self) -> list[int]:
        rungs = [self.recipe.smallest_side]
        while rungs[-1] < HIGHEST_RUNG:
            rungs.append(math.ceil(rungs[-1] * RATIO))
        return rungs

    def canvas(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the canvas of a size that the recipe accepts.

        For a masked net it is the smallest bucket that holds the size, or the next rungs if that bucket has more than
        `RATIO ** rank` times the positions of the size. Other nets get the size itself, or the one canvas they take.
        """
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
"""The result of a net's function for a batch."""

NOT_FINITE = "its logits are not finite: look at its values"
"""What is said of a file that can be read but has no answer."""
DECIMALS = 7
"""Decimal places of probabilities and logits; float32 holds no more of a logit."""


class Answer(NamedTuple):
    """The answer of a net for a batch."""

    probabilities: Float[Array, "b k"]
    logits: Float[Array, "b k"]


Answering = Callable[[AnyArray, AnyArray], Answer]
"""A function (images or signals, true sizes) -> answer."""


class Signature(NamedTuple):
    """The shapes and types that an artifact takes and returns."""

    shape: tuple[Any, ...]
    """[b, *spatial, c] of images or signals; a dimension of any size has a name in place of a number."""
    dtype: np.dtype
    num_classes: int


@dataclass(frozen=True)
class Classifier(Generic[AnswerT]):
    """A trained net with all that is needed to apply it to files."""

    recipe: Recipe
    label_names: tuple[str, ...]
    ladder: Ladder
    variables: Any
    """The first argument of `function`: parameters and statistics."""
    function: Callable[[Any, AnyArray, AnyArray], AnswerT]
    """The net: (variables, images or signals, true sizes) -> answer."""
    num_threads: int
    """Number of threads that read files."""
    labels: str = "one"
    """What the net's labels are: see `DataConfig.labels`."""
    temperature: float = 1.0
    """Number by which logits are divided before they become probabilities."""
    is_compiled: bool = True
    """True if XLA compiles `function` for every canvas; False for onnxruntime, which takes any shape."""


def predict_batch(model: Model, image: Num[AnyArray, "b *spatial c"], size: Int[AnyArray, "b r"]) -> Prediction:
    """Return a model's prediction for a padded batch; the model normalises the input itself."""
    rows = image.shape[0]
    nothing = jnp.zeros(rows, jnp.int32)
    block = Block(image=image, size=size, label=nothing, weight=jnp.ones(rows), index=nothing)
    (prediction,) = model((block,), training=False)
    return prediction


def answer_of(
    model: Model,
    image: Num[AnyArray, "b *spatial c"],
    size: Int[AnyArray, "b r"],
    *,
    labels: str = "one",
    temperature: float = 1.0,
) -> Answer:
    """Return the probabilities of a padded batch at a temperature, and the logits as they are.

    Args:
        labels: what the net's labels are: see `DataConfig.labels`.
    """
    logits = predict_batch(model, image, size).logits
    return Answer(probabilities_of(logits if temperature == 1 else logits / temperature, labels), logits)


def classifier_of_workdir(
    workdir: Path, *, average: Averaging = AS_THE_RUN, which: str | None = None, strict: bool = False
) -> Classifier[Answer]:
    """Return a classifier made from a checkpoint of a run that is whole.

    Args:
        average: the views of a file whose answers are averaged, where they differ from those of the run's config.
        which: the checkpoint: see `read_checkpoint`.
        strict: refuse the run if its newest checkpoint is damaged.

    Raises:
        UserError: there is no run or no checkpoint, or a file is missing or damaged.
    """
    use_compilation_cache(read_config(workdir).machine)
    trained = restore_trained(workdir, average=average, which=which, strict=strict)
    answer = partial(answer_of, labels=trained.labels, temperature=trained.temperature)
    return classifier_of_trained(trained, answer)


def classifier_of_trained(
    trained: Trained, answer: Callable[[Model, AnyArray, AnyArray], AnswerT]
) -> Classifier[AnswerT]:
    """Return a classifier made from a trained net in memory.

    Args:
        answer: the function to apply: (model, images or signals, true sizes) -> answer.
    """
    recipe = recipe_of_trained(trained)
    graphdef, params, stats = split_model(trained.model)
    return Classifier(
        recipe,
        trained.label_names,
        Ladder(recipe, trained.plan.shapes),
        variables=(params, stats),
        function=lambda variables, image, size: answer(nnx.merge(graphdef, *variables), image, size),
        num_threads=threads_of(trained.config.machine),
        labels=trained.labels,
        temperature=trained.temperature,
    )


def recipe_of_trained(trained: Trained) -> Recipe:
    """Return the recipe that reads files for a trained net."""
    smallest, largest = smallest_input(trained.config), trained.model.net.largest_side
    return recipe_of(
        trained.config,
        rank=trained.rank,
        smallest_side=smallest,
        largest_side=largest,
        sampling_rate=trained.meaning.sampling_rate,
        value_range=trained.meaning.value_range,
    )
