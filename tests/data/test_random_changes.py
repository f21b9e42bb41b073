"""Augmentation keeps the size, moves exactly, colours as stated, and belongs to the example."""

import math

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fcn_jax.config_data import AugmentConfig
from fcn_jax.data.pictures import to_pillow
from fcn_jax.data.random_changes import LUMA, Colour, Motion

MANY = np.arange(4000)
IDENTITY = np.array([1.0, 0, 0, 0, 1, 0])


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, shape, np.uint8)


def motion(*, seed: int = 0, background: int = 0, **largest) -> Motion:
    return Motion(AugmentConfig(**largest), seed=seed, background=background)


IMAGES = st.builds(noise, st.integers(1, 24), st.integers(1, 24), st.sampled_from([1, 3]), seed=st.integers(0, 9))


@given(IMAGES, st.integers(0, 255))
def test_identity_changes_nothing(image, background):
    nothing = motion(background=background)
    assert nothing.is_identity
    matrices = nothing.draw(3, np.arange(5))
    assert (matrices == IDENTITY).all()
    assert (nothing.apply(image, matrices[2]) == image).all()


@pytest.mark.parametrize("change", [{"rotate": 1.0}, {"shear": 1.0}, {"stretch": 0.1}, {"shift": 1.0}, {"flip": True}])
def test_each_change_alone_is_a_change(change):
    some = motion(**change)
    assert not some.is_identity
    assert (some.draw(0, MANY) != IDENTITY).any()


@given(IMAGES, st.integers(0, 10**6))
def test_size_type_and_channels_stay(image, index):
    some = motion(rotate=180.0, shear=40.0, stretch=0.9, shift=9.0, flip=True, background=7)
    before = image.copy()
    moved = some.apply(image, some.draw(0, np.array([index]))[0])
    assert moved.shape == image.shape
    assert moved.dtype == np.uint8
    assert (image == before).all()


@given(IMAGES, st.integers(-6, 6), st.integers(-6, 6), st.integers(0, 255))
def test_a_shift_by_whole_pixels_is_exact(image, shift_x, shift_y, background):
    height, width, _ = image.shape
    y, x = np.meshgrid(np.arange(height) + shift_y, np.arange(width) + shift_x, indexing="ij")
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    expected = np.full_like(image, background)
    expected[inside] = image[y[inside], x[inside]]
    moved = motion(background=background).apply(image, np.array([1.0, 0, shift_x, 0, 1, shift_y]))
    assert (moved == expected).all()


@given(IMAGES)
def test_a_flip_mirrors_left_and_right_exactly(image):
    flip = motion(flip=True)
    moved = [flip.apply(image, matrix) for matrix in flip.draw(0, np.arange(20))]
    mirrored = [(one == image[:, ::-1]).all() for one in moved]
    assert all(is_mirrored or (one == image).all() for one, is_mirrored in zip(moved, mirrored, strict=True))
    assert any(mirrored)


def test_half_of_the_images_are_flipped():
    flipped = motion(flip=True).draw(0, MANY)[:, 0] == -1
    assert abs(flipped.mean() - 0.5) < 5 * 0.5 / math.sqrt(len(MANY))


@given(IMAGES)
def test_half_a_turn_turns_both_axes(image):
    moved = motion().apply(image, np.array([-1.0, 0, 0, 0, -1, 0]))
    assert (moved == image[::-1, ::-1]).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 24), (31, 17), (12, 29)])
def test_a_rotation_agrees_with_scipy(size, channels):
    """scipy counts from pixel centres, in (y, x); Pillow from corners, and it cuts fractions off: one grey level."""
    rotate = motion(rotate=40.0, shear=20.0, stretch=0.3, shift=2.0, background=0)
    smooth = scipy.ndimage.gaussian_filter(noise(*size, channels).astype(float), (2, 2, 0))
    image = smooth.round().astype(np.uint8)
    middle = (np.array(size) - 1) / 2
    for matrix in rotate.draw(0, np.arange(8)):
        a, b, shift_x, d, e, shift_y = matrix
        linear = np.array([[e, d], [b, a]])
        offset = middle - linear @ middle + [shift_y, shift_x]
        moved = rotate.apply(image, matrix).astype(float)
        grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1) @ linear.T + offset
        edge = np.array(size) - 1
        inside = ((grid > 0.01) & (grid < edge - 0.01)).all(-1)
        outside = ((grid < -0.51) | (grid > edge + 0.51)).any(-1)
        assert inside.sum() > 40
        for channel in range(channels):
            expected = scipy.ndimage.affine_transform(image[..., channel].astype(float), linear, offset, order=1)
            assert np.abs(moved[..., channel] - expected)[inside].max() <= 1.01
        assert (moved[outside] == 0).all()


@given(st.integers(0, 255), st.sampled_from([1, 3]))
def test_background_comes_in_from_outside(background, channels):
    some = motion(rotate=45.0, stretch=0.5, shift=5.0, background=background)
    image = np.full((15, 11, channels), background, np.uint8)
    for matrix in some.draw(0, np.arange(10)):
        assert np.abs(some.apply(image, matrix).astype(int) - background).max() <= 1
    far = some.apply(noise(15, 11, channels), np.array([1.0, 0, 99, 0, 1, 0]))
    assert (far == background).all()


def test_a_rotation_turns_up_to_its_angle_and_keeps_lengths():
    a, b, shift_x, d, e, shift_y = motion(rotate=10.0).draw(0, MANY).T
    angle = np.degrees(np.arctan2(b, a))
    np.testing.assert_allclose([a, b], [e, -d], atol=1e-15)
    np.testing.assert_allclose(a * a + b * b, 1)
    assert (shift_x == 0).all()
    assert (shift_y == 0).all()
    assert 9.9 < angle.max() <= 10
    assert -10 <= angle.min() < -9.9


