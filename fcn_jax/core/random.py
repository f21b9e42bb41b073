"""Random numbers that belong to an example, not to a machine: pure functions of (seed, epoch, example, stream).

The same on any host, in any order, from any position, on any NumPy version. Vectorised over examples.
Source: the SplitMix64 finaliser, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

import zlib

import numpy as np

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_CHUNK = 1 << 15
"""Examples whose bits are mixed while they are in the cache."""


def random_bits(seed: int, epoch: int, index: np.ndarray, *, stream: str) -> np.ndarray:
    """64 random bits for every example, which no two examples share.

    Args:
        index: [n] examples.
        stream: what the numbers are for; different streams are independent.

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
    """[n] float64 in [0, 1), one for every example."""
    return (random_bits(seed, epoch, index, stream=stream) >> np.uint64(11)) * 2.0**-53


def shuffled_order(seed: int, epoch: int, count: int, *, stream: str) -> np.ndarray:
    """A permutation of `count` examples."""
    return np.argsort(random_bits(seed, epoch, np.arange(count), stream=stream))


def _mix(bits: np.ndarray) -> np.ndarray:
    """The finaliser on an array of uint64, a bijection; products wrap around."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
