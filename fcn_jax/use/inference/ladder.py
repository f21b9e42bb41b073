"""Sizes -> canvases where no plan is made for them: sides climb a ladder, each rung a quarter longer than the last.

So any number of sizes needs few programs. A bucket of the run's own plan goes before where it pads no more than the
ladder may. What always holds: a canvas covers its size, and depends on nothing but that size and the net.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

from fcn_jax.use.inference.recipe import Recipe

RATIO = 1.25
HIGHEST_RUNG = 2**31


@dataclass(frozen=True)
class Ladder:
    """The canvases of a net."""

    recipe: Recipe
    buckets: tuple[tuple[int, ...], ...]
    """Of the run's plan, ascending by area."""

    @cached_property
    def _rungs(self) -> list[int]:
        rungs = [self.recipe.smallest_side]
        while rungs[-1] < HIGHEST_RUNG:
            rungs.append(math.ceil(rungs[-1] * RATIO))
        return rungs

    def canvas(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The canvas of a size that the recipe lets through."""
        if self.recipe.largest_side is not None:
            return (self.recipe.largest_side,) * len(size)
        if not self.recipe.is_masked:
            return size
        rungs = tuple(self._rungs[bisect_left(self._rungs, side)] for side in size)
        most = math.prod(size) * RATIO ** len(size)
        for bucket in self.buckets:
            if math.prod(bucket) > most:
                break
            if all(side <= length for side, length in zip(size, bucket, strict=True)):
                return bucket
        return rungs
