"""Spreads, intervals and verdicts against SciPy's own and against sums done by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.statistics import (
    difference_of_independent,
    effect_size,
    holm,
    interval_of_mean,
    interval_of_next,
    paired_difference,
    spread,
    verdict,
)

NUMBERS = st.lists(st.floats(-100, 100), min_size=3, max_size=12)


def test_a_spread_by_hand():
    found = spread([1.0, 2.0, 6.0])
    assert (found.mean, found.n) == (3.0, 3)
    assert found.deviation == pytest.approx(math.sqrt(7))
    assert math.isnan(spread([1.0]).deviation)
    assert spread([0.1, 0.1, 0.1]).deviation == 0


@given(NUMBERS)
def test_the_interval_of_a_mean_is_that_of_scipy(values):
    sem = stats.sem(values)
    low, high = interval_of_mean(values)
    if sem > 1e-9:
        assert (low, high) == pytest.approx(stats.t.interval(0.95, len(values) - 1, np.mean(values), sem), abs=1e-6)
    next_low, next_high = interval_of_next(values)
    assert next_low <= low <= high <= next_high


def test_one_run_more_falls_inside_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        low, high = interval_of_next(rng.normal(size=5).tolist())
        inside += low <= rng.normal() <= high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_differences_are_taken_within_seeds():
    """Seeds differ by far more than the arms do: only pairs can tell."""
    baseline = {seed: 10.0 * seed for seed in range(5)}
    values = {seed: 10.0 * seed + 1 + 0.1 * (seed % 2) for seed in range(5)}
    difference = paired_difference({**values, 9: 1e6}, baseline)
    assert difference is not None
    assert difference.n == 5
    assert difference.mean == pytest.approx(1.04)
    assert 0.9 < difference.low < difference.high < 1.2
    expected = stats.ttest_rel([*values.values()], [*baseline.values()]).pvalue
    assert difference.p == pytest.approx(expected)


def test_differences_of_few_or_equal_pairs():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    one = paired_difference({0: 1.0}, {0: 3.0})
    assert one is not None
    assert one.mean == -2
    assert math.isnan(one.low)
    assert math.isnan(one.p)
    same = paired_difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert same is not None
    assert (same.low, same.high, same.p) == (0, 0, 1)


@pytest.mark.parametrize(
    ("gaps", "expected", "margin", "said"),
    [
        ((1.0, 1.1, 0.9), "higher", 0.0, "supported"),
        ((1.0, 1.1, 0.9), "lower", 0.0, "contradicted"),
        ((1.0, -1.1, 0.9), "higher", 0.0, "open"),
        ((-1.0, -1.1, -0.9), "lower", 0.0, "supported"),
        ((0.1, -0.1, 0.05), "equal", 0.5, "supported"),
        ((0.1, -0.1, 0.05), "equal", 0.05, "open"),
        ((1.0, 1.1, 0.9), "equal", 0.5, "contradicted"),
        ((-1.0, -1.1, -0.9), "equal", 0.5, "contradicted"),
        ((1.0,), "higher", 0.0, "open"),
        ((), "higher", 0.0, "open"),
    ],
)
def test_a_claim_needs_the_whole_interval_on_its_side(gaps, expected, margin, said):
    difference = paired_difference(dict(enumerate(gaps)), dict.fromkeys(range(len(gaps)), 0.0))
    assert verdict(difference, expected, margin) == said


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    corrected = holm([0.5, math.nan, 0.9])
    assert corrected[0] == corrected[2] == 1.0
    assert math.isnan(corrected[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_lies_between_the_p_and_bonferroni_and_keeps_the_order(p):
    corrected = holm(p)
    for one, of_one in zip(p, corrected, strict=True):
        assert one <= of_one <= min(1.0, len(p) * one) + 1e-12
    assert sorted(corrected) == [corrected[place] for place in np.argsort(p, kind="stable")]


def test_few_true_hypotheses_pass_holm():
    rng = np.random.default_rng(0)
    wrong = sum(min(holm(rng.uniform(size=12).tolist())) < 0.05 for _ in range(4000))
    assert wrong / 4000 == pytest.approx(0.05, abs=0.012)


def test_an_effect_size_by_hand():
    """Means 2 and 4, deviations 1 and 1: two deviations. A correlation of ±1 or 0 leaves 2 or 4 degrees of freedom."""
    assert effect_size({0: 3.0, 1: 4.0, 2: 5.0}, {0: 1.0, 1: 2.0, 2: 3.0}) == pytest.approx(2 * (1 - 3 / 7))
    assert effect_size({0: 3.0, 1: 4.0, 2: 5.0}, {0: 2.0, 1: 1.0, 2: 3.0}) == pytest.approx(2 * (1 - 3 / 11.8))
    assert effect_size({0: 4.0, 1: 4.0}, {0: 1.0, 1: 3.0}) == pytest.approx(2 * (1 - 3 / 7))
    assert math.isnan(effect_size({0: 3.0}, {0: 1.0}))
    for value, other in ((3.0, 1.0), (0.1, 0.3)):
        assert math.isnan(effect_size(dict.fromkeys(range(3), value), dict.fromkeys(range(3), other)))


def test_differences_of_independent_runs_are_welchs():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(1000):
        found = difference_of_independent(rng.normal(1, 3, 5).tolist(), rng.normal(0, 1, 9).tolist())
        assert found is not None
        inside += found.low <= 1 <= found.high
    assert inside / 1000 == pytest.approx(0.95, abs=0.02)
    assert difference_of_independent([1.0], [1.0, 2.0]) is None
