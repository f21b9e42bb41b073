"""Means over seeds and differences between arms, with their 95 % confidence intervals.

The intervals come from Student's t, which suits a few runs with roughly normal results. Both arms of a pair share the
seed and the data. Their difference is therefore taken seed by seed, which removes the seed's effect on both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

CONFIDENCE = 0.95

Verdict = Literal["supported", "contradicted", "open"]


@dataclass(frozen=True)
class Spread:
    """The mean and the sample standard deviation of n numbers. The deviation of one number is NaN."""

    mean: float
    deviation: float
    n: int


@dataclass(frozen=True)
class Difference:
    """The mean difference of n pairs, its confidence interval, and p of a paired t-test.

    The interval and p of one pair are NaN.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one number."""
    deviation = math.nan
    if len(values) > 1:  # The mean of equal numbers may differ from them by rounding.
        deviation = float(np.std(values, ddof=1)) if np.ptp(values) > 0 else 0.0
    return Spread(float(np.mean(values)), deviation, len(values))


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """Return the confidence interval of the mean; both ends are NaN for one number."""
    found = spread(values)
    half = _quantile(found.n) * found.deviation / math.sqrt(found.n)
    return found.mean - half, found.mean + half


def interval_of_next(values: Sequence[float]) -> tuple[float, float]:
    """Return the interval into which one more run of the same kind falls, with the same confidence.

    Both ends are NaN for one number.
    """
    found = spread(values)
    half = _quantile(found.n) * found.deviation * math.sqrt(1 + 1 / found.n)
    return found.mean - half, found.mean + half


def most_outside(arms: int) -> int:
    """Return how many of so many arms fall outside such an interval, at most, in 95 % of all cases, and at least 1."""
    return max(1, int(stats.binom.ppf(CONFIDENCE, arms, 1 - CONFIDENCE)))


def _quantile(n: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) if n > 1 else math.nan


def paired_difference(values: Mapping[int, float], others: Mapping[int, float]) -> Difference | None:
    """Return the difference `values - others` over the seeds that both have; None if they share no seed."""
    seeds = sorted(values.keys() & others.keys())
    if not seeds:
        return None
    gaps = [values[seed] - others[seed] for seed in seeds]
    low, high = interval_of_mean(gaps)
    if len(gaps) == 1:
        p = math.nan
    elif np.ptp(gaps) == 0:
        p = 1.0 if gaps[0] == 0 else 0.0
    else:
        p = float(stats.ttest_rel([values[seed] for seed in seeds], [others[seed] for seed in seeds]).pvalue)
    return Difference(float(np.mean(gaps)), low, high, p, len(gaps))


def difference_of_independent(values: Sequence[float], others: Sequence[float]) -> Difference | None:
    """Return the difference of two means of independent runs, by Welch's t-test; None for fewer than two of either.

    Its `n` is the smaller number of runs.
    """
    if min(len(values), len(others)) < 2:
        return None
    test: Any = stats.ttest_ind(values, others, equal_var=False)
    low, high = test.confidence_interval(CONFIDENCE)
    mean, n = float(np.mean(values) - np.mean(others)), min(len(values), len(others))
    return Difference(mean, float(low), float(high), float(test.pvalue), n)


def effect_size(values: Mapping[int, float], others: Mapping[int, float]) -> float:
    """Return Hedges' g: the difference of the means in standard deviations (Hedges, J. Educational Statistics 1981).

    The deviation is the root mean square of both, over the seeds that both have. The correction for few seeds allows
    for their correlation (Cousineau and Goulet-Pelletier, Quantitative Methods for Psychology 2021). g is NaN for fewer
    than two seeds, or if all values of both are equal to their means.
    """
    seeds = sorted(values.keys() & others.keys())
    pairs = [(values[seed], others[seed]) for seed in seeds]
    if len(seeds) < 2 or not np.ptp(pairs, axis=0).any():
        return math.nan
    one, other = map(spread, zip(*pairs, strict=True))
    deviation = math.sqrt((one.deviation**2 + other.deviation**2) / 2)
    correlation = float(np.corrcoef(np.transpose(pairs))[0, 1]) if one.deviation and other.deviation else 0.0
    freedom = 2 * (len(seeds) - 1) / (1 + correlation**2)
    correction = 1 - 3 / (4 * freedom - 1)
    return correction * (one.mean - other.mean) / deviation


def holm(p: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, by Holm's method (Scandinavian Journal of Statistics 1979).

    The chance that any true null hypothesis has a corrected value below 0.05 is at most 5 %. NaN stays and counts not.
    """
    order = sorted((value, place) for place, value in enumerate(p) if not math.isnan(value))
    corrected, largest = [math.nan] * len(p), 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * value))
        corrected[place] = largest
    return corrected


def verdict(difference: Difference | None, expected: Literal["higher", "lower", "equal"], margin: float) -> Verdict:
    """Return the verdict on a difference that was expected above 0, below 0, or within ± margin.

    The whole confidence interval must lie on the expected side, or on the other side; else the verdict is open.
    """
    if difference is None or math.isnan(difference.low):
        return "open"
    low, high = difference.low, difference.high
    if expected == "lower":
        low, high = -high, -low
    if expected == "equal":
        inside, outside = -margin <= low and high <= margin, high < -margin or low > margin
    else:
        inside, outside = low > 0, high < 0
    return "supported" if inside else "contradicted" if outside else "open"
