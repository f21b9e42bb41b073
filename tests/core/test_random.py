"""Draws that belong to an example: uniform, independent, and the same wherever they are asked for."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.core.random import random_bits, shuffled_order, uniform

MANY = np.arange(100_000)
SEEDS, EPOCHS, STREAMS = st.integers(0, 2**31 - 1), st.integers(0, 10**6), st.text(max_size=8)


def test_the_numbers_stay_what_they_were():
    """A change here changes every run and every resume."""
    bits = random_bits(3, 5, np.arange(4), stream="golden")
    assert bits.tolist() == [0x76397C5F83403D84, 0x831EBF7812ECFB7C, 0x38C0DAD271084346, 0x0B7F2D7142E57927]
    numbers = uniform(3, 5, np.arange(4), stream="golden")
    assert numbers.tolist() == [0.46181466419079775, 0.5121879261159171, 0.2216927303097984, 0.04490932479065701]
    assert shuffled_order(3, 5, 8, stream="golden").tolist() == [3, 2, 6, 5, 0, 1, 7, 4]


@pytest.mark.parametrize(("seed", "epoch", "stream"), [(0, 0, "a"), (1, 0, "rotate"), (2**31 - 1, 999, "examples")])
def test_numbers_are_uniform(seed, epoch, stream):
    numbers = uniform(seed, epoch, MANY, stream=stream)
    assert numbers.dtype == np.float64
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / len(MANY))
    assert abs(numbers.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / len(MANY))
    counts = np.histogram(numbers, bins=100, range=(0, 1))[0]
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert 99 - 5 * np.sqrt(2 * 99) < chi_squared < 99 + 5 * np.sqrt(2 * 99)
    assert len(np.unique(numbers)) == len(MANY)


def test_every_bit_is_set_half_of_the_time():
    bits = random_bits(0, 0, MANY, stream="a")
    share = [((bits >> np.uint64(place)) & np.uint64(1)).mean() for place in range(64)]
    assert np.abs(np.array(share) - 0.5).max() < 5 * 0.5 / np.sqrt(len(MANY))


def test_neighbours_are_independent():
    """Neighbouring examples, epochs, seeds and streams."""
    here = uniform(0, 0, MANY, stream="scale_x")
    others = [
        np.roll(here, 1),
        np.roll(here, 2),
        uniform(0, 1, MANY, stream="scale_x"),
        uniform(1, 0, MANY, stream="scale_x"),
        uniform(0, 0, MANY, stream="scale_y"),
    ]
    for other in others:
        assert abs(np.corrcoef(here, other)[0, 1]) < 5 / np.sqrt(len(MANY))


def test_seed_epoch_and_stream_each_count_and_do_not_mix():
    numbers = {}
    for seed, epoch, stream in itertools.product((0, 1, 2), (0, 1, 2), ("a", "b", "ab")):
        for number in uniform(seed, epoch, np.arange(50), stream=stream).tolist():
            assert number not in numbers, ((seed, epoch, stream), numbers[number])
            numbers[number] = (seed, epoch, stream)


@given(SEEDS, EPOCHS, STREAMS, st.lists(st.integers(0, 2**40), min_size=1, max_size=5))
def test_a_number_depends_on_its_example_alone(seed, epoch, stream, index):
    together = uniform(seed, epoch, np.array(index), stream=stream)
    alone = [uniform(seed, epoch, np.array([example]), stream=stream)[0] for example in index]
    assert together.tolist() == alone
    assert uniform(seed, epoch, np.array(index[::-1]), stream=stream).tolist() == alone[::-1]


@given(SEEDS, EPOCHS, st.integers(0, 300))
def test_shuffled_order_is_a_permutation(seed, epoch, count):
    order = shuffled_order(seed, epoch, count, stream="examples")
    assert sorted(order.tolist()) == list(range(count))
    assert (order == shuffled_order(seed, epoch, count, stream="examples")).all()


def test_every_permutation_comes_up_equally_often():
    orders = [tuple(shuffled_order(0, epoch, 4, stream="examples").tolist()) for epoch in range(4800)]
    counts = [orders.count(order) for order in itertools.permutations(range(4))]
    assert sum(counts) == 4800
    assert min(counts) > 200 - 5 * np.sqrt(200)
    assert max(counts) < 200 + 5 * np.sqrt(200)


def test_orders_differ_by_seed_epoch_and_stream():
    orders = {
        tuple(shuffled_order(seed, epoch, 100, stream=stream).tolist())
        for seed, epoch, stream in itertools.product((0, 1), (0, 1), ("examples", "programs"))
    }
    assert len(orders) == 8
    assert tuple(range(100)) not in orders
