"""Balanced draws: an epoch draws rare classes more often than they occur, and common ones less often.

What always holds: an epoch has as many draws as there are examples; every class has the same number of draws in every
epoch; the draws of a class go through its examples in turns, each in a new order, so that over the epochs all examples
of a class are drawn equally often. A draw is a pure function of (seed, epoch), so a resumed run draws the same.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from fcn_jax.core.random import shuffled_order


class BalancedDraws:
    """The examples that every epoch of training draws.

    Args:
        labels: the class of every example.
        balance: 0 draws a class as often as it occurs, 1 draws all classes equally often; between them, the share of a
            class goes with its frequency to the power of 1 - balance.
    """

    def __init__(self, labels: Int[np.ndarray, " n"], *, balance: float, seed: int):
        self._seed = seed
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels).tolist()]
        self.classes = np.unique(labels)
        """Numbers of the classes that have examples, [k]."""
        self.counts = np.array([len(members) for members in self._members])
        """Examples of each of these, [k]."""
        shares = self.counts.astype(float) ** (1 - balance)
        self.draws = _rounded(len(labels) * shares / shares.sum())
        """Draws of each of these in an epoch, [k]."""
        self._last = (-1, np.empty(0, np.int64))

    def examples(self, epoch: int) -> Int[np.ndarray, " n"]:
        """Return the example of every draw of an epoch."""
        drawn_in, drawn = self._last
        if drawn_in != epoch:
            drawn = np.concatenate([self._of_class(number, epoch) for number in range(len(self.classes))])
            self._last = (epoch, drawn)
        return drawn

    def _of_class(self, number: int, epoch: int) -> Int[np.ndarray, " draws"]:
        """Return draws number epoch * d, epoch * d + 1, ... of the endless turns through the examples of a class."""
        members, draws = self._members[number], int(self.draws[number])
        turn, place = divmod(np.arange(epoch * draws, (epoch + 1) * draws), len(members))
        stream = f"turns of class {self.classes[number]}"
        found = [
            members[shuffled_order(self._seed, each, len(members), stream=stream)][place[turn == each]]
            for each in np.unique(turn).tolist()
        ]
        return np.concatenate(found)

    def describe(self, label_names: Sequence[str]) -> str:
        """Return a line for people: which classes are drawn most and least often for each of their examples."""
        times = self.draws / self.counts
        most, least = (
            f"{label_names[self.classes[place]]} ({self.counts[place]:,} examples) {times[place]:.3g} times"
            for place in (int(times.argmax()), int(times.argmin()))
        )
        return f"balanced draws: an epoch draws each example of {most}, and each of {least}"


def _rounded(numbers: Float[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """Round numbers to whole ones of at least 1 and the same sum: the largest remainders are rounded up."""
    whole = np.maximum(1, np.floor(numbers)).astype(np.int64)
    order = np.argsort(whole - numbers, kind="stable")
    missing = round(numbers.sum()) - int(whole.sum())
    if missing >= 0:
        whole[order[:missing]] += 1
    else:
        whole[np.argsort(-whole, kind="stable")[:-missing]] -= 1
    return whole
