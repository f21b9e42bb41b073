"""The search behind `plan_buckets`: which canvases cover all sizes with the fewest padded pixels.

In one dimension the optimum is exact: dynamic programming. In two it is a p-median problem over the grid of occurring
heights x occurring widths; `search_path` adds a bucket at a time and improves by swaps, whose gains are exact for
every canvas of the grid at once. What always holds: one bucket covers everything; costs are those of the true sizes
(a coarser grid restricts the canvases, never the arithmetic); the plan of k buckets does not depend on how many more
are asked for and never costs more than that of k - 1; nothing is random.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Canvas = tuple[int, int]

# Lines of the search grid on each side. Sides in multiples of 8 up to 1,024 pixels fit: then every canvas is considered.
GRID_LINES = 128
# Beyond so many distinct sides the table keeps an evenly spread selection. (One-dimensional tables keep 65,536.)
TABLE_LINES = 4096
# How far a plan is grown before it is shrunk back, in buckets. 1, 2 and 4 together find what 200 random restarts
# find (ImageNet, 16 buckets: fill 0.96886) in a twentieth of their time; plans above 32 buckets are only swapped.
LOOKAHEAD = (1, 2, 4)
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

    def corner(self, canvas: Canvas) -> Canvas:
        """The grid indices of a canvas whose sides are lines."""
        return int(np.searchsorted(self.heights, canvas[0])), int(np.searchsorted(self.widths, canvas[1]))

    def canvas(self, flat_index: int) -> Canvas:
        row, column = divmod(flat_index, len(self.widths))
        return int(self.heights[row]), int(self.widths[column])


class Table:
    """Counted sizes, from which the grid over any selection of lines follows without another look at the sizes."""

    def __init__(self, heights: np.ndarray, widths: np.ndarray, count: np.ndarray):
        self.heights, self.widths = heights, widths
        self._below = np.zeros((len(heights) + 1, len(widths) + 1))
        np.cumsum(count, axis=0, out=self._below[1:, 1:])
        np.cumsum(self._below[1:, 1:], axis=1, out=self._below[1:, 1:])

    def grid(self, heights: np.ndarray, widths: np.ndarray) -> Grid:
        rows = np.append(0, np.searchsorted(self.heights, heights) + 1)
        columns = np.append(0, np.searchsorted(self.widths, widths) + 1)
        below = self._below[np.ix_(rows, columns)]
        return Grid(heights, widths, np.diff(np.diff(below, axis=0), axis=1))


def owners(grid: Grid, plan: list[Canvas]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The index of the smallest and of the next smallest canvas over every grid cell, and all areas. Index 0 covers all."""
    first = np.zeros(grid.count.shape, np.intp)
    second = np.zeros_like(first)
    areas = np.array([float(height * width) for height, width in plan])
    for index in np.argsort(-areas, kind="stable"):
        row, column = grid.corner(plan[index])
        box = np.s_[: row + 1, : column + 1]
        second[box] = first[box]
        first[box] = index
    return first, second, areas


def cost(grid: Grid, plan: list[Canvas]) -> float:
    """Padded pixels."""
    first, _, areas = owners(grid, plan)
    return float((grid.count * areas[first]).sum())


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


