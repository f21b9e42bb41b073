"""Size tells the class as far as it truly does, for any number of classes, and copies in one group tell nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from configs import mnist
from fcn_jax.config import UserError
from fcn_jax.data.dataset import Dataset, open_dataset
from fcn_jax.data.splits import carved, groups_of
from fcn_jax.inference.statistics import wilson_interval
from fcn_jax.reports.size_and_class import (
    EXAMPLES_PER_BIN,
    MOST_EXAMPLES,
    SizeAndClass,
    size_and_class,
    size_and_class_of,
    size_lines,
)


def measured(sizes, labels, groups=None) -> SizeAndClass:
    found = size_and_class(np.asarray(sizes, np.int32), np.asarray(labels, np.int32), groups=groups)
    assert found is not None
    assert found.size_accuracy_low <= found.size_accuracy <= found.size_accuracy_high
    return found


def drawn(count: int, most: int, *, rank: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(8, most, (count, rank), dtype=np.int32)


@pytest.mark.parametrize("rank", [1, 2])
def test_size_that_decides_the_class_tells_it(rank):
    sizes = drawn(20_000, 500, rank=rank)
    found = measured(sizes, sizes[:, 0] > 254)
    assert found.size_accuracy > 0.9
    assert found.majority_accuracy == pytest.approx(0.5, abs=0.02)
    assert found.tells


@pytest.mark.parametrize("count", [300, 20_000])
@pytest.mark.parametrize("num_classes", [2, 10, 1000])
@pytest.mark.parametrize("rank", [1, 2])
def test_size_that_has_nothing_to_do_with_the_class_does_not(rank, num_classes, count):
    labels = np.random.default_rng(1).integers(0, num_classes, count)
    found = measured(drawn(count, 500, rank=rank), labels)
    assert found.size_accuracy < found.majority_accuracy + 0.03
    assert not found.tells


def test_the_figure_is_that_of_the_share_that_size_decides():
    """A third of the examples have the class of their size, the others any of ten: 1/3 + 2/3 · 1/10 are right."""
    draw = np.random.default_rng(2)
    kind = draw.integers(0, 10, 50_000)
    sizes = np.stack([20 + 10 * kind, 40 + draw.integers(0, 2, 50_000)], axis=1)
    labels = np.where(draw.random(50_000) < 1 / 3, kind, draw.integers(0, 10, 50_000))
    found = measured(sizes, labels)
    assert found.size_accuracy == pytest.approx(1 / 3 + 2 / 30, abs=0.01)
    assert found.size_accuracy_high - found.size_accuracy_low == pytest.approx(
        2 * 1.96 * math.sqrt(0.4 * 0.6 / 50_000), rel=0.02
    )


@pytest.mark.parametrize("sides", [(3, 1), (1, 3)], ids=["by height", "by width"])
def test_an_aspect_tells_where_the_area_does_not(sides):
    """All areas are near 128², as after `area:128`."""
    ratio = np.exp(np.random.default_rng(3).normal(0, 0.5, 5000))
    sizes = np.stack([128 * np.sqrt(ratio), 128 / np.sqrt(ratio)], axis=1).round().astype(np.int32)
    found = measured(sizes[:, :: 1 if sides[0] > 1 else -1], (ratio > 1.2).astype(int) + (ratio > 2))
    assert found.size_accuracy > 0.93


def test_few_areas_leave_their_bins_to_the_aspects():
    """All areas share one of the 64 bins, so the twenty shapes are told apart by 64 bins of aspects, not by 8."""
    height = 2 ** np.random.default_rng(4).integers(0, 20, 4096)
    sizes = np.stack([height, 2**20 // height], axis=1)
    assert measured(sizes, np.log2(height).astype(int) % 2).size_accuracy == 1


def test_equal_sizes_tell_no_more_than_the_commonest_class():
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    found = measured(np.full((1000, 2), 32), labels)
    assert found.size_accuracy == found.majority_accuracy == 0.5
    assert not found.tells


def test_one_example_a_class_cannot_be_guessed():
    found = measured(drawn(1000, 500), np.arange(1000))
    assert found.size_accuracy == 0
    assert found.majority_accuracy == 1 / 1000
    assert not found.tells


def test_a_hundred_thousand_classes():
    labels = np.random.default_rng(5).integers(0, 100_000, 50_000)
    labels[:25_000] = 99_999
    sizes = np.where(labels[:, None] == 99_999, 40, drawn(50_000, 30))
    found = measured(sizes, labels)
    assert found.majority_accuracy == pytest.approx(0.5, abs=0.001)
    assert found.size_accuracy == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("labels", [[0] * 9, [3] * 9, [1]])
def test_one_class_has_no_figure(labels):
    assert size_and_class(drawn(len(labels), 99), np.array(labels)) is None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_data_has_a_figure_and_always_the_same(data):
    count, rank = data.draw(st.integers(2, 60)), data.draw(st.integers(1, 2))
    sides = st.lists(st.integers(1, 10**6), min_size=rank, max_size=rank)
    sizes = np.array(data.draw(st.lists(sides, min_size=count, max_size=count)))
    labels = np.array(data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)))
    groups = np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    for of_group in (None, groups):
        found = size_and_class(sizes, labels, groups=of_group)
        assert (found is None) == (len(set(labels.tolist())) < 2)
        if found is not None:
            assert 0 <= found.size_accuracy_low <= found.size_accuracy <= found.size_accuracy_high <= 1
            assert found == size_and_class(sizes, labels, groups=of_group)


def copies(groups: int, each: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes, labels and groups of groups of copies, whose size says nothing about a new group."""
    group = np.repeat(np.arange(groups), each)
    labels = np.random.default_rng(6).integers(0, 10, groups)
    return drawn(groups, 2000, rank=1)[group], labels[group], group


