"""Balanced draws: how often classes and examples are drawn, and that blocks hold what was drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.core.stages import training_stages
from fcn_jax.data.balance import BalancedDraws
from fcn_jax.data.dataset import open_dataset
from tests.data.made import with_data

COUNTS = st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any)


def labels_of(counts: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


@given(COUNTS, st.floats(0, 1), st.integers(0, 50))
def test_an_epoch_has_as_many_draws_as_examples_and_every_class_its_share(counts, balance, epoch):
    labels = labels_of(counts)
    drawn = BalancedDraws(labels, balance=balance, seed=1).examples(epoch)
    assert len(drawn) == len(labels)
    frequency = np.array([count for count in counts if count])
    shares = frequency ** (1 - balance) / (frequency ** (1 - balance)).sum()
    found = np.bincount(labels[drawn], minlength=len(counts))[np.array(counts) > 0]
    assert (found >= 1).all()
    few = (shares * len(labels) < 1).sum()  # These are rounded up to one draw, which others give up.
    assert np.all(np.abs(found - shares * len(labels)) <= 1 + few)


@given(COUNTS, st.floats(0, 1), st.integers(1, 40))
def test_all_examples_of_a_class_are_drawn_equally_often_over_the_epochs(counts, balance, epochs):
    labels = labels_of(counts)
    draws = BalancedDraws(labels, balance=balance, seed=3)
    times = np.bincount(np.concatenate([draws.examples(epoch) for epoch in range(epochs)]), minlength=len(labels))
    for label in np.unique(labels):
        of_class = times[labels == label]
        assert of_class.max() - of_class.min() <= 1


def test_an_epoch_is_a_pure_function_of_seed_and_epoch():
    labels = labels_of([3, 40, 7])
    one, other = (BalancedDraws(labels, balance=0.7, seed=5) for _ in range(2))
    expected = [one.examples(epoch) for epoch in range(4)]
    for epoch in (3, 0, 2, 1):
        np.testing.assert_array_equal(other.examples(epoch), expected[epoch])
    assert not np.array_equal(expected[0], expected[1])
    assert not np.array_equal(expected[0], BalancedDraws(labels, balance=0.7, seed=6).examples(0))


def test_without_balance_every_example_is_drawn_once():
    drawn = BalancedDraws(labels_of([3, 40, 7]), balance=0.0, seed=0).examples(2)
    np.testing.assert_array_equal(np.sort(drawn), np.arange(50))


def test_the_line_names_the_extremes():
    line = BalancedDraws(labels_of([2, 38]), balance=1.0, seed=0).describe(("rare", "common"))
    assert line == (
        "balanced draws: an epoch draws each example of rare (2 examples) 10 times, and each of common (38 examples) "
        "0.526 times"
    )


@pytest.fixture
def balanced():
    config = with_data(balance=1.0, train_split="train[:300]")
    config.data.augment.scale = (0.9, 1.2)
    config.data.augment.rotate = 20.0
    return config


def test_the_blocks_of_an_epoch_hold_its_draws_at_their_sizes(balanced, capsys):
    dataset = open_dataset(balanced, "train[:300]", smallest_input=8, training=True)
    assert "balanced draws: an epoch draws each example of " in capsys.readouterr().err
    stages = training_stages(dataset.views, [range(3)], balanced.schedule, seed=0)
    schedule, plan = stages[0].schedule, stages[0].plan
    for epoch in (0, 2):
        labels, seen = [], set()
        for step in range(schedule.steps_per_epoch):
            program, rows = schedule.step(epoch, step)
            for planned, index in zip(schedule.step_plan.programs[program].blocks, rows, strict=True):
                block = dataset.block(index, plan.shapes[planned.bucket], epoch=epoch)
                real = block.weight > 0
                np.testing.assert_array_equal(block.size[real], dataset.views.sizes(epoch)[block.index[real]])
                examples = dataset.views.examples(epoch, block.index[real])
                np.testing.assert_array_equal(block.label[real], dataset.labels[examples])
                labels += block.label[real].tolist()
                seen |= {image.tobytes() for image in block.image[real]}
        counts = np.bincount(labels, minlength=10)
        assert counts.sum() == 300
        assert counts.max() - counts.min() <= 1
        assert len(seen) == 300  # Two draws of one example are changed in different ways.


def test_evaluation_sees_every_example_once(balanced):
    dataset = open_dataset(balanced, "train[:300]", smallest_input=8, training=False)
    np.testing.assert_array_equal(dataset.views.examples(1, np.arange(300)), np.arange(300))


def test_a_config_without_balance_draws_as_before():
    config = with_data(train_split="train[:300]")
    dataset = open_dataset(config, "train[:300]", smallest_input=8, training=True)
    assert not dataset.views.is_random
