"""Decoding of signals (WAV, FLAC and whatever libsndfile reads) to float32 values in [-1, 1], and of packed frames.

Lengths come from the headers alone. The mean of a signal's channels makes one channel of several.
"""

import io
import os

import numpy as np
import soundfile
from jaxtyping import Float, Float32, UInt8

from fcn_jax.data.bad_examples import BadExampleError

SUFFIXES = frozenset({".wav", ".wave", ".flac"})
TO_THE_END = 0xFFFFFFFF
"""Length in the header of a WAV file whose writer could not go back to state the true length."""
MOST_SAMPLES_A_BYTE = 65536 / 8
"""Most samples per byte that any format packs: a FLAC frame holds at most 65,535 samples and has more than 8 bytes."""


def read_signal_header(file: io.BufferedReader | io.BytesIO, *, max_values: int) -> tuple[int, int, int]:
    """Return (length, samples a second, channels) from the header of a file.

    Args:
        max_values: largest number of values, all channels together.

    Raises:
        BadExampleError: the file is truncated, not a signal, or too long.
    """
    with _opened(file, max_values=max_values) as sound:
        return sound.frames, sound.samplerate, sound.channels


def decode_signal(encoded: bytes, *, channels: int, max_values: int) -> Float32[np.ndarray, "t c"]:
    """Return the values of an encoded signal.

    Args:
        channels: 1 (the mean of its channels), or the number of its channels.
        max_values: largest number of values, all channels together.

    Raises:
        BadExampleError: it is damaged, not a signal, too long, or has another number of channels.
    """
    with _opened(io.BytesIO(encoded), max_values=max_values) as sound:
        try:
            values = sound.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise BadExampleError(error.error_string.rstrip(".")) from error
    return with_channels(values, channels)


def _opened(file: io.BufferedReader | io.BytesIO, *, max_values: int) -> soundfile.SoundFile:
    """Open a signal, and check that its header is plausible and its file as long as the header says."""
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
    if sound.frames > MOST_SAMPLES_A_BYTE * end:
        raise BadExampleError(f"its header says {sound.frames:,} samples, more than its {end:,} bytes can hold")
    if sound.frames * sound.channels > max_values:
        raise BadExampleError(
            f"it has {sound.frames:,} samples of {sound.channels} channels, more than "
            f"config.data.max_megapixels={max_values / 1e6:g} allows"
        )
    return sound


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
