"""How well the size of an example tells its class, without a look at the content.

A net can learn the size in place of the content; then it fails on the same content at another size. And where size goes
with class, steps of one bucket hold another mix of classes than the data. So `plan`, `train` and the page of a run say
the accuracy of guesses from size alone: for every example, the commonest class among the *other* examples of about the
same size.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from fcn_jax.config import Config
from fcn_jax.core.random import random_bits
from fcn_jax.data.dataset import Dataset
from fcn_jax.data.source import main_classes
from fcn_jax.data.splits import groups_of
from fcn_jax.inference.statistics import wilson_interval

FOLDS = 10
"""Parts of the examples; those of each part are guessed from the other nine."""
MOST_EXAMPLES = 2**18
"""Of more examples than this, so many are drawn: they give the figure to 0.2 percentage points."""
EXAMPLES_PER_BIN = 25
"""Fewest examples per bin of sizes, about: of fewer, the commonest class is mostly chance."""
LEAST_EXPLAINED = 0.05
"""Size tells the class if it corrects more than this share of the mistakes of always guessing the commonest class. So,
with two equal classes 52.5 % must be right, with ten 14.5 %: a share means as much for any number of classes. The lower
end of the interval counts, so that chance does not pass. A smaller share leaves a net little to gain from size."""


@dataclass(frozen=True)
class SizeAndClass:
    """What size tells of the class in one data set, in fractions, under the names that summary.json has."""

    size_accuracy: float
    """Accuracy of the guesses from size alone. Where size tells nothing, it is near `majority_accuracy`, or below."""
    size_accuracy_low: float
    size_accuracy_high: float
    """The 95 % interval of `size_accuracy`."""
    majority_accuracy: float
    """Share of the commonest class."""

    @property
    def tells(self) -> bool:
        """Return whether size tells the class, by the rule of `LEAST_EXPLAINED`."""
        return self.size_accuracy_low > self.majority_accuracy + LEAST_EXPLAINED * (1 - self.majority_accuracy)

    def describe(self) -> str:
        """Return the figures as one sentence, without a full stop."""
        return (
            f"size alone tells the class of {self.size_accuracy:.1%} of the examples (95% interval "
            f"{self.size_accuracy_low:.1%} to {self.size_accuracy_high:.1%}); the commonest class has "
            f"{self.majority_accuracy:.1%}"
        )

    def advice(self, kind: str) -> str:
        """Return what to do where size tells the class.

        Args:
            kind: the config's `schedule.kind`.
        """
        bucketed = (
            "Every step holds examples of like sizes, so its mix of classes is not that of the data: use "
            "schedule.kind=stratified. "
        )
        return (
            f"{bucketed if kind == 'bucketed' else ''}A net may learn the size in place of the content. To find out, "
            "train it once with data.resize=square:N, which gives all examples one size: if its accuracy falls by "
            "much, it used the size. Random sizes (data.augment.scale) make size tell less."
        )


def size_and_class(
    sizes: Int[np.ndarray, "n r"], labels: Int[np.ndarray, " n"], *, groups: Int[np.ndarray, " n"] | None = None
) -> SizeAndClass | None:
    """Measure by cross-validation how well size tells the class.

    The same arguments give the same figures: a hash of an example's place, or of its group, decides its fold.

    Args:
        sizes: true sizes as a net sees them, before random changes.
        labels: from 0.
        groups: a number for each example. Examples of one group, such as the frames of a video, are near copies: they
            are in the same fold, and the interval counts the groups. None: every example stands for itself. If some are
            near copies after all, the accuracy is too high.

    Returns:
        The figures; None if fewer than two classes have examples.
    """
    counts = np.bincount(labels)
    if np.count_nonzero(counts) < 2:
        return None
    majority = float(counts.max() / len(labels))
    chosen = np.arange(min(len(labels), MOST_EXAMPLES))
    if len(labels) > MOST_EXAMPLES:
        drawn = random_bits(0, 0, chosen, stream="examples whose size tells") % np.uint64(len(labels))
        chosen = np.unique(drawn.astype(np.int64))
    own_group = chosen if groups is None else groups[chosen]
    fold = (random_bits(0, 0, own_group, stream="folds of sizes") % np.uint64(FOLDS)).astype(np.int64)
    hit = _hits(_bins(sizes[chosen]), labels[chosen].astype(np.int64), fold)
    share = float(hit.mean())
    low, high = wilson_interval(share, float(len(hit)) if groups is None else _independent(hit, own_group))
    return SizeAndClass(share, low, high, majority)


def _bins(sizes: Int[np.ndarray, "n r"]) -> Int[np.ndarray, " n"]:
    """Return the bin of every example, numbered from 0 without gaps; equal sizes share a bin.

    Images are divided by area and by aspect ratio, signals by length. With more examples there are more bins, and more
    examples in each: about √n bins of √n examples, or fewer bins where that is less than EXAMPLES_PER_BIN.
    """
    sides, number = np.log(sizes), max(1, min(round(len(sizes) ** 0.5), len(sizes) // EXAMPLES_PER_BIN))
    area = sides.sum(1)
    if sizes.shape[1] == 1:
        return _quantile(area, number)
    # Where there are few areas, as after data.resize=area:N, or few aspects, the other takes the bins that are left.
    aspect, each = sides[:, 0] - sides[:, 1], round(number**0.5)
    by_area = _quantile(area, number // _count(_quantile(aspect, each)))
    by_aspect = _quantile(aspect, number // min(_count(by_area), each))
    return _without_gaps(by_aspect * _count(by_area) + by_area)


def _count(bins: Int[np.ndarray, " n"]) -> int:
    return int(bins.max()) + 1


def _quantile(values: Float[np.ndarray, " n"], number: int) -> Int[np.ndarray, " n"]:
    """Divide values at their quantiles into at most `number` bins, numbered from 0 without gaps."""
    values = np.round(values, 9)  # Logarithms of one ratio, such as 2:1 and 4:2, may differ in their last digit.
    edges = np.quantile(values, np.arange(1, number) / number, method="lower")
    return _without_gaps(np.searchsorted(np.unique(edges), values, side="right"))


def _without_gaps(numbers: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Number the distinct numbers from 0, in their order."""
    return (np.cumsum(np.bincount(numbers) > 0) - 1)[numbers]


