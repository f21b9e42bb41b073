"""Statistics of a net's answers: accuracy by size, class and confidence; confusions; the worst mistakes.

Every example that has an answer counts once. All intervals are 95 % confidence intervals.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fcn_jax.core.ranking import average_precisions

EXAMPLES_PER_BIN, MOST_BINS = 25, 8
"""Fewest examples per bin of sizes (about; with fewer, its interval says nothing), and most bins."""
CONFIDENCE_BINS = 15
MOST_MISTAKES = 24


@dataclass(frozen=True)
class Answers:
    """The answers of a net to n examples, in the order of their split."""

    index: Int[np.ndarray, " n"]
    """Positions of the examples in their split."""
    size: Int[np.ndarray, "n r"]
    """True size when it was decoded."""
    label: Int[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n"]
    probability: Float[np.ndarray, " n"]
    """Probability of the predicted class."""
    loss: Float[np.ndarray, " n"]
    """Cross entropy, in nats."""
    rank: Int[np.ndarray, " n"]
    """Number of classes with a larger logit than the true one; 0: the prediction is right."""
    average_precision: Float[np.ndarray, " k"]
    """How well the probability of each class ranks the examples: see `average_precision`; NaN without an example."""

    @property
    def hit(self) -> Bool[np.ndarray, " n"]:
        return self.predicted == self.label

    @property
    def accuracy(self) -> "Proportion":
        return proportion_of(self.hit)

    @property
    def mean_loss(self) -> float:
        return float(self.loss.mean())

    @property
    def means(self) -> dict[str, float]:
        """The same numbers as the pass `evaluate` returns."""
        return {"loss": self.mean_loss, "accuracy": self.accuracy.value, "count": self.accuracy.examples}


class Proportion(NamedTuple):
    """A share: so many hits among so many examples; NaN if there are no examples."""

    hits: int
    examples: int

    @property
    def value(self) -> float:
        return self.hits / self.examples if self.examples else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the true share (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
        return wilson_interval(self.value, float(self.examples)) if self.examples else (math.nan, math.nan)


def wilson_interval(share: float, examples: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share.

    Args:
        examples: number of independent examples, above 0; it need not be whole.
    """
    z = 1.959963984540054  # The normal distribution has 95 % of its mass within so many standard deviations.
    centre = (share + z**2 / (2 * examples)) / (1 + z**2 / examples)
    reach = z / (1 + z**2 / examples) * math.sqrt(share * (1 - share) / examples + z**2 / (4 * examples**2))
    # A share of 0 or 1 is an end of its interval; rounding must not leave it outside.
    return max(min(centre - reach, share), 0.0), min(max(centre + reach, share), 1.0)


def proportion_of(hit: Bool[np.ndarray, " n"]) -> Proportion:
    return Proportion(int(hit.sum()), len(hit))


def answers_of(
    logits: Float[np.ndarray, "n k"],
    *,
    index: Int[np.ndarray, " n"],
    size: Int[np.ndarray, "n r"],
    label: Int[np.ndarray, " n"],
    shares: Float[np.ndarray, "n k"] | None = None,
) -> Answers:
    """Compute the answers from the logits of examples.

    Args:
        label: the class of every example; where it has shares, the one with the largest.
        shares: the share of every class, to which the loss is taken; None: the label has all of it.
    """
    shifted = logits - logits.max(1, keepdims=True)
    log_total = np.log(np.exp(shifted).sum(1, dtype=np.float64))
    rows, predicted = np.arange(len(logits)), logits.argmax(1)
    surprise = log_total[:, None] - shifted
    is_label = label[:, None] == np.arange(logits.shape[1])
    return Answers(
        index=index,
        size=size,
        label=label,
        predicted=predicted,
        probability=np.exp(-log_total),  # The largest of the shifted logits is 0.
        loss=surprise[rows, label] if shares is None else (shares * surprise).sum(1),
        rank=(logits > logits[rows, label, None]).sum(1),
        average_precision=average_precisions(-surprise, is_label),
    )


class Bin(NamedTuple):
    """A range of values, and the accuracy of the examples in it."""

    low: float
    high: float
    mean: float
    accuracy: Proportion


