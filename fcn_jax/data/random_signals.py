"""Random changes of a signal that keep its length: gain, noise, shift, and masks of time and channels.

Each draw is a pure function of (seed, epoch, example).
"""

import math

import numpy as np
from jaxtyping import Float, Int

from fcn_jax.config_data import AugmentConfig
from fcn_jax.core.random import random_bits, uniform

OF_SIGNALS = ("gain", "noise", "shift", "time_mask", "channel_mask")
"""The fields of `data.augment` that change a signal here; the masks are those of SpecAugment (arXiv:1904.08779)."""


class SignalChanges:
    """The random changes of a signal.

    Args:
        config: the largest changes.
    """

    def __init__(self, config: AugmentConfig, *, seed: int):
        self._config, self._seed = config, seed

    @property
    def is_identity(self) -> bool:
        return not any(getattr(self._config, name) for name in OF_SIGNALS)

    def draw(self, epoch: int, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 8"]:
        """Draw for every example.

        Returns:
            [factor, noise / root mean square, shift in samples, share and place of the masked time, share and place of
            the masked channels, seed of the noise]; a place is a share of the room that a mask leaves.
        """
        c = self._config
        streams = ("gain", "noise", "signal shift", "time share", "time place", "channel share", "channel place")
        gain, noise, shift, time, time_place, channel, channel_place = (
            uniform(self._seed, epoch, index, stream=name) for name in streams
        )
        bits = (random_bits(self._seed, epoch, index, stream="noise bits") >> np.uint64(32)).astype(float)
        factor = 10 ** ((2 * gain - 1) * c.gain / 20)
        moved = np.rint((2 * shift - 1) * c.shift)
        masks = [time * c.time_mask, time_place, channel * c.channel_mask, channel_place]
        return np.stack([factor, noise * c.noise, moved, *masks, bits], axis=1)

    def apply(self, signal: Float[np.ndarray, "t c"], drawn: Float[np.ndarray, " 8"]) -> Float[np.ndarray, "t c"]:
        """Change one signal by what was drawn for it; samples that move in or are masked are 0."""
        factor, noise, shift, time, time_place, channel, channel_place, bits = drawn.tolist()
        changed = _shifted(signal, int(shift)) * np.float32(factor)
        if noise:
            strength = noise * math.sqrt(float(np.mean(np.square(changed, dtype=np.float64))))
            changed = changed + (strength * _normal(int(bits), changed.size)).reshape(changed.shape)
        changed = changed.astype(signal.dtype)
        length, channels = changed.shape
        changed[_box(length, time, time_place)] = 0
        changed[:, _box(channels, channel, channel_place)] = 0
        return changed


def _shifted(signal: Float[np.ndarray, "t c"], shift: int) -> Float[np.ndarray, "t c"]:
    """Return a signal that is moved to later samples by `shift`, or to earlier ones if it is negative."""
    moved, length = np.zeros_like(signal), len(signal)
    if abs(shift) < length:
        moved[max(0, shift) : length + min(0, shift)] = signal[max(0, -shift) : length - max(0, shift)]
    return moved


def _box(side: int, share: float, place: float) -> slice:
    """Return a part of a side."""
    width = round(share * side)
    start = round(place * (side - width))
    return slice(start, start + width)


def _normal(seed: int, number: int) -> Float[np.ndarray, " n"]:
    """Return numbers of the normal distribution, by Box and Muller's transform: the same on every NumPy version."""
    index = np.arange(number)
    radius, angle = (uniform(seed, 0, index, stream=name) for name in ("radius", "angle"))
    return np.sqrt(-2 * np.log(1 - radius)) * np.cos(2 * np.pi * angle)