def best_swap(grid: Grid, plan: list[Canvas]) -> tuple[float, int, Canvas]:
    """The best exchange of one bucket (never the first) for one canvas: what it saves, the index, the canvas.

    Without bucket b its sizes belong to their second choices, so only their share of the gain changes.
    """
    first, second, areas = owners(grid, plan)
    pair = first * len(plan) + second
    addition = np.zeros(grid.count.shape)
    change = np.zeros((len(plan), *grid.count.shape))
    seconds_of = [[] for _ in plan]
    for code in np.flatnonzero(np.bincount(pair[grid.count > 0], minlength=len(plan) ** 2)).tolist():
        seconds_of[code // len(plan)].append(code % len(plan))
    for index, area in enumerate(areas):
        held = np.zeros(grid.count.shape)
        for other in seconds_of[index]:
            covered = _covered(grid, pair == index * len(plan) + other)
            held += covered
            change[index] += np.maximum(areas[other] - grid.area, 0.0) * covered
            change[index] -= (areas[other] - area) * covered[-1, -1]
        held *= np.maximum(area - grid.area, 0.0)
        addition += held
        change[index] -= held
    change += addition
    change[0] = -np.inf
    index, best = divmod(int(np.argmax(change)), addition.size)
    return float(change[index].flat[best]), index, grid.canvas(best)


def _covered(grid: Grid, where: np.ndarray) -> np.ndarray:
    """[h, w]: how many of the sizes `where` each canvas of the grid covers."""
    covered = np.cumsum(grid.count * where, axis=0)
    return np.cumsum(covered, axis=1, out=covered)


def polish(grid: Grid, plan: list[Canvas]) -> list[Canvas]:
    """Swaps until none saves anything."""
    least = 1e-12 * cost(grid, plan)
    while True:
        gain, index, canvas = best_swap(grid, plan)
        if gain <= least:
            return plan
        plan = [*plan[:index], canvas, *plan[index + 1 :]]


def grow(grid: Grid, plan: list[Canvas]) -> list[Canvas]:
    """One bucket more, or the same plan where none saves anything."""
    gain, canvas = best_addition(grid, plan)
    return polish(grid, [*plan, canvas]) if gain > 0 else plan


def shrink(grid: Grid, plan: list[Canvas]) -> list[Canvas]:
    """One bucket less: the one whose sizes lose least by moving to their second choices; never the first."""
    first, second, areas = owners(grid, plan)
    lost = np.bincount(first.ravel(), ((areas[second] - areas[first]) * grid.count).ravel(), minlength=len(plan))
    index = 1 + int(np.argmin(lost[1:]))
    return polish(grid, [*plan[:index], *plan[index + 1 :]])


def escape(grid: Grid, plan: list[Canvas]) -> list[Canvas]:
    """Grows the plan and shrinks it back, by more and more buckets, while that finds a cheaper one."""
    least = cost(grid, plan)
    improved = True
    while improved:
        improved, grown = False, plan
        for extra in range(1, max(LOOKAHEAD) + 1):
            grown = grow(grid, grown)
            if len(grown) < len(plan) + extra:
                break
            if extra not in LOOKAHEAD:
                continue
            candidate = grown
            while len(candidate) > len(plan):
                candidate = shrink(grid, candidate)
            if (candidate_cost := cost(grid, candidate)) < least:
                plan, least, improved = candidate, candidate_cost, True
                break
    return plan


def refine(table: Table, plan: list[Canvas]) -> list[Canvas]:
    """Moves the sides of one axis at a time to lines of the table near them."""
    for axis, lines in enumerate((table.heights, table.widths)):
        sides = [np.unique(side) for side in zip(*plan, strict=True)]
        offsets = np.unique([sign * 3**power for power in range(5) for sign in (-1, 0, 1)])
        near = np.searchsorted(lines, sides[axis])[:, None] + offsets
        sides[axis] = np.unique(np.append(lines[np.clip(near, 0, len(lines) - 1)], sides[axis]))
        plan = polish(table.grid(*sides), plan)
    return plan


def search_path(table: Table, base: tuple[np.ndarray, np.ndarray], max_buckets: int) -> Iterator[list[Canvas]]:
    """Plans of 1, 2, ... buckets, until no bucket more saves anything."""
    whole = len(base[0]) == len(table.heights) and len(base[1]) == len(table.widths)
    grid = table.grid(*base)
    plan = [(int(table.heights[-1]), int(table.widths[-1]))]
    yield plan
    while len(plan) < max_buckets:
        grown = grow(grid, plan)
        if len(grown) == len(plan):
            return
        plan = escape(grid, grown) if len(grown) <= LOOKAHEAD_BUCKETS else grown
        if not whole:
            plan = refine(table, plan)
            sides = zip(*plan, strict=True)
            grid = table.grid(*(np.union1d(lines, side) for lines, side in zip(base, sides, strict=True)))
        yield plan
