"""Near-duplicates: examples of a split that look nearly like one of train, so that a net may know them by heart.

The net's own features find the nearest examples of train. Then the values of both decide: the two are near-duplicates
if these correlate, after both are brought to one small size and one is moved a little over the other.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Num

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.dataset import Dataset
from fcn_jax.data.transforms import resample

NEAREST = 5
"""Examples of train that are looked at, for each example."""
CORRELATION = 0.95
"""Two examples are near-duplicates if their values correlate at least so much."""
SIDES = {1: (64,), 2: (24, 24)}
"""The size at which two examples are compared, by spatial rank."""
MOVES = 2
"""One is moved over the other by up to so many positions of this size, each way."""
ROWS = 1024
"""Examples whose neighbours are searched at a time."""


class Neighbours(NamedTuple):
    """Two near-duplicates."""

    in_split: int
    """Position of the example in its split."""
    in_train: int
    """Position of the other example in train."""
    correlation: float


def near_duplicates(
    dataset: Dataset, train: Dataset, features: Float[np.ndarray, "n c"], train_features: Float[np.ndarray, "m c"]
) -> list[Neighbours]:
    """Return, for every example of a split that has near-duplicates in train, the most alike, the most alike first.

    Args:
        features, train_features: features of all examples of both; NaN for one that cannot be read.
    """
    known, in_train = (np.flatnonzero(np.isfinite(values).all(1)) for values in (features, train_features))
    nearest = _nearest(features[known], train_features[in_train])
    thumbnails: dict[int, np.ndarray | None] = {}
    found = []
    for index, others in zip(known.tolist(), in_train[nearest].tolist(), strict=True):
        own, name = _thumbnail(dataset, index), dataset.source.name(index)
        pairs = []
        for other in others:
            if train.source.name(other) == name:
                continue  # It is in both splits, and no duplicate of itself.
            if other not in thumbnails:
                thumbnails[other] = _thumbnail(train, other)
            pairs.append((likeness(own, thumbnails[other]), other))
        most, other = max(pairs, default=(0.0, -1))
        if most >= CORRELATION:
            found.append(Neighbours(index, other, most))
    return sorted(found, key=lambda pair: -pair.correlation)


def _nearest(features: Float[np.ndarray, "n c"], others: Float[np.ndarray, "m c"]) -> Int[np.ndarray, "n nearest"]:
    """Return the places of the most similar rows of `others`, by the cosine of what differs from their mean."""
    mean = others.mean(0)
    own, theirs = (_unit(values - mean) for values in (features, others))
    number = min(NEAREST, len(others))
    search = jax.jit(lambda rows: jax.lax.top_k(rows @ jnp.asarray(theirs).T, number)[1])
    parts = [np.asarray(search(own[start : start + ROWS])) for start in range(0, len(own), ROWS)]
    return np.concatenate(parts)


def _unit(values: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _thumbnail(dataset: Dataset, index: int) -> Float[np.ndarray, "*spatial c"] | None:
    """Return the values of an example at a small size; None if it cannot be read."""
    try:
        example: Num[np.ndarray, "*spatial c"] = dataset.example(index)
    except BadExampleError:
        return None
    return resample(example, SIDES[dataset.rank]).astype(np.float32)


def likeness(a: Float[np.ndarray, "*spatial c"] | None, b: Float[np.ndarray, "*spatial c"] | None) -> float:
    """Return the largest correlation of the middle of `a` with a part of `b`, over all moves; 0 if one is missing."""
    if a is None or b is None:
        return 0.0
    middle = a[(slice(MOVES, -MOVES),) * (a.ndim - 1)]
    parts = np.lib.stride_tricks.sliding_window_view(b, middle.shape[:-1], axis=tuple(range(b.ndim - 1)))
    parts = np.moveaxis(parts, b.ndim - 1, -1).reshape(-1, middle.size)
    one, others = middle.ravel() - middle.mean(), parts - parts.mean(1, keepdims=True)
    norms = np.linalg.norm(one) * np.linalg.norm(others, axis=1)
    correlations = np.divide(others @ one, norms, out=np.zeros_like(norms), where=norms > 1e-6)
    return float(correlations.max())
