"""Signals: WAV, FLAC and what else libsndfile reads, to float32 values in [-1, 1]; and packed frames.

Lengths come from the headers alone. Several channels become one by their mean.
"""

import io
import os

import numpy as np
import soundfile
from jaxtyping import Float, Float32, UInt8

from fcn_jax.data.bad_examples import BadExampleError

SUFFIXES = frozenset({".wav", ".wave", ".flac"})
TO_THE_END = 0xFFFFFFFF
"""Bytes of a WAV file, as a program writes them that cannot go back and say how many it wrote."""


def read_signal_header(path: str) -> tuple[int, int, int]:
    """(length, samples a second, channels).

    Raises:
        BadExampleError: the file is not there, truncated, or no signal.
    """
    try:
        with open(path, "rb") as file, _opened(file) as sound:
            return sound.frames, sound.samplerate, sound.channels
    except OSError as error:
        raise BadExampleError(error.strerror or str(error)) from error


def decode_signal(encoded: bytes, *, channels: int) -> Float32[np.ndarray, "t c"]:
    """Values of an encoded signal.

    Args:
        channels: 1 (the mean of what there is), or as many as there are.

    Raises:
        BadExampleError: it is damaged, no signal, or has another number of channels.
    """
    with _opened(io.BytesIO(encoded)) as sound:
        try:
            values = sound.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise BadExampleError(error.error_string.rstrip(".")) from error
    return with_channels(values, channels)


def _opened(file: io.BufferedReader | io.BytesIO) -> soundfile.SoundFile:
    """A signal whose header can be read, and whose file is as long as that says."""
    head = file.read(8)
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    stated = int.from_bytes(head[4:], "little")
    if head[:4] == b"RIFF" and stated != TO_THE_END and stated + 8 > end:
        raise BadExampleError(f"it is truncated: {end:,} of {stated + 8:,} bytes are there")
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        raise BadExampleError(f"it is no signal that libsndfile can read: {error.error_string.rstrip('.')}") from error
    if not sound.frames:
        raise BadExampleError("it has no samples")
    return sound


def with_channels(values: Float[np.ndarray, "*t_c"], channels: int) -> Float32[np.ndarray, "t d"]:
    """Values of a signal, [t] or [t, c], with that many channels: their mean, or as they are.

    Raises:
        BadExampleError: it has another number of channels, or values that are not finite.
    """
    values = values.reshape(len(values), -1)
    if channels not in (1, values.shape[1]):
        raise BadExampleError(f"it has {values.shape[1]} channels, but config.data.channels is {channels}")
    if channels < values.shape[1]:
        values = values.mean(1, keepdims=True)
    if not np.isfinite(values).all():
        raise BadExampleError("it has values that are not finite")
    return values.astype(np.float32)


def pack_frames(values: Float32[np.ndarray, "t c"]) -> bytes:
    """Values of six decimals, without loss: differences in time, in millionths, the low bytes of all first.

    A compressor finds in that two thirds of what it finds in the floats.
    """
    steps = np.diff(np.rint(values.astype(np.float64) * 1e6).astype("<i4"), axis=0, prepend=0)
    assert np.abs(steps).max() < 2**23, "it takes three bytes"
    planes = steps.astype("<i4").view(np.uint8).reshape(*values.shape, 4)[..., :3]
    packed = np.moveaxis(planes, -1, 0).tobytes()
    assert np.array_equal(unpack_frames(packed, channels=values.shape[1]), values), "it has six decimals"
    return packed


def unpack_frames(packed: bytes, *, channels: int) -> Float32[np.ndarray, "t c"]:
    """What `pack_frames` packed."""
    planes: UInt8[np.ndarray, "3 t c"] = np.frombuffer(packed, np.uint8).reshape(3, -1, channels)
    low, middle, high = planes.astype(np.int32)
    steps = low | middle << 8 | (high ^ 0x80) - 0x80 << 16
    return (steps.cumsum(0) / 1e6).astype(np.float32)
