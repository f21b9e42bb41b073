"""How like the data the steps are: the total variation distance between the mix of sizes in a step and in the data.

A step that holds other sizes than the data holds other classes too, where size goes with class. Distance 0 is the same
mix, 1 is a step without any size of the data. Shuffled steps have a distance as well, since they are finite samples.
The size of an example is told by its own bucket, whatever bucket it stands in.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from fcn_jax.core.canvas_choice import information
from fcn_jax.core.random import shuffled_order
from fcn_jax.core.schedule import Schedule
from fcn_jax.core.stages import Stages


class Variation(NamedTuple):
    """Mean total variation distances of the steps of an epoch from the data, from 0 to 1."""

    mean: float
    largest_program: float
    """Mean over the steps of that program whose steps are farthest from the data."""
    shuffled: float
    """Mean of steps with as many examples as these, drawn in random order."""


def variation(schedule: Schedule, epoch: int) -> Variation:
    """Measure the steps of an epoch. The order of the shuffled steps follows from the epoch alone."""
    steps, buckets = schedule.steps_per_epoch, schedule.step_plan.num_buckets
    own, program = schedule.bucket(epoch), schedule.programs(epoch)
    cells = np.zeros(steps * buckets, np.int64)
    for step, example in schedule.places(epoch):
        cells += np.bincount(step * buckets + own[example], minlength=len(cells))
    mix = cells.reshape(steps, buckets)
    order = shuffled_order(0, epoch, len(own), stream="shuffled steps")
    in_step = np.repeat(np.arange(steps), mix.sum(axis=1))
    shuffled = np.bincount(in_step * buckets + own[order], minlength=len(cells)).reshape(steps, buckets)
    data = mix.sum(axis=0)
    distances = _distances(mix, data)
    of_program = np.bincount(program, distances) / np.bincount(program)
    return Variation(float(distances.mean()), float(of_program.max()), float(_distances(shuffled, data).mean()))


def variation_of_stages(stages: Stages) -> Variation:
    """Measure the first epoch of every stage; stages count by their steps."""
    found = [variation(stage.schedule, stage.epochs[0]) for stage in stages]
    mean, _, shuffled = np.average(found, axis=0, weights=[stage.num_steps for stage in stages]).tolist()
    return Variation(mean, max(of_stage.largest_program for of_stage in found), shuffled)


def bits_of_canvas(schedule: Schedule, classes: Int[np.ndarray, " n"], epoch: int) -> float:
    """Return how many bits the canvas of an example tells of its class in an epoch: their mutual information.

    In steps of one bucket this is what a step tells of its examples' classes. Of many canvases and few examples some
    bits are chance.

    Args:
        classes: the class of every draw of the epoch.
    """
    canvas = np.zeros(schedule.num_examples, np.int64)
    for bucket, (_, examples) in enumerate(schedule.places(epoch)):
        canvas[examples] = bucket
    return information(canvas, classes)


def describe_variation(found: Variation, what: str = "sizes") -> str:
    """Return a line for people; `what` decides the bucket of an example: sizes or canvases."""
    return (
        f"mix of {what} in a step against the data's (total variation distance): mean {found.mean:.3f}, "
        f"farthest program {found.largest_program:.3f}; shuffled steps {found.shuffled:.3f}"
    )


def _distances(mixes: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return the total variation distance of each mix [n, k], in counts, from the data's [k]; [n]."""
    shares = mixes / np.maximum(1, mixes.sum(axis=1, keepdims=True))
    return np.abs(shares - data / data.sum()).sum(axis=1) / 2
