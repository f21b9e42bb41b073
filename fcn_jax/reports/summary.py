"""The figures of a run that its summary.json and its report show, besides its test and its times."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np

from fcn_jax.reports.plan_plot import draw_plan
from fcn_jax.reports.size_and_class import size_and_class_of, size_lines
from fcn_jax.system.console import say
from fcn_jax.system.disk import write_atomically
from fcn_jax.train.log import Clock
from fcn_jax.train.setup import Setup, Split
from fcn_jax.train.stratification import bits_of_canvas, variation_of_stages


def what_size_tells(setup: Setup) -> dict[str, float]:
    """Return the figures of how well size tells the class; say them if it does."""
    found = size_and_class_of(setup.train.dataset, setup.config)
    if found is None:
        return {}
    if found.tells:
        for line in size_lines(found, setup.config):
            say(line)
    return asdict(found)


def sum_up(setup: Setup, clock: Clock, splits: Sequence[Split]) -> dict[str, float]:
    """Return the figures of a run's speed, fill, mix of sizes, net and bad examples."""
    stages, devices = setup.train.stages, setup.mesh.size
    mix = variation_of_stages(stages)
    return {
        **clock.speed(setup.train.dataset.rank),
        "plan_fill": stages.plan_fill,
        "filler_share": stages.filler_share_on(devices),
        "fill": stages.fill_on(devices),
        **_bits_of_canvas(setup),
        "variation": mix.mean,
        "variation_of_farthest_program": mix.largest_program,
        "variation_of_shuffled_steps": mix.shuffled,
        "train_seconds": clock.train_seconds,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(setup.state.params)),
        "bad_examples": sum(len(split.dataset.bad) for split in splits),
    }


def _bits_of_canvas(setup: Setup) -> dict[str, float]:
    """Return how many bits of the class the canvas of a training example tells; nothing if it has several classes."""
    if setup.config.data.labels == "several":
        return {}
    stage, dataset = setup.train.stages[0], setup.train.dataset
    epoch = stage.epochs[0]
    classes = dataset.classes[dataset.views.examples(epoch, np.arange(len(dataset)))]
    return {"canvas_class_bits": bits_of_canvas(stage.schedule, classes, epoch)}


def write_plan(train: Split, workdir: Path) -> None:
    """Write plan.json and plan.png of the last stage."""
    last = train.stages[-1]
    write_atomically(workdir / "plan.json", last.plan.to_json() + "\n")
    epoch = last.epochs[-1]
    draw_plan(last.plan, train.dataset.views.sizes(epoch), workdir / "plan.png", bucket=last.schedule.bucket(epoch))
