"""Means over seeds, and differences between arms seed by seed, with Student's t: a few runs, roughly normal.

Both arms of a pair share seed and data, so differences are taken within seeds first; that removes what a seed does to
both. Intervals are of 95 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

CONFIDENCE = 0.95

Verdict = Literal["supported", "contradicted", "open"]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of the sample; NaN of one) of n numbers."""

    mean: float
    deviation: float
    n: int


@dataclass(frozen=True)
class Difference:
    """The mean difference within pairs, its confidence interval, and p of a paired t-test; NaN of one pair."""

    mean: float
    low: float
    high: float
    p: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Of at least one number."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), deviation, len(values))


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """The confidence interval of the mean; NaN of one number."""
    found = spread(values)
    half = _quantile(found.n) * found.deviation / math.sqrt(found.n)
    return found.mean - half, found.mean + half


def interval_of_next(values: Sequence[float]) -> tuple[float, float]:
    """Where one more run of the same kind falls, with the same confidence; NaN of one number."""
    found = spread(values)
    half = _quantile(found.n) * found.deviation * math.sqrt(1 + 1 / found.n)
    return found.mean - half, found.mean + half


def _quantile(n: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) if n > 1 else math.nan


def paired_difference(values: Mapping[int, float], others: Mapping[int, float]) -> Difference | None:
    """values - others, over the seeds that both have; None without one."""
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


def verdict(difference: Difference | None, expected: Literal["higher", "lower", "equal"], margin: float) -> Verdict:
    """What the interval says of a difference expected to be above 0, below 0, or within ± margin."""
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
