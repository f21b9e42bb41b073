"""Rules that check a run: first those about learning, then those about cost.

A rule compares figures in a workdir with a limit and says in a sentence what it found. Beyond the limit it also says
what that means and what to do. It says nothing if the workdir lacks the figures. The limits are rules of thumb, chosen
so that the runs of the benchmarks pass; but the size of a cropped digit does tell its class.
"""

import math
from dataclasses import dataclass

import numpy as np

from fcn_jax.reports.run_files import EvaluationRecord, RunFiles


@dataclass(frozen=True)
class Finding:
    """The result of one rule."""

    is_warning: bool
    text: str


def standard_error(evaluation: EvaluationRecord) -> float:
    """Return the standard error of an accuracy, as a fraction.

    Where all or no examples are right, return that of about one mistake or one hit: it would otherwise be 0.
    """
    count = max(evaluation.count, 1)
    accuracy = min(max(evaluation.accuracy, 1 / (count + 1)), count / (count + 1))
    return math.sqrt(accuracy * (1 - accuracy) / count)


MOST_LOSS_RISE = 0.1
"""Largest rise of the validation loss above its lowest value, relative to that value."""
MOST_GAP = 0.05
"""Largest difference between training and validation accuracy."""
LARGEST_JUMP = 0.5
"""Largest rise of the training loss between two readings, relative to the first reading of the run."""
DEVIATIONS = 2.0
"""Standard errors above which a difference between accuracies does not count as chance."""


def find_learning(files: RunFiles) -> list[Finding]:
    """Return the findings about accuracy and loss, in the order of the rules."""
    rules = (
        *(_not_finite, _guessing, _validation_falls, _loss_rises, _gap, _jumps, _still_improves),
        *(_one_shape, _size_tells),
    )
    return [finding for finding in (rule(files) for rule in rules) if finding]


def _epoch(files: RunFiles, step: int) -> str:
    """Return the epoch of a step as text; `?` if it is not known."""
    readings = files.metrics.readings
    return f"{np.interp(step, [r.step for r in readings], [r.epoch for r in readings]):.3g}" if readings else "?"


def _not_finite(files: RunFiles) -> Finding | None:
    for evaluation in [*files.metrics.validations, *files.metrics.tests]:
        if not math.isfinite(evaluation.loss):
            epoch = _epoch(files, evaluation.step)
            return Finding(
                True,
                f"At epoch {epoch} the loss of an evaluation is {evaluation.loss}: the weights or the BatchNorm "
                "statistics have become too large. Lower train.learning_rate.",
            )
    return None


def _guessing(files: RunFiles) -> Finding | None:
    evaluations = files.metrics.tests or files.metrics.validations
    if not evaluations or files.config is None or files.config.data.labels == "several":
        return None
    evaluation = evaluations[-1]
    chance, margin = 1 / files.config.model.num_classes, DEVIATIONS * standard_error(evaluation)
    found = files.summary.size_tells if files.summary else None
    if evaluation.accuracy <= chance + margin:
        guess = f"no better than guessing one of {files.config.model.num_classes} classes"
    elif found is not None and abs(evaluation.accuracy - found.majority_accuracy) <= margin:
        guess = f"about what one gets by always saying the commonest class ({found.majority_accuracy:.1%} of train)"
    else:
        return None
    return Finding(
        True,
        f"The last evaluation has an accuracy of {evaluation.accuracy:.1%}, {guess}. Check train.learning_rate, "
        "data.mean, data.std and the labels.",
    )


def _validation_falls(files: RunFiles) -> Finding | None:
    validations = files.metrics.validations
    if len(validations) < 2:
        return None
    best, last = max(validations, key=lambda row: row.accuracy), validations[-1]
    drop = best.accuracy - last.accuracy
    where = f"the last is {last.accuracy:.2%}, the best was {best.accuracy:.2%} at epoch {_epoch(files, best.step)}"
    if drop <= DEVIATIONS * math.hypot(standard_error(best), standard_error(last)):
        return Finding(False, f"Validation accuracy has not fallen by more than chance: {where}.")
    return Finding(
        True,
        f"Validation accuracy has fallen by more than chance: {where}. Train for fewer epochs, or with more "
        "regularisation.",
    )


