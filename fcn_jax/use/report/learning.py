"""Rules on how a run learns: whether it does, whether it goes wrong, whether it is long enough."""

import math

import numpy as np

from fcn_jax.config_model_rules import WITHOUT_BATCH_NORM
from fcn_jax.use.report.files import RunFiles
from fcn_jax.use.report.finding import Finding, standard_error

MOST_LOSS_RISE = 0.1
"""Of the validation loss over its lowest."""
MOST_GAP = 0.05
"""Between training and validation accuracy."""
LARGEST_JUMP = 0.5
"""Of the training loss between two readings, relative to the first."""
DEVIATIONS = 2.0
"""A difference between accuracies of so many standard errors is no chance."""


def find_learning(files: RunFiles) -> list[Finding]:
    """What the rules say, in their order."""
    rules = (_not_finite, _guessing, _validation_falls, _loss_rises, _gap, _jumps, _still_improves, _one_shape)
    return [finding for finding in (rule(files) for rule in rules) if finding]


def _epoch(files: RunFiles, step: int) -> str:
    """The epoch of a step, for people."""
    readings = files.metrics.readings
    return f"{np.interp(step, [r.step for r in readings], [r.epoch for r in readings]):.3g}" if readings else "?"


def _not_finite(files: RunFiles) -> Finding | None:
    for evaluation in [*files.metrics.validations, *files.metrics.tests]:
        if not math.isfinite(evaluation.loss):
            epoch = _epoch(files, evaluation.step)
            return Finding(
                True,
                f"At epoch {epoch} the loss of an evaluation is {evaluation.loss}: the weights, or the statistics of "
                "BatchNorm, overflow. Lower train.learning_rate.",
            )
    return None


def _guessing(files: RunFiles) -> Finding | None:
    evaluations = files.metrics.tests or files.metrics.validations
    if not evaluations or files.config is None:
        return None
    evaluation = evaluations[-1]
    chance = 1 / files.config.model.num_classes
    if evaluation.accuracy > chance + DEVIATIONS * standard_error(evaluation):
        return None
    return Finding(
        True,
        f"The last evaluation has an accuracy of {evaluation.accuracy:.1%}, no better than guessing one of "
        f"{files.config.model.num_classes} classes. Look at train.learning_rate, at data.mean and data.std, and at the "
        "labels.",
    )


def _validation_falls(files: RunFiles) -> Finding | None:
    validations = files.metrics.validations
    if len(validations) < 2:
        return None
    best, last = max(validations, key=lambda row: row.accuracy), validations[-1]
    drop = best.accuracy - last.accuracy
    where = f"the last is {last.accuracy:.2%}, the best {best.accuracy:.2%}, at epoch {_epoch(files, best.step)}"
    if drop <= DEVIATIONS * standard_error(best):
        return Finding(False, f"Validation accuracy does not fall by more than chance: {where}.")
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
    where = f"{last.loss:.3g} at last, {best.loss:.3g} at its lowest, at epoch {_epoch(files, best.step)}"
    if rise <= MOST_LOSS_RISE:
        return Finding(False, f"Validation loss stays near its lowest: {where}.")
    return Finding(
        True,
        f"Validation loss has risen by {rise:.0%} since its lowest: {where}. The net has become too sure of its "
        "mistakes: where probabilities matter, train for fewer epochs or with more regularisation.",
    )


def _gap(files: RunFiles) -> Finding | None:
    readings, validations = files.metrics.readings, files.metrics.validations
    if not readings or not validations:
        return None
    last = validations[-1]
    epoch = [row for row in readings if row.step <= last.step]
    trained = float(np.mean([row.accuracy for row in epoch if row.epoch > epoch[-1].epoch - 1]))
    gap = trained - last.accuracy
    where = f"{trained:.2%} on what is trained on, {last.accuracy:.2%} on validation"
    if gap <= max(MOST_GAP, DEVIATIONS * standard_error(last)):
        return Finding(False, f"Training accuracy is not far above validation accuracy: {where}.")
    return Finding(
        True,
        f"Training accuracy is {100 * gap:.1f} points above validation accuracy ({where}): the net learns the "
        "training data by heart. More augmentation (data.augment), weight decay or data would help.",
    )


def _jumps(files: RunFiles) -> Finding | None:
    readings = files.metrics.readings
    if len(readings) < 2:
        return None
    rises = np.diff([row.loss for row in readings])
    place = int(np.argmax(rises))
    before, after = readings[place], readings[place + 1]
    if rises[place] <= LARGEST_JUMP * readings[0].loss:
        return Finding(False, f"Training loss never jumps up by more than {max(rises[place], 0):.2g}.")
    return Finding(
        True,
        f"Training loss jumped from {before.loss:.3g} to {after.loss:.3g} at epoch {after.epoch:.3g}. Lower "
        "train.learning_rate, or look at the data.",
    )


def _still_improves(files: RunFiles) -> Finding | None:
    validations = files.metrics.validations
    if not files.is_finished or len(validations) < 4:
        return None
    earlier, last = validations[(len(validations) - 1) * 3 // 4], validations[-1]
    where = f"from {earlier.accuracy:.2%} to {last.accuracy:.2%}"
    if last.accuracy - earlier.accuracy <= DEVIATIONS * standard_error(last):
        return Finding(False, f"Validation accuracy no longer rose by more than chance in the last quarter: {where}.")
    return Finding(
        True,
        f"Validation accuracy still rose in the last quarter, {where}: more train.epochs may help.",
    )


def _one_shape(files: RunFiles) -> Finding | None:
    config = files.config
    if config is None or config.schedule.kind != "bucketed" or len(files.plan.shapes if files.plan else ()) < 2:
        return None
    if config.model.norm != "batch" or config.model.name in WITHOUT_BATCH_NORM:
        return None
    return Finding(
        True,
        "Every step holds one shape, and BatchNorm takes its statistics from it: where shape goes with class, training "
        "suffers. Use schedule.kind=stratified, or model.norm=group.",
    )