def quantile_bins(values: Float[np.ndarray, " n"], hit: Bool[np.ndarray, " n"]) -> list[Bin]:
    """Divide examples into bins of about equal counts, in ascending order; equal values share a bin."""
    number = int(np.clip(len(values) // EXAMPLES_PER_BIN, 1, MOST_BINS))
    distinct, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    # With all examples sorted in a row, the middle of those with a value decides the bin of that value.
    middle = counts.cumsum() - counts / 2
    of_example = (middle / len(values) * number).astype(int)[place]
    bins = []
    for inside in (of_example == chosen for chosen in np.unique(of_example)):
        within = values[inside]
        bins.append(Bin(float(within.min()), float(within.max()), float(within.mean()), proportion_of(hit[inside])))
    assert sum(one.accuracy.examples for one in bins) == len(values), f"{len(distinct)} values lost examples"
    return bins


class OfClass(NamedTuple):
    """The statistics of one class."""

    label: int
    recall: Proportion
    """Share of the class's examples that are predicted as the class."""
    precision: Proportion
    """Share of the examples predicted as the class that belong to it."""
    taken_for: int | None
    """Class that its examples are most often mistaken for; None: it has no mistakes."""
    average_precision: float
    """NaN if it has no examples."""


def by_class(answers: Answers, num_classes: int) -> list[OfClass]:
    """Return the statistics of every class, smallest recall first, classes without examples last."""
    label, predicted, hit = answers.label, answers.predicted, answers.hit
    precisions = answers.average_precision.tolist()
    examples, taken = (np.bincount(which, minlength=num_classes).tolist() for which in (label, predicted))
    hits = np.bincount(label[hit], minlength=num_classes).tolist()
    taken_for: dict[int, int] = {}
    for confusion in confusions(answers):
        taken_for.setdefault(confusion.label, confusion.predicted)
    rows = [
        OfClass(k, Proportion(hits[k], examples[k]), Proportion(hits[k], taken[k]), taken_for.get(k), precisions[k])
        for k in range(num_classes)
    ]
    return sorted(
        rows, key=lambda row: (not row.recall.examples, row.recall.value if row.recall.examples else 0, row.label)
    )


def balanced_accuracy(classes: list[OfClass]) -> float:
    """Return the mean recall of the classes that have examples: every class counts the same."""
    return float(np.mean([row.recall.value for row in classes if row.recall.examples]))


def macro_f1(classes: list[OfClass]) -> float:
    """Return the mean F1 of the classes that are true or predicted somewhere: 2 hits / (examples + predictions)."""
    sizes = [(row.recall.hits, row.recall.examples + row.precision.examples) for row in classes]
    return float(np.mean([2 * hits / both for hits, both in sizes if both]))


class Coverage(NamedTuple):
    """The examples that are left if only predictions of at least some probability are accepted."""

    threshold: float
    """The smallest probability that is accepted."""
    share: float
    """The share of all examples that is accepted."""
    accuracy: Proportion
    """The accuracy of those."""


def coverages(answers: Answers) -> list[Coverage]:
    """Return the accuracy of the surest 10 %, 20 %, ..., 100 % of the predictions; equal probabilities go together.

    Source: Geifman and El-Yaniv, arXiv:1705.08500.
    """
    sure, number = np.sort(answers.probability)[::-1], len(answers.probability)
    thresholds = {float(sure[max(1, round(number * tenth / 10)) - 1]) for tenth in range(1, 11)}
    accepted = [(threshold, answers.probability >= threshold) for threshold in sorted(thresholds, reverse=True)]
    return [Coverage(least, float(which.mean()), proportion_of(answers.hit[which])) for least, which in accepted]


class Confusion(NamedTuple):
    """The number of examples of one class that are predicted as another."""

    label: int
    predicted: int
    examples: int


def confusions(answers: Answers) -> list[Confusion]:
    """Count every pair of true class and wrongly predicted class, the most frequent first."""
    wrong = ~answers.hit
    pairs, counts = np.unique(
        np.stack([answers.label[wrong], answers.predicted[wrong]], axis=1), axis=0, return_counts=True
    )
    found = [
        Confusion(label, predicted, examples)
        for (label, predicted), examples in zip(pairs.tolist(), counts.tolist(), strict=True)
    ]
    return sorted(found, key=lambda one: (-one.examples, one.label, one.predicted))


def confusion_matrix(answers: Answers, num_classes: int) -> Int[np.ndarray, "k k"]:
    """Count the examples by true class (rows) and predicted class (columns)."""
    cells = answers.label.astype(np.int64) * num_classes + answers.predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def calibration(answers: Answers) -> list[Bin]:
    """Divide examples by the probability of the predicted class into bins of equal width; leave out empty bins."""
    of_example = np.minimum((answers.probability * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    bins = []
    for number in np.unique(of_example).tolist():
        inside = of_example == number
        low, high = number / CONFIDENCE_BINS, (number + 1) / CONFIDENCE_BINS
        bins.append(Bin(low, high, float(answers.probability[inside].mean()), proportion_of(answers.hit[inside])))
    return bins


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error: mean gap of probability and accuracy (Guo et al., arXiv:1706.04599)."""
    gaps = [one.accuracy.examples * abs(one.accuracy.value - one.mean) for one in bins]
    return sum(gaps) / sum(one.accuracy.examples for one in bins)


def worst_mistakes(answers: Answers, most: int) -> Int[np.ndarray, " m"]:
    """Return the rows of the wrong answers, the most confident first."""
    wrong = np.flatnonzero(~answers.hit)
    return wrong[np.argsort(-answers.probability[wrong], kind="stable")][:most]


@dataclass(frozen=True)
class Statistics:
    """All statistics of this file, for the same answers."""

    by_size: dict[str, list[Bin]]
    """Bins by `side`, √(height × width), and `aspect`, height / width, for images; by `length` for signals."""
    classes: list[OfClass]
    calibration: list[Bin]
    calibration_error: float
    coverages: list[Coverage]
    confusions: list[Confusion]
    worst: Int[np.ndarray, " m"]
    """Rows of the worst mistakes."""


def statistics_of(answers: Answers, num_classes: int) -> Statistics:
    """Compute all statistics of some answers."""
    size, calibrated = answers.size.astype(np.float64), calibration(answers)
    if size.shape[1] == 1:
        values = {"length": size[:, 0]}
    else:
        values = {"side": np.sqrt(size.prod(1)), "aspect": size[:, 0] / size[:, 1]}
    return Statistics(
        by_size={name: quantile_bins(value, answers.hit) for name, value in values.items()},
        classes=by_class(answers, num_classes),
        calibration=calibrated,
        calibration_error=calibration_error(calibrated),
        coverages=coverages(answers),
        confusions=confusions(answers),
        worst=worst_mistakes(answers, MOST_MISTAKES),
    )
