"""Evaluation of a trained net on a split.

It gives sums alone, or an answer for every example. Either way every example counts once, and an example that cannot be
read is named.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import jax
import numpy as np
from jaxtyping import Float, Int

from fcn_jax.config import UserError
from fcn_jax.data.bad_examples import first_of
from fcn_jax.data.dataset import Dataset
from fcn_jax.data.source import main_classes
from fcn_jax.inference.averaging import averaged, configs_of_views, describe_views
from fcn_jax.inference.label_statistics import LabelAnswers, label_answers_of
from fcn_jax.inference.near_duplicates import Neighbours, near_duplicates
from fcn_jax.inference.opened_run import OpenedRun, with_views
from fcn_jax.inference.statistics import Answers, Statistics, answers_of, statistics_of
from fcn_jax.inference.temperature import Temperature, fit_temperature
from fcn_jax.train.compile_in_threads import compile_programs
from fcn_jax.train.out_of_memory import exhaustion
from fcn_jax.train.passes import evaluate, split_features, split_logits

AnyAnswers = TypeVar("AnyAnswers", Answers, LabelAnswers)


@dataclass(frozen=True)
class AnyEvaluation(Generic[AnyAnswers]):
    """The answers of a net for a whole split at one test scale."""

    split: str
    step: int
    """Training step of the checkpoint."""
    scale: float
    dataset: Dataset
    answers: AnyAnswers
    bad: dict[str, str]
    """The examples that could not be read: {name: reason}."""
    logits: Float[np.ndarray, "n k"]
    """The logits behind the answers, at temperature 1."""

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.dataset.source.label_names

    @cached_property
    def names(self) -> list[str]:
        """Names of the answers' examples."""
        return [self.dataset.source.name(index) for index in self.answers.index.tolist()]

    @property
    def means(self) -> dict[str, float]:
        """The same numbers as `evaluated` returns: {loss, accuracy, count}, and more of several labels."""
        return self.answers.means


class Evaluation(AnyEvaluation[Answers]):
    """An evaluation whose examples have one label each, or shares, of which the largest is taken for the label."""

    @cached_property
    def findings(self) -> Statistics:
        return statistics_of(self.answers, len(self.label_names))


class LabelEvaluation(AnyEvaluation[LabelAnswers]):
    """An evaluation whose examples may have several labels."""


def evaluated(run: OpenedRun, *, title: str) -> dict[str, float]:
    """Evaluate a split and return what `evaluate` does; memory holds no more than a step's examples.

    Raises:
        UserError: the logits of an example are not finite, or memory does not suffice.
    """
    with _enough_memory(run):
        programs = compile_programs(run.setup, train=False, splits=(run.split,))
        found = evaluate(run.setup, programs, run.state, run.split, title=title)
    if not math.isfinite(found["loss"]):
        raise UserError(
            f"the loss of {title} is {found['loss']}: the logits of some examples are not finite; --out=DIR names one"
        )
    return found


def answered(run: OpenedRun, *, title: str, temperature: float = 1.0) -> Evaluation | LabelEvaluation:
    """Evaluate a split and return an answer for every example: that of its views together, if there are several.

    Args:
        temperature: the number by which logits are divided before they become probabilities.

    Raises:
        UserError: no example or too few examples can be read, logits are not finite, or memory does not suffice.
    """
    configs = configs_of_views(run.setup.config)
    views = [with_views(run, config.evaluate) for config in configs] if run.is_averaged else [run]
    found = []
    for view in views:
        with _enough_memory(view):
            found.append(split_logits(view.setup, view.state, view.split, title=f"{title} {_view_of(view)}"))
    logits = averaged(found, run.setup.config.data.labels)
    dataset = views[0].split.dataset
    known = np.isfinite(logits).all(1)
    bad = dataset.bad.reasons
    _check_finite(dataset, np.flatnonzero(~known))
    index = np.flatnonzero(known)
    if not len(index):
        raise UserError(f"no example of {title} can be read: {first_of(bad)}")
    logits = logits[index]
    answers = _answers(dataset, logits if temperature == 1 else logits / np.float32(temperature), index)
    if isinstance(answers, LabelAnswers):
        return LabelEvaluation(title, run.step, run.scale, dataset, answers, bad, logits)
    return Evaluation(title, run.step, run.scale, dataset, answers, bad, logits)


def _answers(
    dataset: Dataset, logits: Float[np.ndarray, "n k"], index: Int[np.ndarray, " n"]
) -> Answers | LabelAnswers:
    """Return what some logits say of examples of a split, by what their labels are."""
    size, label = dataset.source.sizes[index], dataset.labels[index]
    if dataset.label_kind == "several":
        return label_answers_of(logits, index=index, size=size, targets=label)
    shares = label if dataset.label_kind == "shares" else None
    return answers_of(logits, index=index, size=size, label=main_classes(label), shares=shares)


def fitted_temperature(run: OpenedRun, *, title: str) -> Temperature:
    """Fit the temperature of the probabilities on a split."""
    found = answered(run, title=title)
    return fit_temperature(
        lambda temperature: _answers(found.dataset, found.logits / temperature, found.answers.index).mean_loss,
        step=run.step,
        views=describe_views(run.setup.config.evaluate),
        split=title,
        examples=len(found.logits),
    )


@contextmanager
def _enough_memory(run: OpenedRun) -> Iterator[None]:
    """Turn an out-of-memory error inside into a UserError.

    Raises:
        UserError: the device or the host has less memory left than the examples need.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        reason = exhaustion(error) if isinstance(error, jax.errors.JaxRuntimeError) else str(error)
        step = run.setup.config.evaluate.examples_per_step
        raise UserError(
            f"steps of {step} examples {_view_of(run)} need more memory than there is ({reason.rstrip('.')}): take a "
            "smaller --scale, or a machine with more memory"
        ) from error


def _view_of(run: OpenedRun) -> str:
    return f"at scale {run.scale:g}" + ", mirrored" * (run.setup.config.evaluate.flip == "mirrored")


def nearest_in_train(run: OpenedRun, *, title: str) -> list[Neighbours]:
    """Return the near-duplicates in train of the examples of a split, the most alike first; they are looked at anew."""
    setup, dataset = run.setup, run.split.dataset
    train = setup.split(setup.config.data.train_split)
    with _enough_memory(run):
        own, others = (
            split_features(setup, run.state, split, title=f"features of {name}")
            for split, name in ((run.split, title), (train, "train"))
        )
    return near_duplicates(dataset, train.dataset, own, others)


def _check_finite(dataset: Dataset, without_answer: Int[np.ndarray, " n"]) -> None:
    """Check that the examples without an answer are those that could not be read.

    Raises:
        UserError: an example was read, but its logits are not finite.
    """
    unread = dataset.bad.unread
    for index in without_answer.tolist():
        if (name := dataset.source.name(index)) not in unread:
            raise UserError(
                f"the logits of {name} are not finite, though it can be read: look at its values, or train this net "
                "again with a smaller learning rate"
            )
