"""Experiments on batches of like examples: canvases that all hold every example, dealt out by size or by class.

Since padding changes nothing, every example may stand on any canvas that holds it, and the net stays the same function.
What changes is only which examples share a step. `schedule.canvases` says by what the canvases are dealt out:

    smallest     each example stands on the smallest canvas that holds it; this is what training is for
    size         larger examples stand on larger canvases
    class:BITS   the canvas of an example tells so many bits of its class (their mutual information)
    class:most   every class stands on one canvas, so the canvas tells as much of the class as it can
    class:size   as many examples of each class stand on each canvas as by size, but which ones is drawn at random

Stratified steps then are of one program unless `schedule.num_programs` says otherwise.
What always holds for all but the first: every canvas holds every example; as many examples stand on a canvas, whatever
the rule; the choice is a pure function of the sizes, the classes and the seed.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from fcn_jax.config import ScheduleConfig, UserError
from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.random import random_bits, shuffled_order

SMALLEST = "smallest"


class CanvasChoice(NamedTuple):
    """Canvases that all hold every example, and the canvas of each."""

    plan: BucketPlan
    canvas: Int[np.ndarray, " n"]
    """Index into the shapes of `plan`."""
    note: str
    """A line for people."""


def choose_canvases(
    sizes: Int[np.ndarray, "n r"], classes: Int[np.ndarray, " n"], config: ScheduleConfig, *, seed: int
) -> CanvasChoice:
    """Deal `config.max_buckets` canvases out to the examples, by the rule `config.canvases`.

    Args:
        sizes: the largest size of each example in the epochs that share the canvases.
        classes: the class of each example.

    Raises:
        UserError: the rule is none of those above, there are fewer classes than canvases, or the canvas cannot tell so
            many bits.
    """
    rule, number = config.canvases, config.max_buckets
    own = _group_of_class(classes, number)[classes]
    most = information(own, classes)
    if rule in ("size", "class:size"):
        order = np.lexsort((random_bits(seed, 0, np.arange(len(own)), stream="equal areas"), sizes.prod(1)))
        canvas = np.empty_like(own)
        canvas[order] = np.sort(own)
        if rule == "class:size":
            canvas = _exchanged_within_classes(canvas, classes, seed=seed)
    else:
        bits = _bits_of(rule, most)
        canvas = own if bits >= most else _with_information(own, classes, bits, seed=seed)
    told = information(canvas, classes)
    note = f"{number} canvases hold all examples and tell {told:.2f} of at most {most:.2f} bits of the class ({rule})"
    return CanvasChoice(_nested(sizes.max(0), number, config.multiple_of), canvas, note)


def information(canvas: Int[np.ndarray, " n"], classes: Int[np.ndarray, " n"]) -> float:
    """Return the mutual information between the canvas and the class of these examples, in bits."""
    num_canvases, num_classes = int(canvas.max()) + 1, int(classes.max()) + 1
    counts = np.bincount(canvas * num_classes + classes, minlength=num_canvases * num_classes)
    joint = counts.reshape(num_canvases, num_classes) / len(classes)
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    occurs = joint > 0
    return max(0.0, float((joint[occurs] * np.log2(joint[occurs] / independent[occurs])).sum()))


def _bits_of(rule: str, most: float) -> float:
    """Return the bits that a rule asks for."""
    kind, _, bits = rule.partition(":")
    if rule == "class:most":
        return most
    try:
        wanted = float(bits)
    except ValueError:
        wanted = -1.0
    if kind != "class" or not wanted >= 0:
        raise UserError(
            f"config.schedule.canvases is {rule!r}, but it must be smallest, size, class:most, class:size, or "
            "class:BITS such as class:0.5"
        )
    if wanted > most:
        raise UserError(
            f"config.schedule.canvases is {rule}, but the canvases can tell at most {most:.2f} bits of the class: set "
            "config.schedule.canvases=class:most"
        )
    return wanted


def _group_of_class(classes: Int[np.ndarray, " n"], number: int) -> Int[np.ndarray, " k"]:
    """Return the canvas of every class, such that all canvases have about as many examples."""
    counts = np.bincount(classes)
    num_classes = np.count_nonzero(counts)
    if number < 2 or number > num_classes:
        raise UserError(
            f"config.schedule.max_buckets is {number}, but it must be between 2 and {num_classes}, the number of "
            "classes, so that each canvas that is dealt out has at least one class: set "
            f"config.schedule.max_buckets={num_classes}"
        )
    group, held = np.zeros(len(counts), np.int64), np.zeros(number, np.int64)
    for of_class in np.argsort(-counts, kind="stable").tolist():
        group[of_class] = held.argmin()
        held[group[of_class]] += counts[of_class]
    return group


def _with_information(
    own: Int[np.ndarray, " n"], classes: Int[np.ndarray, " n"], bits: float, *, seed: int
) -> Int[np.ndarray, " n"]:
    """Return the canvas of every example, such that it tells about `bits` bits of the class.

    Some examples, drawn at random, give their canvases back, which are then dealt out evenly to their classes. The more
    examples do so, the less the canvas tells.
    """
    order = shuffled_order(seed, 0, len(own), stream="examples that change their canvas")

    def dealt(number: int) -> Int[np.ndarray, " n"]:
        chosen = order[:number]
        canvas = own.copy()
        canvas[chosen[np.argsort(classes[chosen], kind="stable")]] = _interleaved(own[chosen])
        return canvas

    low, high = 0, len(own)
    while low < high:
        middle = (low + high) // 2
        if information(dealt(middle), classes) > bits:
            low = middle + 1
        else:
            high = middle
    return dealt(low)


def _exchanged_within_classes(
    canvas: Int[np.ndarray, " n"], classes: Int[np.ndarray, " n"], *, seed: int
) -> Int[np.ndarray, " n"]:
    """Return the canvas of every example after the examples of each class have exchanged theirs at random."""
    order = shuffled_order(seed, 0, len(canvas), stream="examples that change their canvas")
    exchanged = np.empty_like(canvas)
    exchanged[order[np.argsort(classes[order], kind="stable")]] = canvas[np.argsort(classes, kind="stable")]
    return exchanged


def _interleaved(canvases: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
    """Return the same canvases in such an order that every run of them has nearly the mix of all."""
    counts = np.bincount(canvases)
    place = np.concatenate([(np.arange(count) + 0.5) / max(1, count) for count in counts])
    return np.repeat(np.arange(len(counts)), counts)[np.argsort(place, kind="stable")]


def _nested(largest: Int[np.ndarray, " r"], number: int, multiple_of: int) -> BucketPlan:
    """Return the smallest canvas that covers `largest`, and larger ones; the shorter side grows each time."""
    sides = (-(-largest // multiple_of) * multiple_of).tolist()
    shapes = []
    for _ in range(number):
        shapes.append(tuple(sides))
        sides[sides.index(min(sides))] += multiple_of
    return BucketPlan(tuple(shapes))
