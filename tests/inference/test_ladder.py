"""Canvases where no plan is made: they cover, they are few, and a bucket of the plan goes before."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.inference.classifier import RATIO, Ladder
from fcn_jax.inference.inputs import Recipe

RECIPE = Recipe(
    rank=2,
    channels=1,
    resize="none",
    decode="exact",
    scale=1.0,
    average_scales=(),
    flip="none",
    min_side=8,
    background=0,
    max_megapixels=1.0,
    sampling_rate=0,
    resamples=False,
    value_range=(),
    pixel_range="8bit",
    smallest_side=8,
    largest_side=None,
    is_masked=True,
)
SIDES = st.integers(8, 10**6)


@given(st.tuples(SIDES, SIDES), st.lists(st.tuples(SIDES, SIDES), max_size=3))
def test_a_canvas_covers_its_size_and_pads_little(size, buckets):
    canvas = Ladder(RECIPE, tuple(sorted(buckets, key=lambda shape: shape[0] * shape[1]))).canvas(size)
    assert all(side <= length for side, length in zip(size, canvas, strict=True))
    assert canvas in buckets or all(length < side * RATIO + 1 for side, length in zip(size, canvas, strict=True))


def test_many_sizes_have_few_canvases():
    ladder = Ladder(RECIPE, ())
    canvases = {ladder.canvas((height, width)) for height in range(8, 513) for width in range(8, 513, 8)}
    assert len(canvases) <= 20**2


def test_a_bucket_goes_before_where_it_pads_little():
    ladder = Ladder(RECIPE, ((20, 20), (100, 100)))
    assert ladder.canvas((18, 19)) == (20, 20)
    assert ladder.canvas((8, 9)) == (8, 10)
    assert ladder.canvas((99, 98)) == (100, 100)


def test_a_net_of_one_size_has_one_canvas():
    assert Ladder(replace(RECIPE, largest_side=23), ((20, 20),)).canvas((16, 20)) == (23, 23)


def test_a_net_that_sees_padding_is_given_none():
    assert Ladder(replace(RECIPE, is_masked=False), ((20, 20),)).canvas((19, 20)) == (19, 20)