def test_copies_tell_nothing_if_they_are_known_as_a_group():
    sizes, labels, group = copies(groups=200, each=40)
    assert measured(sizes, labels).tells
    assert not measured(sizes, labels, groups=group).tells


def test_the_interval_counts_groups():
    """All examples of a group are right or wrong together, as if each group were one example."""
    group = np.repeat(np.arange(1000), 30)
    labels = (np.random.default_rng(7).random(1000) < 0.3).astype(int)[group]
    sizes = np.full((len(group), 2), 9)
    found = measured(sizes, labels, groups=group)
    alone = wilson_interval(found.size_accuracy, 1000.0)
    assert (found.size_accuracy_low, found.size_accuracy_high) == pytest.approx(alone, abs=1e-3)


def test_fourteen_million_examples_are_drawn_from():
    count = 14_000_000
    sizes, labels = np.full((count, 1), 64, np.int32), np.zeros(count, np.int32)
    labels[::3] = 1
    sizes[::3] = 65
    found = measured(sizes, labels)
    assert (found.size_accuracy, round(found.majority_accuracy, 3)) == (1, 0.667)
    assert found.size_accuracy_high - found.size_accuracy_low < 5 / MOST_EXAMPLES


def test_size_has_to_tell_beyond_chance_and_by_enough():
    assert not SizeAndClass(0.6, 0.52, 0.9, majority_accuracy=0.5).tells
    assert SizeAndClass(0.6, 0.53, 0.9, majority_accuracy=0.5).tells


@given(st.integers(1, 1000), st.data())
def test_the_interval_of_a_share_is_that_of_scipy(examples, data):
    hits = data.draw(st.integers(0, examples))
    theirs = binomtest(hits, examples).proportion_ci(method="wilson")
    assert wilson_interval(hits / examples, float(examples)) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_groups_are_those_by_which_a_split_is_taken_out():
    names = [f"a/{group}_{frame}.png" for group in range(40) for frame in range(3)]
    pattern = r"(\w+/\w+)_\w+\.\w+$"
    groups = groups_of(names, pattern)
    assert groups.tolist() == np.repeat(np.arange(40), 3).tolist()
    splits = np.array(carved(names, ["test"], seed=0, group_pattern=pattern))
    assert all(len(set(splits[groups == group])) == 1 for group in range(40))
    assert groups_of(["x", "a/1_2.png", "x"], pattern).tolist() == [0, 1, 0]
    with pytest.raises(UserError, match="no regular expression"):
        groups_of(names, "(")


def opened(**fields: str) -> tuple[Dataset, mnist.Config]:
    config = mnist.get_config()
    for name, value in fields.items():
        setattr(config.data, name, value)
    config.data.augment.scale = (0.2, 5.0)
    return open_dataset(config, "train", smallest_input=8, training=True), config


def test_digits_are_told_by_the_size_they_have_before_random_changes():
    found = size_and_class_of(*opened())
    assert found is not None
    assert found.majority_accuracy == pytest.approx(0.113, abs=5e-4)
    assert found.size_accuracy == pytest.approx(0.237, abs=5e-3)
    assert found.tells


def test_digits_of_one_size_are_not():
    data, config = opened(resize="square:20")
    found = size_and_class_of(data, config)
    assert found is not None
    assert found.size_accuracy == pytest.approx(found.majority_accuracy, abs=1e-9)
    (line,) = size_lines(found, config)
    assert line.startswith("size alone tells the class of 11.3% of the examples")


def test_the_groups_of_the_config_are_taken():
    """All names begin alike, so all digits are one group, which leaves nothing to learn from."""
    data, config = opened(group_pattern="^(.)")
    found = size_and_class_of(data, config)
    assert found is not None
    assert found.size_accuracy_high - found.size_accuracy_low > 0.1


def test_a_warning_names_the_leak_and_where_steps_are_of_one_bucket_the_way_out():
    tells = SizeAndClass(0.24, 0.23, 0.25, majority_accuracy=0.11)
    config = mnist.get_config()
    line, warning = size_lines(tells, config)
    assert line == (
        "size alone tells the class of 24.0% of the examples (95% interval 23.0% to 25.0%); "
        "the commonest class has 11.0%"
    )
    assert "A net may learn the size in place of the content" in warning
    assert "stratified" not in warning
    config.schedule.kind = "bucketed"
    assert "use schedule.kind=stratified" in size_lines(tells, config)[1]
    assert size_lines(None, config) == []
    assert EXAMPLES_PER_BIN > 1
