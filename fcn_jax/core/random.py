"""Random numbers that belong to an example, not to a machine: pure functions of (seed, epoch, example, stream).

They are the same on any host and any NumPy version, in whatever order they are asked for. So a resumed run, or one on
other machines, sees what the first run saw. All functions take many examples at once.
Source: the SplitMix64 finaliser, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

import zlib

import numpy as np

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_CHUNK = 1 << 15
"""Number of examples mixed at a time, so that their bits stay in the processor's cache."""


def random_bits(seed: int, epoch: int, index: np.ndarray, *, stream: str) -> np.ndarray:
    """Return 64 random bits for every example. No two examples have the same bits.

    Args:
        index: [n] numbers of the examples.
        stream: a name for the use of the numbers; different streams are independent.

    Returns:
        [n] uint64.
    """
    key = np.zeros(1, np.uint64)
    for word in (seed, epoch, zlib.crc32(stream.encode())):
        key = _mix(key + np.uint64(word & 0xFFFFFFFFFFFFFFFF) + _GOLDEN_GAMMA)
    bits = np.empty(len(index), np.uint64)
    for start in range(0, len(index), _CHUNK):
        part = np.asarray(index[start : start + _CHUNK]).astype(np.uint64)
        bits[start : start + _CHUNK] = _mix(key + (part + np.uint64(1)) * _GOLDEN_GAMMA)
    return bits


def uniform(seed: int, epoch: int, index: np.ndarray, *, stream: str) -> np.ndarray:
    """Return one number in [0, 1) for every example, [n] float64."""
    return (random_bits(seed, epoch, index, stream=stream) >> np.uint64(11)) * 2.0**-53


def shuffled_order(seed: int, epoch: int, count: int, *, stream: str) -> np.ndarray:
    """Return a random permutation of 0 ... `count` - 1, [count]."""
    return np.argsort(random_bits(seed, epoch, np.arange(count), stream=stream))


def _mix(bits: np.ndarray) -> np.ndarray:
    """Apply the SplitMix64 finaliser to an array of uint64. It is a bijection; products wrap around at 2**64."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
