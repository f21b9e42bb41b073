"""The search behind `plan_buckets`: which canvases cover all sizes with the fewest padded pixels.

In two dimensions this is a p-median problem over the grid of occurring heights × occurring widths: `search_path` adds
a bucket at a time and improves by swaps, whose gains are exact for every canvas of the grid at once. One dimension is
solved exactly (`line_path`). What always holds: one bucket covers everything; costs are those of the true sizes (a
coarser grid restricts the canvases, never the arithmetic); the plan of k buckets does not depend on how many more are
asked for and never costs more than that of k - 1; nothing is random.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Canvas = tuple[int, int]

# Up to so many canvases (heights x widths) all are considered: those in multiples of 8 up to 512 pixels, say.
WHOLE_GRID = 4096
# Larger tables are searched on a selection of lines, and each plan's sides then move to lines nearby. On COCO and
# ImageNet by the pixel this finds the fill of the whole grid to 0.0001, in a tenth of the time.
COARSE_LINES = 40
# How far a plan is grown before it is shrunk back, in buckets. Together these find what 200 random restarts find
# (ImageNet, short side 256, 16 buckets: fill 0.96886) in 1/40 of their time. Plans above 32 buckets are only swapped.
LOOKAHEAD = (1, 2, 4, 8)
LOOKAHEAD_BUCKETS = 32


@dataclass(frozen=True)
class Grid:
    """Canvases to choose from, and the sizes, each at the least line that holds it. Floats: exact below 2**53."""

    heights: np.ndarray  # [h] ascending
    widths: np.ndarray  # [w] ascending
    count: np.ndarray  # [h, w]

    @cached_property
    def area(self) -> np.ndarray:
        return np.multiply.outer(self.heights.astype(np.float64), self.widths)

    def boxes(self, plan: list[Canvas]) -> tuple[np.ndarray, list[tuple[int, tuple[slice, slice]]]]:
        """All areas; and index and covered cells of the plan's canvases, whose sides are lines, the largest first."""
        heights, widths = np.array(plan).T
        areas = heights * widths.astype(np.float64)
        order = np.argsort(-areas, kind="stable")
        rows = (np.searchsorted(self.heights, heights[order]) + 1).tolist()
        columns = (np.searchsorted(self.widths, widths[order]) + 1).tolist()
        boxes = [(slice(row), slice(column)) for row, column in zip(rows, columns, strict=True)]
        return areas, list(zip(order.tolist(), boxes, strict=True))

    def canvas(self, flat_index: int) -> Canvas:
        row, column = divmod(flat_index, len(self.widths))
        return int(self.heights[row]), int(self.widths[column])


class SizeCounts:
    """Counted sizes, from which the grid over any selection of lines follows without another look at the sizes."""

    def __init__(self, heights: np.ndarray, widths: np.ndarray, count: np.ndarray):
        self.heights, self.widths, self.count = heights, widths, count
        self._below = np.zeros((len(heights) + 1, len(widths) + 1))
        np.cumsum(count, axis=0, out=self._below[1:, 1:])
        np.cumsum(self._below[1:, 1:], axis=1, out=self._below[1:, 1:])

    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """The lines to search: all, or those that round each side up at the least cost in pixels."""
        if self.count.size <= WHOLE_GRID:
            return self.heights, self.widths
        heights = line_path(self.heights, self.count @ self.widths, COARSE_LINES)[-1]
        widths = line_path(self.widths, self.heights @ self.count, COARSE_LINES)[-1]
        return heights, widths

    def cost(self, plan: list[Canvas]) -> float:
        """Padded pixels of a plan whose sides are lines of the table."""
        return cost(self.grid(*(np.unique(side) for side in zip(*plan, strict=True))), plan)

    def grid(self, heights: np.ndarray, widths: np.ndarray) -> Grid:
        rows = np.append(0, np.searchsorted(self.heights, heights) + 1)
        columns = np.append(0, np.searchsorted(self.widths, widths) + 1)
        below = self._below[np.ix_(rows, columns)]
        return Grid(heights, widths, np.diff(np.diff(below, axis=0), axis=1))


def plans(table: SizeCounts, max_buckets: int) -> Iterator[list[Canvas]]:
    """Plans of 1, 2, ... buckets, each cheaper than the last, until no bucket more saves anything."""
    height, width = int(table.heights[-1]), int(table.widths[-1])
    if len(table.heights) == 1:
        for lengths in line_path(table.widths, table.count[0], max_buckets):
            yield [(height, length) for length in lengths.tolist()]
    elif len(table.widths) == 1:
        for lengths in line_path(table.heights, table.count[:, 0], max_buckets):
            yield [(length, width) for length in lengths.tolist()]
    else:
        yield from search_path(table, max_buckets)


