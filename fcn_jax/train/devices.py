"""What the number and the kind of devices cost: filler rows where the number does not divide a block's, small blocks.

Neither changes a result, so a run goes on with any devices. They only cost time, which these lines tell.
"""

import math
from dataclasses import replace

from fcn_jax.config import Config
from fcn_jax.core.block import rows_on_devices
from fcn_jax.core.stages import Stages, training_stages
from fcn_jax.train.setup import Split

ROWS_OF_A_GPU = 32
"""The rows of a block on a GPU below which a line advises larger blocks."""
WORTH_SAYING = 0.005
"""Relative loss of run fill from which the filler of the devices is worth a line."""


def describe_devices(train: Split, config: Config, devices: int, *, platform: str) -> list[str]:
    """Return the lines on what so many devices of a kind cost; none if they cost little."""
    lines = (describe_filler(train, config, devices), describe_small_blocks(train, devices, platform=platform))
    return [line for line in lines if line]


def describe_filler(train: Split, config: Config, devices: int) -> str:
    """Return a line on the filler that so many devices need, and what a new run should do; empty if it costs little."""
    fill, here = train.stages.fill, train.stages.fill_on(devices)
    if here >= (1 - WORTH_SAYING) * fill:
        return ""
    line = f"run fill is {here:.3f} on {devices} devices, but {fill:.3f} on one: they need filler rows in every block"
    multiple, best = advise_rows(train, config, devices)
    if here >= (1 - WORTH_SAYING) * best:
        return line
    return f"{line}; a new run with --config.schedule.rows_multiple_of={multiple} has {best:.3f}"


def describe_small_blocks(train: Split, devices: int, *, platform: str) -> str:
    """Return a line on blocks that are too small for GPUs; empty if they are not, or if the devices are no GPUs."""
    blocks = [
        block for stage in train.stages for program in stage.schedule.step_plan.programs for block in program.blocks
    ]
    rows = sum(rows_on_devices(block.rows, devices) for block in blocks) / devices / len(blocks)
    if platform in ("cpu", "tpu") or rows >= ROWS_OF_A_GPU or len(blocks) == len(train.stages):
        return ""
    return (
        f"a block has {rows:.0f} rows on each GPU in the mean: below {ROWS_OF_A_GPU}, launching its kernels may take "
        "longer than running them. Set fewer buckets (config.schedule.max_buckets) or more "
        "config.schedule.examples_per_step, and compare true Mpx/s"
    )


def describe_change(stages: Stages, *, before: int, now: int) -> str:
    """Return a line on the cost of going on with another number of devices; empty if it costs little."""
    fill, here = stages.fill_on(before), stages.fill_on(now)
    if here >= (1 - WORTH_SAYING) * fill:
        return ""
    began = f"{before} device{'s' if before > 1 else ''}"
    return f"the run began on {began}, with a run fill of {fill:.3f}; on {now} it is {here:.3f}, because of filler rows"


def advise_rows(train: Split, config: Config, devices: int) -> tuple[int, float]:
    """Return the `schedule.rows_multiple_of` with the highest run fill on so many devices, and that run fill.

    It plans again for each candidate: the number of devices and its largest divisor, if a step has so many examples.
    """
    epochs = [stage.epochs for stage in train.stages]
    found = {config.schedule.rows_multiple_of: train.stages.fill_on(devices)}
    for multiple in {devices, largest_divisor(devices)} - {1, *found}:
        if multiple <= config.schedule.examples_per_step:
            schedule = replace(config.schedule, rows_multiple_of=multiple)
            data = train.dataset
            stages = training_stages(data.views, epochs, schedule, seed=config.seed, classes=data.classes)
            found[multiple] = stages.fill_on(devices)
    best = max(found, key=found.__getitem__)
    return best, found[best]


def largest_divisor(number: int) -> int:
    """Return the largest divisor of a number that is smaller than it; 1 for a prime number and for 1."""
    smallest = next((n for n in range(2, math.isqrt(number) + 1) if number % n == 0), number)
    return number // smallest
