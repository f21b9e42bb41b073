"""Rules on what a run costs and rests on: waiting, padding, compiling, pace, bad examples, the code."""

import numpy as np

from fcn_jax.use.report.files import RunFiles
from fcn_jax.use.report.finding import Finding

MOST_INPUT_WAIT = 0.1
"""Of the seconds of the training steps."""
MOST_FILLER = 0.1
"""Of all rows."""
LEAST_FILL = 0.6
MOST_COMPILING = 0.5
"""Of the seconds of training."""
LEAST_SPEED = 0.7
"""Of the last quarter of a run, relative to the first."""


def find_cost(files: RunFiles) -> list[Finding]:
    """What the rules say, in their order."""
    rules = (_input_wait, _fill, _filler, _compiling, _slows_down, _bad_examples, _code)
    return [finding for finding in (rule(files) for rule in rules) if finding]


def _input_wait(files: RunFiles) -> Finding | None:
    readings = files.metrics.readings
    if files.summary:
        wait = files.summary.input_wait
    elif readings:
        wait = float(np.mean([row.input_wait for row in readings]))
    else:
        return None
    if wait <= MOST_INPUT_WAIT:
        return Finding(False, f"Input keeps up: {wait:.1%} of the steps' time was waiting for it.")
    return Finding(
        True,
        f"{wait:.0%} of the steps' time was waiting for input. Raise machine.num_threads, machine.prefetch_steps or "
        "machine.cache_mib, or store smaller images.",
    )


def _fill(files: RunFiles) -> Finding | None:
    summary = files.summary
    if summary is None:
        return None
    if summary.fill >= LEAST_FILL:
        return Finding(False, f"{summary.fill:.1%} of the positions computed are true ones.")
    return Finding(
        True,
        f"Only {summary.fill:.1%} of the positions computed are true ones (plan fill {summary.plan_fill:.3f}, filler "
        f"share {summary.filler_share:.3f}). {_remedy_of_fill(summary.plan_fill, summary.filler_share, summary.fill)}",
    )


def _remedy_of_fill(plan_fill: float, filler_share: float, fill: float) -> str:
    """What the largest loss asks for: padding in the own bucket, filler rows, or rows of a larger bucket."""
    moved_up = 1 - fill / max(plan_fill * (1 - filler_share), 1e-9)
    losses = {
        "Most is padding inside the buckets: raise schedule.max_buckets.": 1 - plan_fill,
        "Most is filler: raise schedule.examples_per_step, or lower schedule.rows_multiple_of.": filler_share,
        "Most is examples in larger buckets than their own: raise schedule.turns or schedule.examples_per_step, or "
        "lower schedule.rows_multiple_of.": moved_up,
    }
    return max(losses, key=losses.__getitem__)


def _filler(files: RunFiles) -> Finding | None:
    if files.summary is None:
        return None
    share = files.summary.filler_share
    if share <= MOST_FILLER:
        return Finding(False, f"{share:.1%} of all rows are filler.")
    return Finding(
        True,
        f"{share:.0%} of all rows are filler: blocks are not full. Lower schedule.rows_multiple_of or "
        "schedule.max_buckets, or raise schedule.turns.",
    )


def _compiling(files: RunFiles) -> Finding | None:
    summary = files.summary
    if summary is None:
        return None
    times = f"{summary.compile_seconds:.1f} s of compiling, {summary.train_seconds:.1f} s of training"
    if summary.compile_seconds <= MOST_COMPILING * summary.train_seconds:
        return Finding(False, f"Compiling is short beside training: {times}.")
    return Finding(
        True,
        f"Compiling weighs much beside training: {times}. Fewer buckets or turns make fewer or smaller programs; with "
        "machine.cache_dir a second run finds them again.",
    )


def _slows_down(files: RunFiles) -> Finding | None:
    if files.config is None or len(files.config.train.stage_scales) > 1 or len(files.metrics.readings) < 8:
        return None
    speeds = np.array([row.images_per_second for row in files.metrics.readings])
    quarter = len(speeds) // 4
    first, last = float(np.median(speeds[:quarter])), float(np.median(speeds[-quarter:]))
    if last >= LEAST_SPEED * first:
        return Finding(False, f"Training keeps its pace: {first:,.0f} examples/s at first, {last:,.0f} at last.")
    return Finding(
        True,
        f"Training became slower, from {first:,.0f} examples/s in its first quarter to {last:,.0f} in its last. Does "
        "something else use the machine?",
    )


def _bad_examples(files: RunFiles) -> Finding | None:
    if not files.bad:
        return Finding(False, "No example was bad.")
    count = "1 example" if len(files.bad) == 1 else f"{len(files.bad):,} examples"
    return Finding(True, f"{count} could not be used; the table below names them.")


def _code(files: RunFiles) -> Finding | None:
    if files.summary is None:
        return None
    commit = files.summary.git_commit
    if not commit:
        return Finding(True, "The code was in no git checkout: its version is not known.")
    if commit.endswith("-dirty"):
        return Finding(
            True,
            f"The code had changes that commit {commit.removesuffix('-dirty')[:12]} does not hold: the run cannot be "
            "repeated from it. Commit before a run that counts.",
        )
    return Finding(False, f"The code is that of commit {commit[:12]}, unchanged.")