def _loss_rises(files: RunFiles) -> Finding | None:
    validations = [row for row in files.metrics.validations if math.isfinite(row.loss)]
    if len(validations) < 2:
        return None
    best, last = min(validations, key=lambda row: row.loss), validations[-1]
    rise = last.loss / best.loss - 1 if best.loss > 0 else 0.0
    where = f"the last is {last.loss:.3g}, the lowest was {best.loss:.3g} at epoch {_epoch(files, best.step)}"
    if rise <= MOST_LOSS_RISE:
        return Finding(False, f"Validation loss is near its lowest value: {where}.")
    return Finding(
        True,
        f"Validation loss has risen by {rise:.0%} since its lowest value: {where}. The net has become overconfident in "
        "its mistakes. If you need its probabilities, train for fewer epochs or with more regularisation.",
    )


def _gap(files: RunFiles) -> Finding | None:
    readings, validations = files.metrics.readings, files.metrics.validations
    if not readings or not validations:
        return None
    last = validations[-1]
    epoch = [row for row in readings if row.step <= last.step]
    trained = float(np.mean([row.accuracy for row in epoch if row.epoch > epoch[-1].epoch - 1]))
    gap = trained - last.accuracy
    where = f"{trained:.2%} in training, {last.accuracy:.2%} in validation"
    if gap <= max(MOST_GAP, DEVIATIONS * standard_error(last)):
        return Finding(False, f"Training accuracy is not far above validation accuracy: {where}.")
    return Finding(
        True,
        f"Training accuracy is {100 * gap:.1f} percentage points above validation accuracy ({where}): the net overfits "
        "the training data. More augmentation (data.augment), more weight decay or more data may help.",
    )


def _jumps(files: RunFiles) -> Finding | None:
    readings = files.metrics.readings
    if len(readings) < 2:
        return None
    rises = np.diff([row.loss for row in readings])
    place = int(np.argmax(rises))
    before, after = readings[place], readings[place + 1]
    if rises[place] <= LARGEST_JUMP * readings[0].loss:
        return Finding(False, f"Training loss never rises by more than {max(rises[place], 0):.2g} between log steps.")
    return Finding(
        True,
        f"Training loss jumped from {before.loss:.3g} to {after.loss:.3g} at epoch {after.epoch:.3g}. Lower "
        "train.learning_rate, or check the data.",
    )


