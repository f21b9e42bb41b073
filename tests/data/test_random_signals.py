"""Random changes of signals: what they change, by how much, and that draws belong to examples."""

import dataclasses

import numpy as np
import pytest

from configs import japanese_vowels, mnist
from fcn_jax.config import UserError
from fcn_jax.config_data import AugmentConfig
from fcn_jax.data.dataset import open_dataset
from fcn_jax.data.random_signals import OF_SIGNALS, SignalChanges

EXAMPLES = np.arange(4000)
RNG = np.random.default_rng(0)
SIGNAL = RNG.normal(0, 0.3, (500, 6)).astype(np.float32)


def changes(**largest) -> tuple[SignalChanges, np.ndarray]:
    made = SignalChanges(AugmentConfig(**largest), seed=0)
    return made, made.draw(3, EXAMPLES)


def test_draws_belong_to_seed_epoch_and_example():
    made, drawn = changes(gain=6.0, noise=0.1, shift=9.0, time_mask=0.2, channel_mask=0.5)
    order = RNG.permutation(4000)
    np.testing.assert_array_equal(made.draw(3, order), drawn[order])
    assert (made.draw(4, EXAMPLES) != drawn).any(axis=0).sum() == 8
    np.testing.assert_array_equal(made.apply(SIGNAL, drawn[7]), made.apply(SIGNAL, drawn[7]))
    assert not np.array_equal(made.apply(SIGNAL, drawn[7]), made.apply(SIGNAL, drawn[8]))


def test_gain_is_in_decibels_either_way():
    made, drawn = changes(gain=6.0)
    levels = 20 * np.log10(drawn[:, 0])
    assert (levels.min(), levels.max()) == (pytest.approx(-6, abs=0.05), pytest.approx(6, abs=0.05))
    np.testing.assert_allclose(made.apply(SIGNAL, drawn[0]), SIGNAL * drawn[0, 0], rtol=1e-6)


def test_noise_is_normal_and_relative_to_the_signal():
    made, drawn = changes(noise=0.5)
    added = made.apply(SIGNAL, drawn[0]).astype(float) - SIGNAL
    root = np.sqrt(np.mean(SIGNAL.astype(float) ** 2))
    assert added.std() == pytest.approx(drawn[0, 1] * root, rel=0.05)
    assert abs(added.mean()) < 0.1 * added.std()
    assert np.mean(added**4) / added.var() ** 2 == pytest.approx(3, abs=0.4)
    assert 0 <= drawn[:, 1].min() < 0.01 < 0.49 < drawn[:, 1].max() <= 0.5
    assert not made.apply(np.zeros_like(SIGNAL), drawn[0]).any()


def test_a_shift_fills_with_silence():
    made, drawn = changes(shift=4.0)
    assert set(drawn[:, 2]) == set(range(-4, 5))
    for row in drawn[:30]:
        shift, found = int(row[2]), made.apply(SIGNAL, row)
        expected = np.roll(SIGNAL, shift, axis=0)
        expected[:shift] = 0 if shift > 0 else expected[:shift]
        if shift < 0:
            expected[shift:] = 0
            expected[:shift] = SIGNAL[-shift:]
        np.testing.assert_array_equal(found, expected)
    short = SIGNAL[:2]
    assert not made.apply(short, drawn[np.argmax(drawn[:, 2] == 4)]).any()


@pytest.mark.parametrize(("field", "axis"), [("time_mask", 0), ("channel_mask", 1)])
def test_a_mask_is_one_piece_of_time_or_of_channels(field, axis):
    made, drawn = changes(**{field: 0.5})
    side, shares = SIGNAL.shape[axis], []
    for row in drawn[:300]:
        found = np.moveaxis(made.apply(SIGNAL, row), axis, 0)
        masked = np.flatnonzero(~found.any(axis=1))
        assert len(masked) == 0 or np.array_equal(masked, np.arange(masked[0], masked[-1] + 1))
        np.testing.assert_array_equal(np.delete(found, masked, 0), np.delete(np.moveaxis(SIGNAL, axis, 0), masked, 0))
        shares.append(len(masked) / side)
    assert max(shares) <= 0.5
    assert np.mean(shares) == pytest.approx(0.25, abs=0.05)


def test_a_run_on_signals_draws_them_and_images_refuse_them():
    config = japanese_vowels.get_config("tiny")
    config.data.augment = AugmentConfig(gain=6.0, noise=0.1, shift=2.0, time_mask=0.2, channel_mask=0.2)
    changed = open_dataset(config, config.data.train_split, smallest_input=1, training=True)
    plain = open_dataset(config, config.data.train_split, smallest_input=1, training=False)
    index = np.arange(4)
    first, same, other = (changed.block(index, (40,), epoch=epoch).image for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, plain.block(index, (40,), epoch=0).image)
    images = mnist.get_config("tiny")
    for name in OF_SIGNALS:
        if name != "shift":
            images.data.augment = dataclasses.replace(AugmentConfig(), **{name: 0.1})
            with pytest.raises(UserError, match=f"augment.{name} changes what only signals have"):
                open_dataset(images, images.data.train_split, smallest_input=1, training=True)
