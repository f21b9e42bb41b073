"""The visible part of an example is drawn within bounds, never below the smallest, a pure function of its key."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.config_data import AugmentConfig
from fcn_jax.data.transforms import View, Views

SIZES = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=30).map(np.array)
AUGMENTS = st.builds(
    lambda low, high, aspect, crop: AugmentConfig(scale=(low, max(low, high)), aspect=aspect, crop=crop),
    st.floats(0.1, 3),
    st.floats(0.1, 3),
    st.sampled_from([0.0, 0.3, 2.0]),
    st.sampled_from([0.0, 0.2, 0.9]),
)
EPOCHS = st.integers(0, 1000)
MANY = np.full((20_000, 2), 1000)


def make_views(sizes, augment=None, *, scale=1.0, smallest=8, seed=0) -> Views:
    return Views(sizes, scale=lambda _: scale, augment=augment, seed=seed, smallest=smallest)


@given(SIZES, AUGMENTS, EPOCHS, st.floats(0.1, 4), st.integers(1, 20))
def test_no_draw_goes_below_the_smallest_nor_beyond_the_largest(sizes, augment, epoch, scale, smallest):
    views = make_views(sizes, augment, scale=scale, smallest=smallest)
    drawn = views.sizes(epoch)
    assert (drawn >= smallest).all()
    assert (drawn <= views.largest([epoch])).all()
    view = views.draw(epoch, np.arange(len(sizes)))
    assert (view.cropped >= np.minimum(sizes, smallest)).all()
    assert (view.start >= 0).all()
    assert (view.start + view.cropped <= view.scaled).all()


@given(SIZES, st.integers(1, 20))
def test_without_changes_the_size_is_the_widened_one(sizes, smallest):
    views = make_views(sizes, smallest=smallest)
    assert not views.is_random
    assert (views.sizes(3) == np.maximum(sizes, smallest)).all()
    assert (views.undrawn(1.0) == views.sizes(0)).all()
    image = np.zeros((*sizes[0].tolist(), 3), np.uint8)
    assert views.draw(0, np.array([0])).apply(image, 0) is image


@given(SIZES, AUGMENTS, EPOCHS, st.integers(0, 2**31 - 1), st.randoms(use_true_random=False))
def test_an_example_is_seen_alike_in_any_company(sizes, augment, epoch, seed, random):
    views = make_views(sizes, augment, seed=seed)
    some = [random.randrange(len(sizes)) for _ in range(5)]
    together, whole = views.draw(epoch, np.array(some)), views.draw(epoch, np.arange(len(sizes)))
    assert (together.cropped == whole.cropped[some]).all()
    assert (together.start == whole.start[some]).all()
    assert (views.sizes(epoch)[some] == np.maximum(together.cropped, 8)).all()


@given(SIZES, AUGMENTS, EPOCHS)
def test_the_image_has_the_size_that_was_drawn(sizes, augment, epoch):
    view = make_views(sizes, augment).draw(epoch, np.arange(min(3, len(sizes))))
    for number, (height, width) in enumerate(sizes[:3].tolist()):
        seen = view.apply(np.full((height, width, 3), 9, np.uint8), number)
        assert seen.shape == (*view.cropped[number].tolist(), 3)
        assert (seen == 9).all()


def test_scale_is_log_uniform_and_keeps_the_aspect():
    drawn = make_views(MANY, AugmentConfig(scale=(0.25, 4.0))).sizes(0) / 1000
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert 0.25 <= drawn.min() < 0.252
    assert 3.97 < drawn.max() <= 4
    assert abs(np.log(drawn[:, 0]).mean()) < 0.03
    assert abs((drawn[:, 0] < 1).mean() - 0.5) < 0.02


def test_aspect_changes_at_equal_area():
    drawn = make_views(MANY, AugmentConfig(aspect=0.5)).sizes(0)
    assert np.abs(np.sqrt(drawn.prod(1)) - 1000).max() <= 1
    ratio = drawn[:, 0] / drawn[:, 1]
    assert 1.49 < ratio.max() <= 1.503
    assert 1 / 1.503 <= ratio.min() < 1 / 1.49


def test_a_crop_keeps_its_share_and_lies_anywhere():
    view = make_views(MANY, AugmentConfig(crop=0.3)).draw(0, np.arange(len(MANY)))
    assert 700 <= view.cropped.min() < 702
    assert view.cropped.max() >= 999
    room = 1000 - view.cropped
    place = view.start[room > 50] / room[room > 50]
    assert abs(place.mean() - 0.5) < 0.01
    assert place.min() < 0.01
    assert place.max() > 0.99


@pytest.mark.parametrize("change", [{"scale": (0.5, 1.0)}, {"aspect": 0.3}, {"crop": 0.3}])
def test_epochs_and_seeds_differ(change):
    looks = {
        make_views(MANY[:50], AugmentConfig(**change), seed=seed).sizes(epoch).tobytes()
        for seed in (0, 1)
        for epoch in (0, 1, 2)
    }
    assert len(looks) == 6


def test_a_crop_of_an_enlarged_example_is_not_the_example():
    image = np.arange(400, dtype=np.uint8).reshape(20, 20, 1)
    view = View(scaled=np.array([[40, 40]]), start=np.array([[10, 10]]), cropped=np.array([[20, 20]]))
    middle = view.apply(image, 0)
    assert middle.shape == image.shape
    np.testing.assert_allclose(middle.mean(), image[5:15, 5:15].mean(), atol=2)
    assert np.ptp(middle[0].astype(int)) < 12


def test_signals_have_a_scale_and_a_crop():
    views = make_views(np.full((1000, 1), 100), AugmentConfig(scale=(0.5, 2.0), crop=0.2))
    drawn = views.sizes(0)
    assert drawn.shape == (1000, 1)
    assert len(np.unique(drawn)) > 50
    signal = np.linspace(0, 1, 100, dtype=np.float32)[:, None]
    view = views.draw(0, np.arange(1000))
    assert view.apply(signal, 5).shape == (view.cropped[5, 0], 1)


def test_a_crop_shows_the_part_that_was_drawn():
    views = make_views(np.full((20, 2), 40), AugmentConfig(crop=0.5))
    view, image = views.draw(0, np.arange(20)), np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for number in range(20):
        top, left = view.start[number]
        height, width = view.cropped[number]
        assert (view.apply(image, number) == image[top : top + height, left : left + width]).all()
    assert view.start.any()
