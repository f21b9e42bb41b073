"""The schedule: which examples stand in which row of which block, a pure function of (plan, seed, epoch).

Every epoch fills the layout with a new order. Every example stands exactly once an epoch; what overflows its bucket
moves up to one that covers it; rows left over are filler (-1), spread evenly. A position is (epoch, step), and
nothing here depends on the machine.
"""

from functools import lru_cache

import numpy as np

from fcn_jax.data.buckets import BucketPlan
from fcn_jax.data.draws import shuffled_order
from fcn_jax.data.layout import Layout, next_covering

FILLER = -1


class Schedule:
    """Fills a layout with the examples of every epoch.

    Args:
        layout: the programs over the plan.
        bucket: [n] bucket of every example.
        seed: of the order.
        shuffle: False keeps the order of the split, for evaluation.
    """

    def __init__(self, plan: BucketPlan, layout: Layout, bucket: np.ndarray, *, seed: int, shuffle: bool = True):
        self.layout = layout
        self.bucket = np.asarray(bucket)
        self.seed = seed
        self.shuffle = shuffle
        self._above = next_covering(plan)
        self._areas = plan.areas
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    @property
    def num_examples(self) -> int:
        return len(self.bucket)

    @property
    def steps_per_epoch(self) -> int:
        return self.layout.steps_per_epoch

    @property
    def filler_share(self) -> float:
        """Rows without an example / all rows."""
        return 1 - self.num_examples / self.layout.rows_per_epoch

    def fill(self, sizes: np.ndarray) -> float:
        """Run fill: true positions / all positions computed in an epoch, padding and filler together."""
        return int(sizes.prod(1, dtype=np.int64).sum()) / int((self.layout.capacity * self._areas).sum())

    def step(self, epoch: int, step: int) -> tuple[int, tuple[np.ndarray, ...]]:
        """Program of a step and, for each of its blocks, the examples of the rows ([rows], -1 for filler)."""
        program, start, slots = self._epoch(epoch)
        number = int(program[step])
        blocks = self.layout.programs[number].blocks
        return number, tuple(slots[b.bucket][start[step, b.bucket] :][: b.rows] for b in blocks)

    def _make_epoch(self, epoch: int):
        """(program of every step [steps], first slot of every bucket in it [steps, k], slots of every bucket)."""
        layout = self.layout
        program = np.repeat(np.arange(len(layout.programs)), [program.steps for program in layout.programs])
        order = np.arange(self.num_examples)
        if self.shuffle:
            program = program[shuffled_order(self.seed, epoch, len(program), stream="programs")]
            order = shuffled_order(self.seed, epoch, self.num_examples, stream="examples")
        rows = layout.rows[program]
        start = np.cumsum(rows, axis=0) - rows
        places = zip(self._place(order), layout.capacity.tolist(), strict=True)
        slots = [_spread(examples, capacity) for examples, capacity in places]
        return program, start, slots

    def _place(self, order: np.ndarray) -> list[np.ndarray]:
        """Examples of every bucket in `order`, overflow moved up."""
        placed = self.bucket[order].astype(np.uint16)
        for bucket in range(self.layout.num_buckets - 1):
            inside = np.flatnonzero(placed == bucket)
            placed[inside[self.layout.capacity[bucket] :]] = self._above[bucket]
        by_bucket = order[np.argsort(placed, kind="stable")]
        held = np.bincount(placed, minlength=self.layout.num_buckets)
        assert held[-1] <= self.layout.capacity[-1], "the layout is too small for its own examples"
        return np.split(by_bucket, np.cumsum(held)[:-1])


def _spread(examples: np.ndarray, capacity: int) -> np.ndarray:
    """[capacity] slots holding the examples in order, with the filler spread evenly between them."""
    slots = np.full(capacity, FILLER, np.int64)
    slots[np.arange(len(examples), dtype=np.int64) * capacity // max(1, len(examples))] = examples
    return slots
