"""Policies and erasing: sizes stay, draws belong to examples, strengths are those that the papers say."""

import numpy as np
import pytest

from fcn_jax.config_data import AugmentConfig
from fcn_jax.data.random_changes import Motion
from fcn_jax.data.random_operations import NAMES, OPERATIONS, THREE, Erasing, Policy

RNG = np.random.default_rng(0)
EXAMPLES = np.arange(6000)


def image_of(channels: int, size=(13, 22)) -> np.ndarray:
    return RNG.integers(20, 200, (*size, channels)).astype(np.uint8)


def policy(seed: int = 0, **fields) -> Policy:
    return Policy(AugmentConfig(**fields), seed=seed, background=7)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("share", [-1, 1])
def test_an_operation_keeps_size_and_type_and_at_no_strength_the_image(name, channels, share):
    image, (_, trivial, rand, has_sign) = image_of(channels), OPERATIONS[name]
    for largest in (trivial, rand):
        strength = largest * (share if has_sign else abs(share))
        changed = policy(policy="trivial").apply(image, np.array([[NAMES.index(name), strength]], float))
        assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
        is_grey_saturation = name == "saturation" and channels == 1
        assert np.array_equal(changed, image) == (name == "identity" or is_grey_saturation)
    if name not in ("autocontrast", "equalize"):
        unchanged = policy(policy="trivial").apply(image, np.array([[NAMES.index(name), 0.0]]))
        np.testing.assert_array_equal(unchanged, image)


@pytest.mark.parametrize("fields", [{"policy": "trivial"}, {"policy": "rand", "operations": 3, "magnitude": 5.0}])
def test_draws_belong_to_seed_epoch_and_example(fields):
    whole, order = policy(**fields).draw(4, EXAMPLES), RNG.permutation(6000)
    np.testing.assert_array_equal(policy(**fields).draw(4, order), whole[order])
    assert not np.array_equal(policy(**fields).draw(5, EXAMPLES), whole)
    assert not np.array_equal(policy(1, **fields).draw(4, EXAMPLES), whole)


def test_trivial_augment_draws_one_operation_of_any_strength():
    drawn = policy(policy="trivial").draw(0, EXAMPLES)
    assert drawn.shape == (6000, 1, 2)
    numbers, counts = np.unique(drawn[:, 0, 0], return_counts=True)
    assert list(numbers) == list(range(len(OPERATIONS)))
    assert counts.min() > 0.75 * 6000 / len(OPERATIONS)
    degrees = drawn[drawn[:, 0, 0] == NAMES.index("rotate"), 0, 1]
    assert (degrees.min() < -120, degrees.max() > 120, np.abs(degrees).max() <= 135) == (True, True, True)
    levels = drawn[drawn[:, 0, 0] == NAMES.index("solarize"), 0, 1]
    assert 0 <= levels.min() < 20 < 230 < levels.max() <= 256


def test_rand_augment_draws_some_operations_of_one_strength():
    drawn = policy(policy="rand", operations=3, magnitude=5.0).draw(0, EXAMPLES)
    assert drawn.shape == (6000, 3, 2)
    for turn in range(3):
        degrees = drawn[drawn[:, turn, 0] == NAMES.index("rotate"), turn, 1]
        assert set(np.unique(degrees)) == {-15.0, 15.0}
    assert (drawn[:, 0, 0] == drawn[:, 1, 0]).mean() < 0.15


def test_noise_on_the_magnitude_is_normal_and_stays_within_the_bounds():
    drawn = policy(policy="rand", operations=1, magnitude=6.0, magnitude_noise=0.5).draw(0, EXAMPLES)
    degrees = np.abs(drawn[drawn[:, 0, 0] == NAMES.index("rotate"), 0, 1])
    assert degrees.mean() == pytest.approx(18, abs=0.3)
    assert degrees.std() == pytest.approx(1.5, rel=0.15)
    wild = policy(policy="rand", magnitude=9.0, magnitude_noise=10.0).draw(0, EXAMPLES)
    assert np.abs(wild[wild[..., 0] == NAMES.index("rotate")][:, 1]).max() == 30


@pytest.mark.parametrize("channels", [1, 3])
def test_three_augment_makes_an_image_grey_solarised_or_blurred(channels):
    three = policy(policy="three")
    drawn = three.draw(0, EXAMPLES)
    assert drawn.shape == (6000, 1, 2)
    numbers, counts = np.unique(drawn[:, 0, 0], return_counts=True)
    assert [NAMES[int(number)] for number in numbers] == list(THREE)
    assert counts.min() > 1800
    radii = drawn[drawn[:, 0, 0] == NAMES.index("blur"), 0, 1]
    assert (0.1 <= radii.min() < 0.15, 1.95 < radii.max() <= 2) == (True, True)
    image = image_of(channels)
    changed = {name: three.apply(image, np.array([[NAMES.index(name), THREE[name][2]]], float)) for name in THREE}
    assert all((each.shape, each.dtype) == (image.shape, np.uint8) for each in changed.values())
    assert (changed["grey"] == changed["grey"][..., :1]).all()
    np.testing.assert_array_equal(changed["solarize at half"], np.where(image < 128, image, 255 - image))
    assert changed["blur"].std() < image.std() / 2


@pytest.mark.parametrize("channels", [1, 3])
def test_erasing_covers_one_box_and_nothing_else(channels):
    erasing, size = Erasing(AugmentConfig(erase=0.3), seed=0), (40, 60)
    boxes, image = erasing.draw(2, EXAMPLES), image_of(channels, size)
    happens = boxes[:, 0] > 0
    assert happens.mean() == pytest.approx(0.3, abs=0.02)
    assert erasing.apply(image, boxes[~happens][0]) is image
    for box in boxes[happens][:200]:
        erased = erasing.apply(image, box)
        assert erased.shape == image.shape
        changed = np.argwhere((erased != image).any(-1))
        (top, left), (bottom, right) = changed.min(0), changed.max(0) + 1
        assert 0.01 < (bottom - top) * (right - left) / 2400 < 0.36
        inside = (erased != image)[top:bottom, left:right].any(-1).mean()
        assert inside > 0.95
        np.testing.assert_array_equal(erased, erasing.apply(image, box))


def test_an_image_can_stand_on_its_head():
    motion = Motion(AugmentConfig(flip_vertical=True), seed=0, background=0)
    matrices, image = motion.draw(0, EXAMPLES), image_of(3)
    flipped = matrices[:, 4] < 0
    assert flipped.mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(motion.apply(image, matrices[flipped][0]), image[::-1])
    np.testing.assert_array_equal(motion.apply(image, matrices[~flipped][0]), image)
    both = Motion(AugmentConfig(flip_vertical=True, flip=True), seed=0, background=0)
    matrices = both.draw(0, EXAMPLES)
    turned = (matrices[:, 0] < 0) & (matrices[:, 4] < 0)
    assert turned.mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(both.apply(image, matrices[turned][0]), image[::-1, ::-1])