def owners(grid: Grid, plan: list[Canvas]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Over every grid cell the index of the smallest canvas and of the next smallest; and all areas.

    The first canvas covers all, and is its own second choice.
    """
    first = np.zeros(grid.count.shape, np.intp)
    second = np.zeros_like(first)
    areas, boxes = grid.boxes(plan)
    for index, box in boxes:
        second[box] = first[box]
        first[box] = index
    return first, second, areas


def cost(grid: Grid, plan: list[Canvas]) -> float:
    """Padded pixels."""
    padded = np.zeros(grid.count.shape)
    areas, boxes = grid.boxes(plan)
    for index, box in boxes:
        padded[box] = areas[index]
    return float((padded * grid.count).sum())


def best_addition(grid: Grid, plan: list[Canvas]) -> tuple[float, Canvas]:
    """The canvas that saves most beside the plan's, and what it saves.

    A size that bucket b holds and canvas f covers saves max(0, area_b - area_f); a cumulative sum over the sizes of b
    counts them for every f at once.
    """
    first, _, areas = owners(grid, plan)
    gain = np.zeros(grid.count.shape)
    for index, area in enumerate(areas):
        gain += np.maximum(area - grid.area, 0.0) * _covered(grid, first == index)
    best = int(np.argmax(gain))
    return float(gain.flat[best]), grid.canvas(best)


def best_swaps(grid: Grid, plan: list[Canvas]) -> list[tuple[float, int, Canvas]]:
    """For each bucket but the first the best canvas in its stead: what it saves, the index, the canvas; best first.

    Without bucket b its sizes belong to their second choices, so only their share of the gain changes.
    """
    first, second, areas = owners(grid, plan)
    pair = first * len(plan) + second
    pairs = np.flatnonzero(np.bincount(pair[grid.count > 0], minlength=len(plan) ** 2))
    addition = np.zeros(grid.count.shape)
    change = np.zeros((len(plan), *grid.count.shape))
    for index, area in enumerate(areas):
        codes = pairs[pairs // len(plan) == index][:, None, None]
        next_areas = areas[codes % len(plan)]
        covered = _covered(grid, pair == codes)
        held = np.maximum(area - grid.area, 0.0) * covered.sum(axis=0)
        addition += held
        change[index] = (np.maximum(next_areas - grid.area, 0.0) * covered).sum(axis=0)
        change[index] -= held + ((next_areas - area) * covered[:, -1:, -1:]).sum()
    change += addition
    change = change.reshape(len(plan), -1)
    best = change.argmax(axis=1).tolist()
    swaps = [(float(change[index, best[index]]), index, grid.canvas(best[index])) for index in range(1, len(plan))]
    return sorted(swaps, reverse=True)


def _covered(grid: Grid, where: np.ndarray) -> np.ndarray:
    """[..., h, w]: how many of the sizes in `where` each canvas of the grid covers."""
    covered = np.cumsum(grid.count * where, axis=-2)
    return np.cumsum(covered, axis=-1, out=covered)


def polish(grid: Grid, plan: list[Canvas], *, most_rounds: int = 1000) -> list[Canvas]:
    """Swaps until none saves anything: all that save at each look, as far as they still save after one another."""
    least = cost(grid, plan)
    for _ in range(most_rounds):
        improved, tolerance = False, 1e-12 * least
        for gain, index, canvas in best_swaps(grid, plan):
            if gain <= tolerance:
                break
            swapped = [*plan[:index], canvas, *plan[index + 1 :]]
            if (swapped_cost := cost(grid, swapped)) < least - tolerance:
                plan, least, improved = swapped, swapped_cost, True
        if not improved:
            break
    return plan


def grow(grid: Grid, plan: list[Canvas]) -> list[Canvas]:
    """One bucket more, or the same plan where none saves anything."""
    gain, canvas = best_addition(grid, plan)
    return [*plan, canvas] if gain > 0 else plan


def shrink(grid: Grid, plan: list[Canvas]) -> list[Canvas]:
    """One bucket less: the one whose sizes lose least by moving to their second choices; never the first."""
    first, second, areas = owners(grid, plan)
    loss = (areas[second] - areas[first]) * grid.count
    index = 1 + int(np.argmin(np.bincount(first.ravel(), loss.ravel(), minlength=len(plan))[1:]))
    return [*plan[:index], *plan[index + 1 :]]


def escape(grid: Grid, plan: list[Canvas]) -> list[Canvas]:
    """Grows the plan and shrinks it back, by more and more buckets, while that finds a cheaper one.

    On the way one round of swaps is enough: as good as swaps to the end, at two thirds of the time.
    """
    least = cost(grid, plan)
    extra, grown = 0, plan
    while extra < max(LOOKAHEAD):
        extra += 1
        grown = polish(grid, grow(grid, grown), most_rounds=1)
        if len(grown) < len(plan) + extra:
            return plan
        if extra not in LOOKAHEAD:
            continue
        candidate = grown
        while len(candidate) > len(plan):
            candidate = polish(grid, shrink(grid, candidate), most_rounds=1)
        candidate = polish(grid, candidate)
        if (candidate_cost := cost(grid, candidate)) < least:
            plan, least = candidate, candidate_cost
            extra, grown = 0, plan
    return plan


def refine(table: SizeCounts, plan: list[Canvas]) -> list[Canvas]:
    """Moves the sides of one axis at a time to lines of the table near them."""
    for axis, lines in enumerate((table.heights, table.widths)):
        sides = [np.unique(side) for side in zip(*plan, strict=True)]
        offsets = np.unique([sign * 3**power for power in range(5) for sign in (-1, 0, 1)])
        near = np.searchsorted(lines, sides[axis])[:, None] + offsets
        sides[axis] = np.unique(np.append(lines[np.clip(near, 0, len(lines) - 1)], sides[axis]))
        plan = polish(table.grid(*sides), plan)
    return plan


def search_path(table: SizeCounts, max_buckets: int) -> Iterator[list[Canvas]]:
    """Plans of 1, 2, ... buckets, the first canvas covering all, until no bucket more saves anything."""
    base = table.lines()
    grid = table.grid(*base)
    plan = [(int(table.heights[-1]), int(table.widths[-1]))]
    yield plan
    while len(plan) < max_buckets:
        grown = grow(grid, plan)
        if len(grown) == len(plan):
            return
        grown = polish(grid, grown)
        plan = escape(grid, grown) if len(grown) <= LOOKAHEAD_BUCKETS else grown
        if grid.count.size < table.count.size:
            plan = refine(table, plan)
            sides = zip(*plan, strict=True)
            grid = table.grid(*(np.union1d(lines, side) for lines, side in zip(base, sides, strict=True)))
        yield plan


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