def _still_improves(files: RunFiles) -> Finding | None:
    validations = files.metrics.validations
    if not files.is_finished or len(validations) < 4:
        return None
    earlier, last = validations[(len(validations) - 1) * 3 // 4], validations[-1]
    where = f"from {earlier.accuracy:.2%} to {last.accuracy:.2%}"
    if last.accuracy - earlier.accuracy <= DEVIATIONS * math.hypot(standard_error(earlier), standard_error(last)):
        return Finding(False, f"Validation accuracy did not rise by more than chance in the last quarter: {where}.")
    return Finding(
        True,
        f"Validation accuracy still rose in the last quarter of the run, {where}: a larger train.epochs may help.",
    )


def _one_shape(files: RunFiles) -> Finding | None:
    config = files.config
    if config is None or config.schedule.kind != "bucketed" or len(files.plan.shapes if files.plan else ()) < 2:
        return None
    found = files.summary.size_tells if files.summary else None
    if found is not None and found.tells:
        return None  # _size_tells says it, with figures
    return Finding(
        True,
        "Every step holds examples of one bucket only. With any norm and with none, accuracy suffers if an example's "
        "size is related to its class. Use schedule.kind=stratified.",
    )


def _size_tells(files: RunFiles) -> Finding | None:
    found = files.summary.size_tells if files.summary else None
    if found is None or files.config is None:
        return None
    figures = f"Of the training examples, {found.describe()}."
    if not found.tells:
        return Finding(False, figures)
    return Finding(True, f"{figures} {found.advice(files.config.schedule.kind)}")


MOST_INPUT_WAIT = 0.1
"""Largest share of the training steps' time that may be spent waiting for input."""
MOST_FILLER = 0.1
"""Largest share of filler rows among all rows."""
LEAST_FILL = 0.6
"""Smallest share of true positions among all positions computed."""
MOST_COMPILING = 0.5
"""Largest time of compiling, relative to the time of training."""
LEAST_SPEED = 0.7
"""Smallest speed in the last quarter of a run, relative to the first quarter."""


def find_cost(files: RunFiles) -> list[Finding]:
    """Return the findings about time, padding, bad examples and code, in the order of the rules."""
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
        return Finding(False, f"Input is fast enough: {wait:.1%} of the steps' time was spent waiting for it.")
    return Finding(
        True,
        f"{wait:.0%} of the steps' time was spent waiting for input. Keep decoded examples (machine.cache_mib in "
        "memory, machine.disk_cache_mib on disk), decode JPEGs with data.decode=fast, or give it more cores or smaller "
        "files.",
    )


def _fill(files: RunFiles) -> Finding | None:
    summary = files.summary
    if summary is None:
        return None
    if summary.fill >= LEAST_FILL:
        return Finding(False, f"{summary.fill:.1%} of the computed positions are true ones, not padding.")
    return Finding(
        True,
        f"Only {summary.fill:.1%} of the computed positions are true ones, not padding (plan fill "
        f"{summary.plan_fill:.3f}, filler share {summary.filler_share:.3f}). "
        f"{_remedy_of_fill(summary.plan_fill, summary.filler_share, summary.fill)}",
    )


def _remedy_of_fill(plan_fill: float, filler_share: float, fill: float) -> str:
    """Return a remedy for the largest loss.

    The losses are: padding in an example's own bucket, filler rows, and examples moved to a larger bucket.
    """
    moved_up = 1 - fill / max(plan_fill * (1 - filler_share), 1e-9)
    losses = {
        "Most is lost to padding inside the buckets: raise schedule.max_buckets, or let 0 choose it.": 1 - plan_fill,
        "Most is lost to filler: raise schedule.examples_per_step, or set schedule.rows_multiple_of to the number of "
        "devices.": filler_share,
        "Most is lost to examples placed in larger buckets than their own: raise schedule.num_programs or "
        "schedule.examples_per_step, or lower schedule.rows_multiple_of.": moved_up,
    }
    return max(losses, key=losses.__getitem__)


def _filler(files: RunFiles) -> Finding | None:
    if files.summary is None:
        return None
    share = files.summary.filler_share
    if share <= MOST_FILLER:
        return Finding(False, f"{share:.1%} of all rows are filler rows.")
    return Finding(
        True,
        f"{share:.0%} of all rows are filler rows: blocks are not full, or the devices do not divide their rows. Set "
        "schedule.rows_multiple_of to the number of devices, lower schedule.max_buckets, or raise "
        "schedule.num_programs.",
    )


def _compiling(files: RunFiles) -> Finding | None:
    summary = files.summary
    if summary is None:
        return None
    times = f"{summary.compile_seconds:.1f} s of compiling, {summary.train_seconds:.1f} s of training"
    if summary.compile_seconds <= MOST_COMPILING * summary.train_seconds:
        return Finding(False, f"Compiling takes little time compared with training: {times}.")
    return Finding(
        True,
        f"Compiling takes much time compared with training: {times}. Use fewer buckets or fewer programs. With "
        "machine.cache_dir, a second run reuses the compiled programs.",
    )


def _slows_down(files: RunFiles) -> Finding | None:
    if files.config is None or len(files.config.train.stage_scales) > 1 or len(files.metrics.readings) < 8:
        return None
    speeds = np.array([row.examples_per_second for row in files.metrics.readings])
    quarter = len(speeds) // 4
    first, last = float(np.median(speeds[:quarter])), float(np.median(speeds[-quarter:]))
    if last >= LEAST_SPEED * first:
        return Finding(False, f"Training keeps its speed: {first:,.0f} examples/s at first, {last:,.0f} at the end.")
    return Finding(
        True,
        f"Training became slower, from {first:,.0f} examples/s in its first quarter to {last:,.0f} in its last. "
        "Check whether something else uses the machine.",
    )


def _bad_examples(files: RunFiles) -> Finding | None:
    if not files.bad:
        return Finding(False, "No bad example was found.")
    count = "1 example" if len(files.bad) == 1 else f"{len(files.bad):,} examples"
    return Finding(True, f"{count} could not be used; the table below names them.")


def _code(files: RunFiles) -> Finding | None:
    if files.summary is None:
        return None
    commit = files.summary.git_commit
    if not commit:
        return Finding(True, "The code was not in a git checkout, so its commit is not known.")
    if commit.endswith("-dirty"):
        return Finding(
            True,
            f"The code had changes that are not in commit {commit.removesuffix('-dirty')[:12]}, so the run cannot be "
            "repeated from that commit. Commit changes before a run whose result you want to keep.",
        )
    return Finding(False, f"The code is that of commit {commit[:12]}, without changes.")
