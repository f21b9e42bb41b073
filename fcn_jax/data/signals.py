"""Signals: WAV files to float32 values in [-1, 1], their lengths from the headers alone; and packed frames.

WAV as PCM of 8, 16, 24 or 32 bits, or as floats of 32 or 64. Several channels become one by their mean. A WAV file is
not compressed, so its length bounds what it decodes to, and no limit is needed against bombs.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8

from fcn_jax.data.bad_examples import BadExampleError

SUFFIXES = frozenset({".wav", ".wave"})
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
TO_THE_END = 0xFFFFFFFF
"""Bytes of the data, as a program writes them that cannot go back and say how many it wrote."""


@dataclass(frozen=True)
class WavHeader:
    encoding: int
    bits: int
    channels: int
    rate: int
    """Samples a second."""
    length: int
    """Samples of each channel."""
    start: int
    """Of the first sample, bytes into the file."""


def read_wav_size(path: str | Path) -> tuple[int, int, int]:
    """(length, rate, channels) from the header.

    Raises:
        BadExampleError: the file is not there, or no WAV file that can be decoded.
    """
    try:
        with open(path, "rb") as file:
            header = _read_header(file)
    except OSError as error:
        raise BadExampleError(error.strerror or str(error)) from error
    return header.length, header.rate, header.channels


def decode_wav(encoded: bytes, *, channels: int) -> Float32[np.ndarray, "t c"]:
    """Values of an encoded signal.

    Args:
        channels: 1 (the mean of what there is), or as many as there are.

    Raises:
        BadExampleError: it is damaged, no WAV file, or has another number of channels.
    """
    header = _read_header(io.BytesIO(encoded))
    count = header.length * header.channels
    values = _values(encoded[header.start : header.start + count * header.bits // 8], header)
    return with_channels(values.reshape(header.length, header.channels), channels)


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


def _values(samples: bytes, header: WavHeader) -> np.ndarray:
    """Samples as floats, full scale at 1."""
    if header.encoding == FLOAT:
        return np.frombuffer(samples, f"<f{header.bits // 8}")
    if header.bits == 8:
        return (np.frombuffer(samples, np.uint8).astype(np.float32) - 128) / 128
    if header.bits == 24:
        padded = np.zeros((len(samples) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(samples, np.uint8).reshape(-1, 3)
        return padded.view("<i4")[:, 0] / 2.0**31
    return np.frombuffer(samples, f"<i{header.bits // 8}") / 2.0 ** (header.bits - 1)


def _read_header(file: io.BufferedIOBase) -> WavHeader:
    """The `fmt ` chunk, and where the samples stand, whatever stands between."""
    riff = file.read(12)
    if len(riff) < 12 or riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        raise BadExampleError("it is no WAV file")
    layout = None
    while len(chunk := file.read(8)) == 8:
        name, num_bytes = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"data" and layout is not None:
            return _header(layout, num_bytes, start=file.tell(), end=file.seek(0, io.SEEK_END))
        if name == b"fmt ":
            layout = file.read(num_bytes)
            file.seek(num_bytes % 2, io.SEEK_CUR)
        else:
            file.seek(num_bytes + num_bytes % 2, io.SEEK_CUR)
    raise BadExampleError("it is truncated: it ends before its samples begin")


def _header(layout: bytes, num_bytes: int, *, start: int, end: int) -> WavHeader:
    if len(layout) < 16:
        raise BadExampleError("it is damaged: its fmt chunk is too short")
    encoding, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", layout)
    if encoding == EXTENSIBLE and len(layout) >= 26:
        encoding = int.from_bytes(layout[24:26], "little")
    if (encoding, bits) not in {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}:
        raise BadExampleError(f"it holds {bits} bits of encoding {encoding}, but only PCM and floats can be read")
    if not channels or frame_bytes != channels * bits // 8:
        raise BadExampleError(f"it is damaged: {channels} channels of {bits} bits in frames of {frame_bytes} bytes")
    if num_bytes == TO_THE_END:
        num_bytes = end - start
    if num_bytes > end - start:
        raise BadExampleError(f"it is truncated: {end - start:,} of {num_bytes:,} bytes of samples are there")
    if num_bytes < frame_bytes:
        raise BadExampleError("it has no samples")
    return WavHeader(encoding, bits, channels, rate, num_bytes // frame_bytes, start)


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
