"""The optimal buckets in one dimension, by dynamic programming over the distinct lengths.

For signals, whose plans are therefore exact, and for choosing the lines on which the search in two dimensions works.
What always holds: of all plans with at most k canvases, one of which covers the longest, none pads less; integers
throughout, so no rounding decides.
"""

import numpy as np


def line_path(lengths: np.ndarray, count: np.ndarray, max_buckets: int) -> list[np.ndarray]:
    """The optimal plans of 1, 2, ... buckets in one dimension, until no bucket more saves anything.

    With C the cumulative count, the least cost of the first j lengths is min over i of cost_i + length_j (C_j - C_i):
    the lower hull of the points (C_i, cost_i), met by lines of ascending slope. The hull also bars i > j by itself.

    Args:
        lengths: [n] distinct, ascending.
        count: [n] how many sizes have each.
        max_buckets: the largest plan wanted.

    Returns:
        For each number of buckets the canvas lengths, ascending; n log n work per bucket.
    """
    total = np.append(0, np.cumsum(count.astype(np.int64)))
    least = np.append(0, lengths * total[1:])
    choices, paths = [], [lengths[-1:]]
    while len(paths) < max_buckets:
        hull, steepness = _lower_hull(total, least)
        choice = hull[np.searchsorted(steepness, lengths, side="right")]
        shorter = np.append(0, least[choice] + lengths * (total[1:] - total[choice]))
        if shorter[-1] >= least[-1]:
            break
        choices.append(choice)
        least = shorter
        ends = [len(lengths)]
        for choice in reversed(choices):
            ends.append(int(choice[ends[-1] - 1]))
        paths.append(lengths[np.array(ends[::-1]) - 1])
    return paths


def _lower_hull(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the lower hull's corners (x ascending), and its slopes, rounded up. Exact: Python's integers."""
    hull, slopes = [0], []
    xs, ys = x.tolist(), y.tolist()
    for index in range(1, len(xs)):
        while True:
            last = hull[-1]
            slope = -((ys[last] - ys[index]) // (xs[index] - xs[last]))
            if not slopes or slope > slopes[-1]:
                break
            hull.pop()
            slopes.pop()
        hull.append(index)
        slopes.append(slope)
    return np.array(hull), np.array(slopes)
