"""Decoding of signals to float32 values in [-1, 1], and of packed frames.

Lengths come from the headers, wherever these tell them, and are always those that decoding gives. The mean of a
signal's channels makes one channel of several.
"""

import io
import math
from itertools import chain
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Float, Float32, Int, Num, UInt8

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.sound_files import FORMATS, Sound, format_of

SUFFIXES = frozenset(chain.from_iterable(FORMATS.values()))
Lengths = TypeVar("Lengths", int, Int[np.ndarray, "*n"])
INTEGER_STEPS = {
    "int8": (0, 2**7),
    "int16": (0, 2**15),
    "int32": (0, 2**31),
    "int64": (0, 2**15),
    "uint8": (128, 2**7),
}
"""{type of integers: (the value of silence, steps from there to 1)}; 64 bits stand for 16, as TFDS stores sound."""
LARGEST_FACTOR = 200_000
"""Largest number in the ratio of two sampling rates; the filter that resamples has 20 times as many values."""


def is_signal(head: bytes) -> bool:
    """Return whether a file is a signal by its first bytes, at least 16."""
    return format_of(head) is not None


def read_signal_header(file: io.BufferedIOBase, *, max_values: int) -> tuple[int, int, int]:
    """Return (length, samples a second, channels) of a signal.

    The length is that of the decoded signal. A file whose header cannot tell it is decoded: an MP3 without the tag
    that states it, a FLAC made as a stream, a compressed WAV.

    Args:
        max_values: largest number of values, all channels together.

    Raises:
        BadExampleError: the file is cut off, no signal, or too long.
    """
    with Sound(file, max_values=max_values) as sound:
        return sound.count(), sound.rate, sound.channels


def decode_signal(
    encoded: bytes, *, channels: int, max_values: int, sampling_rate: int | None = None, resamples: bool = False
) -> Float32[np.ndarray, "t c"]:
    """Return the values of an encoded signal.

    Args:
        channels: 1 (the mean of its channels), or the number of its channels.
        max_values: largest number of values, all channels together.
        sampling_rate: samples a second that the net takes; None: any.
        resamples: whether a signal of another rate is resampled.

    Raises:
        BadExampleError: it is damaged, not a signal, too long, or has another number of channels or another rate.
    """
    with Sound(io.BytesIO(encoded), max_values=max_values) as sound:
        if sampling_rate is None or sampling_rate == sound.rate:
            return with_channels(sound.read(), channels)
        if not resamples:
            raise BadExampleError(
                f"its sampling rate is {sound.rate:,} Hz, but the net takes {sampling_rate:,} Hz: resample it, or "
                f"train with --config.data.sampling_rate={sampling_rate}, which resamples every file"
            )
        # Resampling is linear, so the mean of the channels may be taken first, which is cheaper.
        return resampled(with_channels(sound.read(), channels), rate=sound.rate, wanted=sampling_rate)


def resampled(values: Float32[np.ndarray, "t c"], *, rate: int, wanted: int) -> Float32[np.ndarray, "u c"]:
    """Return a signal at another sampling rate; its tones below half the lower rate keep frequency and strength.

    Raises:
        BadExampleError: the rates have too small a common divisor.
    """
    from scipy.signal import resample_poly

    divisor = math.gcd(rate, wanted)
    up, down = wanted // divisor, rate // divisor
    if max(up, down) > LARGEST_FACTOR:
        raise BadExampleError(f"its sampling rate is {rate:,} Hz, which cannot be resampled to {wanted:,} Hz")
    return resample_poly(values, up, down, axis=0).astype(np.float32)


def resampled_length(length: Lengths, rate: Lengths, wanted: int) -> Lengths:
    """Return the length of a signal, or of each of some signals, at another sampling rate; 0 stays 0."""
    divisor: Any = np.gcd(rate, wanted)
    down = rate // divisor + (rate == 0)  # The rate of a file that could not be read is 0.
    longer = -(-length * (wanted // divisor) // down)
    return cast(Any, int(longer) if isinstance(length, int) else longer)


def told_scale(kind: str) -> str:
    """Say how `from_integers` scales values of a type; empty if the type is no integer."""
    if kind not in INTEGER_STEPS:
        return ""
    middle, steps = INTEGER_STEPS[kind]
    first = "taken as 16-bit sound and " if kind == "int64" else f"lowered by {middle} and " if middle else ""
    return f"{kind} values are {first}divided by {steps:,}"


def from_integers(values: Num[np.ndarray, "*t_c"]) -> Float32[np.ndarray, "*t_c"]:
    """Return the values of a signal of integers as floats in [-1, 1); values that are floats already stay as they are.

    Raises:
        BadExampleError: they are 64-bit integers, which must hold 16-bit sound, and one is beyond 16 bits.
    """
    kind = values.dtype.name
    if kind not in INTEGER_STEPS:
        return np.asarray(values, np.float32)
    middle, steps = INTEGER_STEPS[kind]
    if kind == "int64" and values.size and not -steps <= values.min() <= values.max() < steps:
        beyond = values.min() if values.min() < -steps else values.max()
        raise BadExampleError(f"it has the value {beyond:,}, but {kind} values are taken as 16-bit sound")
    return ((values.astype(np.float64) - middle) / steps).astype(np.float32)


def with_channels(values: Float[np.ndarray, "*t_c"], channels: int) -> Float32[np.ndarray, "t d"]:
    """Return the values of a signal, [t] or [t, c], with `channels` channels: their mean if 1, else as they are.

    Raises:
        BadExampleError: it has another number of channels, or values that are not finite.
    """
    values = values.reshape(len(values), -1)
    if channels not in (1, values.shape[1]):
        raise BadExampleError(f"its number of channels is {values.shape[1]}, but config.data.channels is {channels}")
    if channels < values.shape[1]:
        values = values.mean(1, keepdims=True)
    if not np.isfinite(values).all():
        raise BadExampleError("it has values that are not finite")
    return values.astype(np.float32)


def unpack_frames(packed: bytes, *, channels: int) -> Float32[np.ndarray, "t c"]:
    """Return the values that `pack_frames` packed."""
    planes: UInt8[np.ndarray, "3 t c"] = np.frombuffer(packed, np.uint8).reshape(3, -1, channels)
    low, middle, high = planes.astype(np.int32)
    steps = low | middle << 8 | (high ^ 0x80) - 0x80 << 16
    return (steps.cumsum(0) / 1e6).astype(np.float32)