def _hits(
    bins: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], fold: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Return whether every example is guessed right: by the commonest class of its bin in the other folds.

    Where the other folds have no example of the bin, the guess is their commonest class of all. Of equally common
    classes the guess is the first. Only pairs of bin and class that occur are counted, so there may be any number of
    classes.
    """
    num_labels = int(labels.max()) + 1
    keys, pair = np.unique(bins * num_labels + labels, return_inverse=True)
    bin_of_pair, label_of_pair = np.divmod(keys, num_labels)
    first_pair = np.searchsorted(bin_of_pair, np.arange(bin_of_pair[-1] + 1))
    last_first = np.arange(len(keys))[::-1]
    hit = np.zeros(len(labels), bool)
    for number in range(FOLDS):
        own = fold == number
        seen = np.bincount(pair[~own], minlength=len(keys))
        count, place = np.divmod(np.maximum.reduceat(seen * len(keys) + last_first, first_pair), len(keys))
        of_all = np.bincount(labels[~own], minlength=1).argmax()
        guess = np.where(count > 0, label_of_pair[len(keys) - 1 - place], of_all)
        hit[own] = guess[bins[own]] == labels[own]
    return hit


def _independent(hit: Bool[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> float:
    """Return how many independent examples would vary as much as these do, whose groups are independent."""
    place = np.unique(groups, return_inverse=True)[1]
    examples, hits = np.bincount(place), np.bincount(place, hit)
    share = hit.mean()
    variance = ((hits - share * examples) ** 2).sum() / len(hit) ** 2
    return float(min(share * (1 - share) / variance, len(hit)) if variance > 0 else len(examples))


def size_and_class_of(dataset: Dataset, config: Config) -> SizeAndClass | None:
    """Measure a split: its sizes after `data.resize` and widening, its groups by `data.group_pattern`.

    None if its examples have no class, or may have several. Of shares, the class with the largest one counts.
    """
    source, pattern = dataset.source, config.data.group_pattern
    if config.data.labels == "several":
        return None
    labels = main_classes(source.labels)
    if labels.min() == labels.max():
        return None
    names = (source.key(index).decode(errors="surrogateescape") for index in range(len(source)))
    groups = groups_of(names, pattern) if pattern else None
    return size_and_class(dataset.views.undrawn(1.0), labels, groups=groups)


def size_lines(found: SizeAndClass | None, config: Config) -> list[str]:
    """Return the lines about a data set: none if it has no classes, and a warning if size tells them."""
    if found is None:
        return []
    warning = [f"WARNING: {found.advice(config.schedule.kind)}"] if found.tells else []
    return [found.describe(), *warning]
