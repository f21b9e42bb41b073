"""Sizes become buckets: the few canvas shapes to which all examples are padded.

XLA compiles one program per shape, so a data set of a thousand sizes has to become a handful of canvases. But every
pixel of padding costs time, so `plan_buckets` finds the canvases with the fewest padded pixels.
What always holds: the largest canvas covers every size, since it is the largest height by the largest width, both
rounded up; sides are multiples of `multiple_of`; more buckets never pad more; the order of the sizes changes nothing;
and a size with count 2 means the same as that size given twice.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fcn_jax.config import UserError
from fcn_jax.core import bucket_search

# The most distinct heights, widths (both TABLE_SIDES) or lengths that are kept. If a data set has more, an evenly
# spread selection of them is kept, and every other side is rounded up to the next one kept.
TABLE_SIDES = 2048
TABLE_LENGTHS = 65536


@dataclass(frozen=True)
class BucketPlan:
    """The buckets of a data set.

    Attributes:
        shapes: canvas shapes, (height, width) or (length,), ascending by area; equal areas ascend by shape.
    """

    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self):
        if not self.shapes:
            raise UserError("a plan has 0 buckets; it needs at least 1: plan it with plan_buckets")
        for shape in self.shapes:
            if len(shape) not in (1, 2) or len(shape) != len(self.shapes[0]):
                raise UserError(
                    f"bucket shape {list(shape)} beside {list(self.shapes[0])}: all shapes of a plan are "
                    "[height, width], or all are [length]; correct the shape"
                )
            if min(shape) < 1:
                raise UserError(f"bucket shape {list(shape)}: sides are at least 1; correct the shape")
        if list(self.shapes) != sorted(set(self.shapes), key=_by_area):
            raise UserError(
                f"bucket shapes {list(self.shapes)}: shapes are distinct and ascend by area, ties by shape; "
                "sort them and remove repeated ones"
            )

    @property
    def areas(self) -> np.ndarray:
        """Positions of each canvas, padding included, [k]."""
        return np.array([math.prod(shape) for shape in self.shapes], np.int64)

    def covers(self) -> np.ndarray:
        """Return a [k, k] bool array: [i, j] is true if bucket j's canvas holds bucket i's. Each holds itself."""
        shapes = np.array(self.shapes)
        return np.asarray((shapes[:, None] <= shapes[None, :]).all(axis=-1))

    def assign(self, sizes: np.ndarray) -> np.ndarray:
        """Return the bucket of each size: the smallest whose canvas holds it; if areas are equal, the first.

        Args:
            sizes: [n, r] true sizes.

        Returns:
            [n] indices into `shapes`.

        Raises:
            UserError: no bucket holds one of the sizes, or the sizes have another rank than the plan.
        """
        sizes = _checked_sizes(sizes)
        rank = len(self.shapes[0])
        if sizes.shape[1] != rank:
            raise UserError(f"sizes of rank {sizes.shape[1]} for a plan of rank {rank}; plan buckets for these sizes")
        lines = [np.unique(sides) for sides in zip(*self.shapes, strict=True)]
        owner = np.full([len(line) + 1 for line in lines], -1, np.intp)
        for index, shape in reversed(list(enumerate(self.shapes))):
            ends = [int(np.searchsorted(line, side)) + 1 for line, side in zip(lines, shape, strict=True)]
            owner[tuple(map(slice, ends))] = index
        bucket = owner[tuple(np.searchsorted(line, sizes[:, axis]) for axis, line in enumerate(lines))]
        if bucket.min() < 0:
            row = int(np.argmin(bucket))
            raise UserError(
                f"size {sizes[row].tolist()} (row {row}) fits in no bucket, the largest being "
                f"{list(self.shapes[-1])}: every size needs a canvas at least as large on each side; plan again with "
                "these sizes, or resize the example"
            )
        return bucket

    def fill(self, sizes: np.ndarray, counts: np.ndarray | None = None) -> float:
        """Return the plan fill, true pixels / padded pixels, for sizes [n, r] that occur `counts` [n] times each."""
        sizes = _checked_sizes(sizes)
        counts = _checked_counts(counts, len(sizes))
        return _num_pixels(sizes, counts) / int((self.areas[self.assign(sizes)] * counts).sum())

    def to_json(self) -> str:
        """Return the plan as the JSON text that `from_json` reads."""
        return json.dumps({"buckets": [{"shape": list(shape)} for shape in self.shapes]})

    @classmethod
    def from_json(cls, text: str) -> "BucketPlan":
        """Read `{"buckets": [{"shape": [H, W]}, ...]}`, in any order; further keys are ignored."""
        layout = '{"buckets": [{"shape": [height, width]}, ...]}'
        try:
            shapes = [tuple(bucket["shape"]) for bucket in json.loads(text)["buckets"]]
        except (ValueError, RecursionError) as error:
            raise UserError(f"the plan is not JSON ({error}); it should read {layout}; write it anew") from None
        except (KeyError, TypeError) as error:
            raise UserError(
                f"the plan lacks a part ({type(error).__name__}: {error}); it should read {layout}; write it anew"
            ) from None
        for shape in shapes:
            if any(type(side) is not int for side in shape):
                raise UserError(f"bucket shape {list(shape)}: sides are whole numbers; correct the shape")
        return cls(tuple(sorted(shapes, key=_by_area)))


def plan_of(shapes: Iterable[tuple[int, ...]]) -> BucketPlan:
    """Return the plan of these canvases, in the order that a plan has; repeated ones count once."""
    return BucketPlan(tuple(sorted(set(shapes), key=_by_area)))


def plan_buckets(
    sizes: np.ndarray, max_buckets: int, *, multiple_of: int = 1, counts: np.ndarray | None = None
) -> BucketPlan:
    """Return the plan of at most `max_buckets` buckets that pads least: exact in one dimension, by search in two.

    Args:
        sizes: [n, r] true sizes, r = 1 or 2.
        max_buckets: the largest number of buckets; one of them covers every size.
        multiple_of: sides of canvases are multiples of this.
        counts: [n] how often each size occurs; None: once.

    Raises:
        UserError: sizes are empty or have another rank; a side, a count, max_buckets or multiple_of is below 1.
    """
    *_, (plan, _) = _plans(sizes, max_buckets, multiple_of=multiple_of, counts=counts)
    return plan


def fill_curve(
    sizes: np.ndarray, max_buckets: int, *, multiple_of: int = 1, counts: np.ndarray | None = None
) -> list[tuple[int, float]]:
    """Return (k, plan fill) for k = 1, 2, ... buckets, up to `max_buckets` or until one more bucket saves nothing.

    The curve takes little more time than its largest plan alone. Arguments and errors are those of `plan_buckets`.
    """
    plans = _plans(sizes, max_buckets, multiple_of=multiple_of, counts=counts)
    return [(len(plan.shapes), fill) for plan, fill in plans]


def _plans(sizes, max_buckets, *, multiple_of, counts) -> Iterator[tuple[BucketPlan, float]]:
    sizes = _checked_sizes(sizes)
    counts = None if counts is None else _checked_counts(counts, len(sizes))
    for name, value in (("max_buckets", max_buckets), ("multiple_of", multiple_of)):
        if value < 1:
            raise UserError(f"{name} is {value}; it has to be at least 1: set {name} to 1 or more")
    table = size_counts(sizes, multiple_of=multiple_of, counts=counts)
    num_pixels = _num_pixels(sizes, counts)
    for canvases in bucket_search.plans(table, max_buckets):
        yield plan_of(canvas[-sizes.shape[1] :] for canvas in canvases), num_pixels / table.cost(canvases)


def size_counts(
    sizes: np.ndarray, *, multiple_of: int = 1, counts: np.ndarray | None = None
) -> bucket_search.SizeCounts:
    """Count the sizes [n, r], rounded up to the multiple. A length becomes a width, with a height of 1."""
    most_sides = TABLE_SIDES if sizes.shape[1] == 2 else TABLE_LENGTHS
    lines, index = [np.ones(1, np.int64)], 0
    for column in sizes.T:
        sides = -(-column // multiple_of)
        distinct = np.unique(sides)
        if len(distinct) > most_sides:
            distinct = distinct[np.linspace(0, len(distinct) - 1, most_sides).round().astype(np.intp)]
        index = index * len(distinct) + np.searchsorted(distinct, sides)
        lines.append(distinct.astype(np.int64) * multiple_of)
    heights, widths = lines[-2:]
    cells = len(heights) * len(widths)
    count = np.bincount(index, counts, minlength=cells).reshape(len(heights), len(widths))
    total = len(sizes) if counts is None else int(counts.sum())
    if total * int(heights[-1]) * int(widths[-1]) >= 2**62:
        raise UserError(
            f"{total} sizes up to {sizes.max(axis=0).tolist()} need 2**62 padded positions or more, which is "
            "too many to count: correct the sizes or the counts"
        )
    return bucket_search.SizeCounts(heights, widths, count)


def _checked_sizes(sizes: np.ndarray) -> np.ndarray:
    sizes = np.asarray(sizes)
    if sizes.ndim != 2 or sizes.shape[1] not in (1, 2):
        raise UserError(
            f"sizes have shape {list(sizes.shape)}; they need shape [n, 2] (height, width) or [n, 1] (length): "
            "give one row per size"
        )
    if not len(sizes):
        raise UserError("sizes are empty; at least one is needed: check the data source")
    if not np.issubdtype(sizes.dtype, np.integer):
        raise UserError(f"sizes are {sizes.dtype}; they count pixels, in integers: round them")
    if sizes.min() < 1:
        row = int(np.argmax((sizes < 1).any(axis=1)))
        raise UserError(f"size {sizes[row].tolist()} (row {row}) has a side below 1; correct or leave out the example")
    return sizes


def _checked_counts(counts: np.ndarray | None, num_sizes: int) -> np.ndarray:
    if counts is None:
        return np.ones(num_sizes, np.int64)
    counts = np.asarray(counts)
    if counts.shape != (num_sizes,) or not np.issubdtype(counts.dtype, np.integer):
        raise UserError(
            f"counts are {counts.dtype} of shape {list(counts.shape)} for {num_sizes} sizes; "
            "one integer per size is needed: count each size"
        )
    if counts.min() < 1:
        row = int(np.argmin(counts))
        raise UserError(f"count {counts[row]} (row {row}) is below 1; leave out sizes that do not occur")
    return counts.astype(np.int64)


def _num_pixels(sizes: np.ndarray, counts: np.ndarray | None) -> int:
    pixels = sizes.prod(axis=1, dtype=np.int64)
    return int(pixels.sum() if counts is None else pixels @ counts)


def _by_area(shape: tuple[int, ...]) -> tuple:
    return math.prod(shape), shape
