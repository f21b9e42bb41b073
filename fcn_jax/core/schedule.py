"""The schedule: which example stands in which row of which step, a pure function of (plan, seed, epoch).

Every epoch fills the step plan in a new order. What always holds: every example stands in exactly one row an epoch
(with balanced draws, "example" means here a draw of the epoch, of which there are as many);
examples for which their bucket has no row move up to a bucket that covers it; rows left over are filler (-1), spread
evenly. Nothing depends on the machine, so a run that was stopped goes on from (epoch, step) alone.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.random import random_bits, shuffled_order
from fcn_jax.core.step_plan import StepPlan, next_covering

FILLER = -1


class Schedule:
    """The examples of every step of every epoch.

    Args:
        step_plan: the programs, whose buckets are those of `plan`.
        bucket: [n] the bucket of every example; if sizes change, a function that returns this for an epoch.
        num_examples: number of examples, n.
        seed: seed of the random order.
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
        self.bucket = bucket if callable(bucket) else lambda _: bucket
        """Function that returns the own bucket of every example, [n], in an epoch."""
        self._seed, self._shuffle = seed, shuffle
        self._above = next_covering(plan)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_epoch"}  # Another process makes its own.

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state, _epoch=lru_cache(maxsize=2)(self._make_epoch))

    @property
    def steps_per_epoch(self) -> int:
        return self.step_plan.steps_per_epoch

    def step(self, epoch: int, step: int) -> tuple[int, tuple[np.ndarray, ...]]:
        """Return the program of a step and, for each of its blocks, the example in each row ([rows]; -1 is filler)."""
        program, start, slots = self._epoch(epoch)
        number, first, rows = int(program[step]), start[step].copy(), []
        for block in self.step_plan.programs[number].blocks:
            rows.append(slots[block.bucket][first[block.bucket] :][: block.rows])
            first[block.bucket] += block.rows
        return number, tuple(rows)

    def programs(self, epoch: int) -> np.ndarray:
        """Return the program of every step of an epoch, [steps]."""
        return self._epoch(epoch)[0]

    def places(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield, for every bucket, the steps of the examples that it holds, [m], and the examples, [m]."""
        program, _, slots = self._epoch(epoch)
        for held, rows in zip(slots, self.step_plan.rows.T, strict=True):
            filled = held != FILLER
            yield np.repeat(np.arange(len(program)), rows[program])[filled], held[filled]

    def _make_epoch(self, epoch: int):
        """Return the program of each step [steps], its first slot in each bucket [steps, k], and each bucket's slots.

        The slots of a bucket are its rows in all steps of the epoch, one after the other.
        """
        step_plan = self.step_plan
        program = np.repeat(np.arange(len(step_plan.programs)), [program.steps for program in step_plan.programs])
        place = np.arange(self.num_examples)
        if self._shuffle:
            program = program[shuffled_order(self._seed, epoch, len(program), stream="programs")]
            place = random_bits(self._seed, epoch, place, stream="examples")
        rows = step_plan.rows[program]
        start = np.cumsum(rows, axis=0) - rows
        held = self._hold(epoch, place)
        slots = [
            _spread(examples, capacity) for examples, capacity in zip(held, step_plan.capacity.tolist(), strict=True)
        ]
        return program, start, slots

    def _hold(self, epoch: int, place: np.ndarray) -> list[np.ndarray]:
        """Return the examples that each bucket holds, in the order of `place`.

        The last ones, beyond its capacity, move up. There they have new places, or all of them would stand at the end.
        """
        bucket, num_buckets, capacity = self.bucket(epoch), self.step_plan.num_buckets, self.step_plan.capacity.tolist()
        by_bucket = np.argsort(bucket.astype(np.uint16), kind="stable")  # NumPy sorts 16 bits by radix, its fastest.
        ends = np.cumsum(np.bincount(bucket, minlength=num_buckets))
        held = np.split(by_bucket, ends[:-1])
        for number, above in enumerate(self._above.tolist()):
            held[number] = held[number][np.argsort(place[held[number]])]
            overflow = held[number][capacity[number] :]
            if len(overflow):
                assert above >= 0, "the step plan is too small for its own examples"
                if self._shuffle:
                    place[overflow] = random_bits(self._seed, epoch, overflow, stream=f"moved up from {number}")
                held[number], held[above] = held[number][: capacity[number]], np.append(held[above], overflow)
        return held


def _spread(examples: np.ndarray, capacity: int) -> np.ndarray:
    """Return [capacity] slots: the examples in order, with filler spread evenly between them."""
    slots = np.full(capacity, FILLER, np.int64)
    slots[np.arange(len(examples), dtype=np.int64) * capacity // max(1, len(examples))] = examples
    return slots
