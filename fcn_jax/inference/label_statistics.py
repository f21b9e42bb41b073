"""Statistics of a net's answers where an example may have several labels.

A class is predicted where its probability is above 0.5. An answer is right if exactly the example's labels are
predicted.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fcn_jax.core.ranking import average_precisions, mean_average_precision, micro_f1
from fcn_jax.inference.statistics import Proportion, proportion_of


@dataclass(frozen=True)
class LabelAnswers:
    """The answers of a net to n examples, in the order of their split."""

    index: Int[np.ndarray, " n"]
    """Positions of the examples in their split."""
    size: Int[np.ndarray, "n r"]
    """True size when it was decoded."""
    targets: Bool[np.ndarray, "n k"]
    """The classes that each example has."""
    logits: Float[np.ndarray, "n k"]
    loss: Float[np.ndarray, " n"]
    """Mean over the classes of the binary cross entropies, in nats."""

    @property
    def predicted(self) -> Bool[np.ndarray, "n k"]:
        return self.logits > 0

    @property
    def probabilities(self) -> Float[np.ndarray, "n k"]:
        return np.exp(-np.logaddexp(0, -self.logits.astype(np.float64)))

    @property
    def hit(self) -> Bool[np.ndarray, " n"]:
        """Whether the labels of an example are predicted exactly."""
        return (self.predicted == self.targets).all(1)

    @property
    def accuracy(self) -> Proportion:
        return proportion_of(self.hit)

    @property
    def mean_loss(self) -> float:
        return float(self.loss.mean())

    @cached_property
    def classes(self) -> "list[OfLabel]":
        """The statistics of every class, the smallest average precision first, classes without examples last."""
        said, true = self.predicted, self.targets
        precisions = average_precisions(self.logits, true).tolist()
        hits, predicted, examples = ((values.sum(0)).tolist() for values in (said & true, said, true))
        rows = [
            OfLabel(k, Proportion(hits[k], examples[k]), Proportion(hits[k], predicted[k]), precisions[k])
            for k in range(true.shape[1])
        ]
        return sorted(rows, key=lambda row: (math.isnan(row.average_precision), row.average_precision, row.label))

    @property
    def mean_average_precision(self) -> float:
        """The mean over the classes that have an example; NaN if none has."""
        return mean_average_precision(np.array([row.average_precision for row in self.classes]))

    @property
    def micro_f1(self) -> float:
        return micro_f1(self.logits, self.targets)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that are true or predicted somewhere; NaN if none is."""
        known = [row.f1 for row in self.classes if not math.isnan(row.f1)]
        return float(np.mean(known)) if known else math.nan

    @property
    def means(self) -> dict[str, float]:
        """The same numbers as the pass `evaluate` returns; what is not defined is left out."""
        more = {"mean_average_precision": self.mean_average_precision, "micro_f1": self.micro_f1}
        return {
            "loss": self.mean_loss,
            "accuracy": self.accuracy.value,
            **{name: value for name, value in more.items() if not math.isnan(value)},
            "count": self.accuracy.examples,
        }

    def worst(self, most: int) -> list["Mistake"]:
        """Return the wrong answers to a question of one class about one example, the surest first, one an example."""
        probability = self.probabilities
        surety = np.where(self.predicted != self.targets, np.where(self.predicted, probability, 1 - probability), -1)
        classes = surety.argmax(1)
        surest = surety[np.arange(len(surety)), classes]
        rows = np.flatnonzero(surest >= 0)
        rows = rows[np.argsort(-surest[rows], kind="stable")][:most]
        return [Mistake(row, int(classes[row]), float(probability[row, classes[row]])) for row in rows.tolist()]


class OfLabel(NamedTuple):
    """The statistics of one class."""

    label: int
    recall: Proportion
    """Share of the class's examples for which it is predicted."""
    precision: Proportion
    """Share of the examples for which the class is predicted that have it."""
    average_precision: float
    """NaN if it has no examples."""

    @property
    def f1(self) -> float:
        """NaN if the class is neither true nor predicted anywhere."""
        both = self.recall.examples + self.precision.examples
        return 2 * self.recall.hits / both if both else math.nan


class Mistake(NamedTuple):
    """A wrong answer to the question whether an example has a class."""

    row: int
    """The row of the answers."""
    label: int
    probability: float
    """The probability that the net gives the class."""


def label_answers_of(
    logits: Float[np.ndarray, "n k"],
    *,
    index: Int[np.ndarray, " n"],
    size: Int[np.ndarray, "n r"],
    targets: Float[np.ndarray, "n k"],
) -> LabelAnswers:
    """Compute the answers from the logits of examples and the targets of their classes, 0 or 1."""
    precise = logits.astype(np.float64)
    losses = np.logaddexp(0, precise) - targets * precise
    return LabelAnswers(index, size, targets > 0.5, logits, losses.mean(1))