def test_a_shear_is_horizontal_and_up_to_its_angle():
    a, b, _, d, e, _ = motion(shear=10.0).draw(0, MANY).T
    assert (a == 1).all()
    assert (d == 0).all()
    assert (e == 1).all()
    assert 9.9 < np.degrees(np.arctan(b)).max() <= 10
    assert -10 <= np.degrees(np.arctan(b)).min() < -9.9


def test_the_axes_stretch_by_themselves():
    a, b, _, d, e, _ = motion(stretch=0.2).draw(0, MANY).T
    assert (b == 0).all()
    assert (d == 0).all()
    for scale in (1 / a, 1 / e):
        assert 1.199 < scale.max() <= 1.2
        assert 0.8 <= scale.min() < 0.801
    assert abs(np.corrcoef(a, e)[0, 1]) < 5 / math.sqrt(len(MANY))


def test_a_shift_goes_up_to_its_pixels_both_ways():
    a, b, shift_x, d, e, shift_y = motion(shift=3.0).draw(0, MANY).T
    assert (np.stack([a, b, d, e]) == [[1], [0], [0], [1]]).all()
    for shift in (shift_x, shift_y):
        assert 2.99 < shift.max() <= 3
        assert -3 <= shift.min() < -2.99
    assert abs(np.corrcoef(shift_x, shift_y)[0, 1]) < 5 / math.sqrt(len(MANY))


def test_changes_are_drawn_independently():
    a, _, shift_x, d, e, shift_y = motion(rotate=1.0, shift=3.0, flip=True).draw(0, MANY).T
    angle = np.arctan2(-d, e)
    for one, other in ((angle, shift_x), (angle, shift_y), (np.sign(a), shift_x), (np.sign(a), angle)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(len(MANY))


@given(st.integers(0, 2**31 - 1), st.integers(0, 1000), st.lists(st.integers(0, 60_000), min_size=1, max_size=9))
def test_an_example_looks_the_same_in_any_company(seed, epoch, index):
    some = motion(rotate=10.0, shear=10.0, stretch=0.1, shift=2.0, flip=True, seed=seed)
    together = some.draw(epoch, np.array(index))
    backwards = some.draw(epoch, np.array([-1, *index[::-1]]))[:0:-1]
    alone = some.draw(epoch, np.array(index[:1]))
    assert (together == backwards).all()
    assert (together[:1] == alone).all()


def test_an_example_looks_different_in_every_epoch_and_run():
    image = noise(20, 20, 1)
    looks = {
        some.apply(image, matrix).tobytes()
        for seed in (0, 1)
        for some in [motion(rotate=10.0, shift=2.0, seed=seed)]
        for epoch in (0, 1, 2)
        for matrix in some.draw(epoch, np.arange(4))
    }
    assert len(looks) == 2 * 3 * 4


def colour(*, seed: int = 0, **largest) -> Colour:
    return Colour(AugmentConfig(**largest), seed=seed)


@given(IMAGES)
def test_no_change_of_colour_changes_nothing(image):
    nothing = colour()
    assert nothing.is_identity
    assert (nothing.apply(image, nothing.draw(0, np.arange(3))[1]) == image).all()


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_colour_alone_is_a_change_up_to_its_share(name):
    some = colour(**{name: 0.4})
    matrices = some.draw(0, MANY)
    assert not some.is_identity
    grey = matrices[:, 0, :3].sum(1)
    if name == "saturation":
        np.testing.assert_allclose(grey, 1)
        strength = matrices[:, 0, 0] - matrices[:, 1, 0]
    else:
        strength = grey
    assert 1.39 < strength.max() <= 1.4
    assert 0.6 <= strength.min() < 0.61
    middle = 127.5 * grey + matrices[:, 0, 3]
    assert np.allclose(middle, 127.5) == (name != "brightness")


@given(IMAGES, st.integers(0, 10**6))
def test_colours_are_what_the_formula_says(image, index):
    some = colour(brightness=0.3, contrast=0.5, saturation=0.8)
    matrix = some.draw(2, np.array([index]))[0]
    contrast = 1 - matrix[0, 3] / 127.5
    assert 0.5 <= contrast <= 1.5
    rgb = np.broadcast_to(image, (*image.shape[:2], 3)).astype(float)
    expected = np.clip(rgb @ matrix[:, :3].T + matrix[:, 3], 0, 255)
    changed = some.apply(image, matrix)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert np.abs(changed - expected[..., : image.shape[-1]]).max() <= 1


def test_without_saturation_a_picture_is_its_luma():
    matrix = np.concatenate([np.tile(LUMA, (3, 1)), np.zeros((3, 1))], axis=1)
    image = noise(9, 7, 3)
    grey = colour().apply(image, matrix)
    assert np.ptp(grey.astype(int), axis=-1).max() <= 1
    assert np.abs(grey[..., 0] - image @ LUMA).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (7, 10), (8, 3)])
def test_a_mirrored_image_has_its_columns_in_the_other_order(size, channels):
    image = noise(*size, channels)
    flips = motion(flip=True).draw(0, np.arange(20))
    mirrored = [motion(flip=True).apply(image, matrix) for matrix in flips]
    assert {matrix[0] for matrix in flips} == {-1.0, 1.0}
    for matrix, found in zip(flips, mirrored, strict=True):
        assert (found == (image if matrix[0] > 0 else image[:, ::-1])).all()
    # Pillow's bilinear interpolation gives the same.
    height, width = size
    affine = (-1.0, 0.0, float(width), 0.0, 1.0, 0.0)
    moved = to_pillow(image).transform((width, height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    assert (np.asarray(moved).reshape(image.shape) == image[:, ::-1]).all()
