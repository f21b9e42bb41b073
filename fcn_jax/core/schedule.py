"""The schedule: which examples stand in which row of which block, a pure function of (plan, seed, epoch).

Every epoch fills the step plan in a new order. Every example stands exactly once an epoch; what overflows its bucket
moves up to one that covers it; rows left over are filler (-1), spread evenly. A position is (epoch, step), and
nothing here depends on the machine.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.random import random_bits, shuffled_order
from fcn_jax.core.step_plan import StepPlan, next_covering

FILLER = -1


class Schedule:
    """Fills a step plan with the examples of every epoch.

    Args:
        step_plan: the programs over the plan.
        bucket: [n] the bucket of every example, or a function from the epoch to that, where sizes change.
        seed: of the order.
        shuffle: False keeps the order of the split, for evaluation.
    """

    def __init__(
        self,
        plan: BucketPlan,
        step_plan: StepPlan,
        bucket: np.ndarray | Callable[[int], np.ndarray],
        *,
        num_examples: int,
        seed: int,
        shuffle: bool = True,
    ):
        self.plan, self.step_plan, self.num_examples = plan, step_plan, num_examples
        self._bucket = bucket if callable(bucket) else lambda _: bucket
        self._seed, self._shuffle = seed, shuffle
        self._above = next_covering(plan)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    @property
    def steps_per_epoch(self) -> int:
        return self.step_plan.steps_per_epoch

    def step(self, epoch: int, step: int) -> tuple[int, tuple[np.ndarray, ...]]:
        """Program of a step and, for each of its blocks, the examples of the rows ([rows], -1 for filler)."""
        program, start, slots = self._epoch(epoch)
        number = int(program[step])
        blocks = self.step_plan.programs[number].blocks
        return number, tuple(slots[b.bucket][start[step, b.bucket] :][: b.rows] for b in blocks)

    def _make_epoch(self, epoch: int):
        """(program of every step [steps], first slot of every bucket in it [steps, k], slots of every bucket)."""
        step_plan = self.step_plan
        program = np.repeat(np.arange(len(step_plan.programs)), [program.steps for program in step_plan.programs])
        place = np.arange(self.num_examples)
        if self._shuffle:
            program = program[shuffled_order(self._seed, epoch, len(program), stream="programs")]
            place = random_bits(self._seed, epoch, place, stream="examples")
        rows = step_plan.rows[program]
        start = np.cumsum(rows, axis=0) - rows
        held = self._hold(self._bucket(epoch), place)
        slots = [
            _spread(examples, capacity) for examples, capacity in zip(held, step_plan.capacity.tolist(), strict=True)
        ]
        return program, start, slots

    def _hold(self, bucket: np.ndarray, place: np.ndarray) -> list[np.ndarray]:
        """Examples of every bucket in the order of their places, the last of them moved up where there is no room."""
        num_buckets, capacity = self.step_plan.num_buckets, self.step_plan.capacity.tolist()
        by_bucket = np.argsort(bucket.astype(np.uint16), kind="stable")  # Radix sort, the fastest there is.
        ends = np.cumsum(np.bincount(bucket, minlength=num_buckets))
        held = np.split(by_bucket, ends[:-1])
        for number, above in enumerate(self._above.tolist()):
            held[number] = held[number][np.argsort(place[held[number]])]
            overflow = held[number][capacity[number] :]
            if len(overflow):
                assert above >= 0, "the step plan is too small for its own examples"
                held[number], held[above] = held[number][: capacity[number]], np.append(held[above], overflow)
        return held


def _spread(examples: np.ndarray, capacity: int) -> np.ndarray:
    """[capacity] slots holding the examples in order, with the filler spread evenly between them."""
    slots = np.full(capacity, FILLER, np.int64)
    slots[np.arange(len(examples), dtype=np.int64) * capacity // max(1, len(examples))] = examples
    return slots
