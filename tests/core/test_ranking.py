"""Average precision: by hand, and as its definition over all thresholds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.core.ranking import average_precision, average_precisions, label_metrics, mean_average_precision


def test_average_precision_by_hand():
    # Right at ranks 1, 3 and 6: the mean of 1/1, 2/3 and 3/6.
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    positive = np.array([True, False, True, False, False, True])
    assert average_precision(score, positive) == pytest.approx((1 + 2 / 3 + 3 / 6) / 3)
    assert average_precision(score, positive[::-1]) == pytest.approx((1 / 1 + 2 / 4 + 3 / 6) / 3)
    # The example of scikit-learn's average_precision_score.
    assert average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])) == pytest.approx(
        0.5 * 2 / 3 + 0.5 * 1
    )
    assert math.isnan(average_precision(score, np.zeros(6, bool)))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_the_sum_over_thresholds(rows):
    score, positive = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    if not positive.any():
        return
    total = before = 0.0
    for threshold in sorted(set(score), reverse=True):
        accepted = score >= threshold
        recall = (positive & accepted).sum() / positive.sum()
        total += (recall - before) * positive[accepted].mean()
        before = recall
    assert average_precision(score, positive) == pytest.approx(total)


def test_a_class_without_a_positive_example_does_not_count():
    logits = np.array([[2.0, 1.0, -1.0], [-1.0, 3.0, -1.0], [1.0, 2.0, -2.0]])
    targets = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], bool)
    of_classes = average_precisions(logits, targets)
    np.testing.assert_allclose(of_classes, [1, 1, math.nan])
    assert mean_average_precision(of_classes) == 1
    # Predicted are classes 0, 1; 1; 0, 1: three of five hits, with three positives.
    assert label_metrics(logits, targets) == {"mean_average_precision": 1, "micro_f1": pytest.approx(2 * 3 / (5 + 3))}
    assert label_metrics(-np.abs(logits), np.zeros((3, 3), bool)) == {}
