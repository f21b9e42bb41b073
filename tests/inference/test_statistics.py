"""The statistics of an evaluation, against examples worked out by hand, and the laws they keep."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.inference.statistics import (
    Answers,
    Confusion,
    Proportion,
    answers_of,
    balanced_accuracy,
    by_class,
    calibration,
    calibration_error,
    confusion_matrix,
    confusions,
    coverages,
    macro_f1,
    quantile_bins,
    statistics_of,
    worst_mistakes,
)


def made_answers(label, predicted, probability=None, *, size=None) -> Answers:
    number = len(label)
    return Answers(
        index=np.arange(number),
        size=np.full((number, 2), 8) if size is None else np.array(size),
        label=np.array(label),
        predicted=np.array(predicted),
        probability=np.full(number, 0.5) if probability is None else np.array(probability),
        loss=np.ones(number),
        rank=(np.array(label) != np.array(predicted)).astype(int),
        average_precision=np.full(4, 0.5),
    )


CONFUSED = made_answers(
    label=[0, 0, 0, 0, 1, 1, 1, 2, 2, 2],
    predicted=[0, 0, 1, 1, 1, 1, 1, 0, 1, 1],
    probability=[0.9, 0.9, 0.9, 0.95, 0.61, 0.61, 0.62, 0.7, 0.95, 0.99],
)


def test_answers_are_softmax_and_cross_entropy():
    logits = np.array([[0.0, math.log(3)], [1000 + math.log(3), 1000.0]], np.float32)
    answers = answers_of(logits, index=np.array([4, 6]), size=np.full((2, 1), 9), label=np.array([0, 0]))
    assert answers.predicted.tolist() == [1, 0]
    assert answers.rank.tolist() == [1, 0]
    np.testing.assert_allclose(answers.probability, [0.75, 0.75], atol=2e-5)
    np.testing.assert_allclose(answers.loss, [math.log(4), math.log(4 / 3)], atol=5e-5)
    assert answers.accuracy == Proportion(1, 2)
    assert answers.mean_loss == pytest.approx((math.log(4) + math.log(4 / 3)) / 2, abs=5e-5)


@pytest.mark.parametrize(
    ("share", "low", "high"),
    [
        (Proportion(8, 10), 0.490162, 0.943318),
        (Proportion(0, 10), 0.0, 0.277533),
        (Proportion(10, 10), 0.722467, 1.0),
        (Proportion(81, 263), 0.255289, 0.366190),  # Newcombe 1998, doi:10.1002/(sici)1097-0258(19980430)17:8<857
    ],
)
def test_intervals_are_wilsons(share, low, high):
    assert share.interval == pytest.approx((low, high), abs=2e-5)


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_an_interval_holds_its_share_and_is_symmetric(hits, misses):
    share, mirrored = Proportion(hits, hits + misses), Proportion(misses, hits + misses)
    low, high = share.interval
    if not hits + misses:
        assert math.isnan(low)
        assert math.isnan(share.value)
    else:
        assert 0 <= low <= share.value <= high <= 1
        assert mirrored.interval == pytest.approx((1 - high, 1 - low))


def test_bins_keep_equal_values_together():
    values = np.repeat([1.0, 2.0, 3.0, 9.0], [30, 50, 10, 10])
    hit = np.arange(100) % 2 == 0
    bins = quantile_bins(values, hit)
    assert [(one.low, one.high, one.accuracy.examples) for one in bins] == [(1, 1, 30), (2, 2, 50), (3, 9, 20)]
    assert [one.accuracy.hits for one in bins] == [15, 25, 10]
    assert bins[-1].mean == 6


@given(st.lists(st.integers(1, 40), min_size=1, max_size=400))
def test_bins_are_ordered_and_lose_nothing(sides):
    values = np.array(sides, float)
    hit = values % 3 == 0
    bins = quantile_bins(values, hit)
    assert sum(one.accuracy.examples for one in bins) == len(sides)
    assert sum(one.accuracy.hits for one in bins) == hit.sum()
    ends = [end for one in bins for end in (one.low, one.high)]
    assert ends == sorted(ends)
    assert all(one.high < after.low for one, after in pairwise(bins))
    assert len(bins) <= 8
    assert ends[0] == values.min()
    assert ends[-1] == values.max()


def test_classes_stand_worst_first_with_recall_and_precision():
    rows = by_class(CONFUSED, 4)
    assert [row.label for row in rows] == [2, 0, 1, 3]
    assert [row.recall for row in rows] == [(0, 3), (2, 4), (3, 3), (0, 0)]
    assert [row.precision for row in rows] == [(0, 0), (2, 3), (3, 7), (0, 0)]
    assert [row.taken_for for row in rows] == [1, 1, None, None]


def test_confusions_are_the_cells_beside_the_diagonal():
    assert confusions(CONFUSED) == [Confusion(0, 1, 2), Confusion(2, 1, 2), Confusion(2, 0, 1)]
    matrix = confusion_matrix(CONFUSED, 4)
    np.testing.assert_array_equal(matrix, [[2, 2, 0, 0], [0, 3, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0]])
    assert confusions(made_answers([0, 1], [0, 1])) == []


def test_calibration_by_hand():
    # Bins of 1/15: 0.61 and 0.62 in [0.6, 0.667), 0.7 in [0.667, 0.733), 0.9 in [0.867, 0.933), 0.95 and 0.99 above.
    bins = calibration(CONFUSED)
    assert [one.accuracy for one in bins] == [(3, 3), (0, 1), (2, 3), (0, 3)]
    assert [one.mean for one in bins] == pytest.approx([1.84 / 3, 0.7, 0.9, 2.89 / 3])
    error = ((3 - 1.84) + 0.7 + (2.7 - 2) + 2.89) / 10
    assert calibration_error(bins) == pytest.approx(error)


def test_a_probability_of_one_has_a_bin():
    (one,) = calibration(made_answers([0], [0], [1.0]))
    assert (one.high, one.accuracy) == (1, (1, 1))


def test_the_worst_mistake_is_the_most_confident():
    assert worst_mistakes(CONFUSED, 4).tolist() == [9, 3, 8, 2]
    assert worst_mistakes(made_answers([0], [0]), 4).tolist() == []


def test_sizes_are_sides_and_aspects_of_images_and_lengths_of_signals():
    images = statistics_of(made_answers([0, 0], [0, 1], size=[[4, 9], [4, 9]]), 2)
    assert {name: (one.low, one.high) for name, (one,) in images.by_size.items()} == {
        "side": (6, 6),
        "aspect": (pytest.approx(4 / 9), pytest.approx(4 / 9)),
    }
    signals = statistics_of(made_answers([0, 0], [0, 1], size=[[7], [9]]), 2)
    assert {name: (one.low, one.high) for name, (one,) in signals.by_size.items()} == {"length": (7, 9)}


def test_every_class_counts_the_same_in_balanced_accuracy_and_macro_f1():
    classes = by_class(CONFUSED, 4)  # Nothing is or is taken for class 3.
    assert balanced_accuracy(classes) == pytest.approx((2 / 4 + 3 / 3 + 0) / 3)
    assert macro_f1(classes) == pytest.approx((2 * 2 / (4 + 3) + 2 * 3 / (3 + 7) + 0) / 3)


def test_coverage_takes_the_surest_predictions_and_equal_ones_together():
    found = coverages(CONFUSED)
    assert [one.threshold for one in found] == [0.99, 0.95, 0.9, 0.7, 0.62, 0.61]
    assert [one.share for one in found] == pytest.approx([0.1, 0.3, 0.6, 0.7, 0.8, 1.0])
    assert [one.accuracy for one in found] == [
        Proportion(0, 1), Proportion(0, 3), Proportion(2, 6), Proportion(2, 7), Proportion(3, 8), Proportion(5, 10)
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0.25, 1)), min_size=1, max_size=60))
def test_the_last_coverage_is_everything(rows):
    label, predicted, probability = zip(*rows, strict=True)
    answers = made_answers(label, predicted, probability)
    found = coverages(answers)
    assert (found[-1].share, found[-1].accuracy) == (1.0, answers.accuracy)
    assert all(one.share < other.share and one.threshold > other.threshold for one, other in pairwise(found))
