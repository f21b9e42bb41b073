"""The plots of a run. They fit the width of a phone; each has a text with the same numbers."""

from collections.abc import Callable, Sequence
from functools import cached_property

import jax
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fcn_jax.config import TrainConfig
from fcn_jax.core.stages import scale_of_epochs
from fcn_jax.reports.html import Picture, png_of
from fcn_jax.reports.run_files import EvaluationRecord, ReadingRecord, RunFiles
from fcn_jax.train.optimizer import learning_rate_schedule

MOST_POINTS_OF_RATE = 400
"""Most points of the curve of the learning rate."""


class Timeline:
    """The steps and epochs of a run with at least one reading.

    Args:
        config: the training config; None: not known.
    """

    def __init__(self, readings: Sequence[ReadingRecord], config: TrainConfig | None):
        self._config = config
        self._steps = np.array([0, *(reading.step for reading in readings)], np.int64)
        self._epochs = np.array([0.0, *(reading.epoch for reading in readings)])

    def epochs_at(self, steps: Sequence[int]) -> Float[np.ndarray, " n"]:
        """Return the number of epochs completed after each of some steps."""
        return np.interp(np.array(steps, np.int64), self._steps, self._epochs)

    @cached_property
    def stage_starts(self) -> list[int]:
        """Epochs after which the second and each later stage begins."""
        return [epochs.start for epochs, _ in scale_of_epochs(self._config)[1:]] if self._config else []

    @cached_property
    def total_steps(self) -> int | None:
        """Number of steps of the whole run; None before the last stage has begun.

        It is not known earlier, because a later stage may have another number of steps per epoch.
        """
        last_stage = self.stage_starts[-1] if self.stage_starts else 0
        if self._config is None or self._epochs[-1] <= last_stage:
            return None
        done = self._steps[-1] - np.interp(last_stage, self._epochs, self._steps)
        steps_per_epoch = done / (self._epochs[-1] - last_stage)
        return round(self._steps[-1] + (self._config.epochs - self._epochs[-1]) * steps_per_epoch)

    def learning_rates(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]] | None:
        """Return (epochs, learning rates at them) of the whole run; None while they cannot be known."""
        if self._config is None or self.total_steps is None:
            return None
        steps, epochs = self._whole(self.total_steps, self._config.epochs)
        warmup_steps = round(float(np.interp(self._config.warmup_epochs, epochs, steps)))
        rate = learning_rate_schedule(self._config, warmup_steps=warmup_steps, total_steps=self.total_steps)
        points = np.unique(np.linspace(0, self.total_steps, MOST_POINTS_OF_RATE).round())
        # The run that is reported may still be using the accelerators of this machine.
        jax.config.update("jax_platforms", "cpu")
        return np.interp(points, steps, epochs), np.asarray(rate(points), np.float64)

    def _whole(self, total_steps: int, num_epochs: int) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Return (steps, epochs) of all readings and of the end of the run."""
        return np.append(self._steps, total_steps), np.append(self._epochs, float(num_epochs))


WIDTH = 6.4
"""Width of a plot, inches."""
TRAIN, VALIDATION, INK = "#3a78b5", "#d95f02", "#22303c"
MOST_POINTS, MOST_PARTS = 120, 60
"""A curve with more points is drawn light, and the means over this many parts of it are drawn on top."""
SETTLING = 0.1
"""Share of a run at its beginning whose values may be cut off, so that the rest is easier to see."""
NUM_SAID = 5
"""Number of points of a curve in its text."""


def draw_curves(files: RunFiles) -> list[Picture]:
    """Draw the pictures of a run; there are none before its first reading."""
    if not files.metrics.readings:
        return []
    time = Timeline(files.metrics.readings, files.config.train if files.config else None)
    pictures = [_accuracy(files, time), _loss(files, time), _learning_rate(files, time), _speed(files, time)]
    return [picture for picture in pictures if picture]


def _accuracy(files: RunFiles, time: Timeline) -> Picture:
    return _learning_curve(
        files,
        time,
        name="accuracy",
        label="accuracy, %",
        value=lambda row: 100 * row.accuracy,
        form="{:.2f}%",
        note="Training accuracy is measured on the (augmented) training examples, while the weights still change.",
    )


def _loss(files: RunFiles, time: Timeline) -> Picture:
    smoothing = files.config.train.label_smoothing if files.config else 0.0
    smoothed = (
        f" Training loss includes label smoothing of {smoothing:g}; validation loss does not." if smoothing else ""
    )
    return _learning_curve(
        files,
        time,
        name="loss",
        label="loss",
        value=lambda row: row.loss,
        form="{:.4g}",
        note=f"Cross entropy.{smoothed}",
    )


def _learning_curve(
    files: RunFiles,
    time: Timeline,
    *,
    name: str,
    label: str,
    value: Callable[[ReadingRecord | EvaluationRecord], float],
    form: str,
    note: str,
) -> Picture:
    """Draw training and validation in one picture."""
    figure, (axes,) = _figure(3.4, 1)
    readings, validations = files.metrics.readings, files.metrics.validations
    curves = [_points(readings, time, value)]
    texts = [f"training {_said(*curves[0], form)}"]
    _draw_readings(axes, *curves[0], TRAIN, label="training")
    if validations:
        curves.append(_points(validations, time, value))
        texts.append(f"validation {_said(*curves[1], form)}")
        axes.plot(*curves[1], "o-", color=VALIDATION, markersize=4, linewidth=1.6, label="validation")
    cut = " The steep beginning of the curves is cut off." if _limit(axes, curves) else ""
    axes.set_ylabel(label)
    axes.legend(frameon=False)
    _label_epochs([axes], time)
    caption = f"{name.capitalize()} against epochs. {note}{cut}{_light(readings)}"
    return Picture(name, caption, f"{name.capitalize()}: {'; '.join(texts)}.", png_of(figure))


def _points(
    rows: Sequence[ReadingRecord] | Sequence[EvaluationRecord],
    time: Timeline,
    value: Callable[[ReadingRecord | EvaluationRecord], float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return (epochs, values) of a curve."""
    return time.epochs_at([row.step for row in rows]), np.array([value(row) for row in rows])


def _learning_rate(files: RunFiles, time: Timeline) -> Picture | None:
    found = time.learning_rates()
    if found is None or files.config is None:
        return None
    epochs, rates = found
    figure, (axes,) = _figure(2.0, 1)
    axes.plot(epochs, rates, color=INK, linewidth=1.6)
    done = files.metrics.readings[-1].epoch
    if done < epochs[-1]:
        axes.plot(done, np.interp(done, epochs, rates), "o", color=TRAIN, label="now")
        axes.legend(frameon=False)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("learning rate")
    _label_epochs([axes], time)
    train, caption = files.config.train, "Learning rate against epochs, as the config sets it"
    if train.backbone_rate != 1:
        caption += f"; the rate of all layers before the head is {train.backbone_rate:g} times as large"
    if train.rate_scaling != "none":
        caption += f"; every step scales it by its number of examples ({train.rate_scaling} scaling)"
    return Picture("learning_rate", f"{caption}.", f"Learning rate: {_said(epochs, rates, '{:.3g}')}.", png_of(figure))


def _speed(files: RunFiles, time: Timeline) -> Picture:
    """Draw examples a second, positions a second and the shares of waiting, one below the other."""
    readings = files.metrics.readings
    names = files.speed_names
    curves = (
        (names.examples_in_words, "{:,.0f}", [reading.examples_per_second for reading in readings]),
        (names.positions_in_words, "{:.3g}", [reading.megapositions_per_second for reading in readings]),
        ("input wait, %", "{:.1f}%", [100 * reading.input_wait for reading in readings]),
        ("device idle, %", "{:.1f}%", [100 * reading.device_idle for reading in readings]),
    )
    epochs = time.epochs_at([reading.step for reading in readings])
    figure, panels = _figure(6.2, len(curves))
    texts = []
    for axes, (label, form, values) in zip(panels, curves, strict=True):
        is_share = label.endswith("%")
        _draw_readings(axes, epochs, np.array(values), INK if is_share else TRAIN)
        axes.set_ylim(0, 1.08 * max(*values, 1) if is_share else 1.08 * max(values))
        axes.set_ylabel(label)
        texts.append(f"{label}: {_said(epochs, np.array(values), form)}")
    _label_epochs(panels, time)
    figure.align_ylabels()
    caption = (
        "Throughput of the training steps, and the shares of their time in which the run waited for input and in which "
        "the devices had nothing to do."
    )
    return Picture("speed", f"{caption}{_light(readings)}", f"{'; '.join(texts)}.", png_of(figure))


def _figure(height: float, num_panels: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(num_panels, 1, sharex=True, squeeze=False)[:, 0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.yaxis.set_major_formatter("{x:,g}")
    return figure, list(panels)


def _draw_readings(axes: Axes, epochs: np.ndarray, values: np.ndarray, colour: str, *, label: str = "") -> None:
    """Draw every reading; if there are many, draw them light, with means over parts of them on top."""
    if len(values) <= MOST_POINTS:
        axes.plot(epochs, values, ".-", color=colour, markersize=4, linewidth=1.2, label=label)
        return
    axes.plot(epochs, values, color=colour, linewidth=0.8, alpha=0.35)
    means = [[part.mean() for part in np.array_split(array, MOST_PARTS)] for array in (epochs, values)]
    axes.plot(*means, color=colour, linewidth=1.6, label=label)


def _light(readings: Sequence[ReadingRecord]) -> str:
    """Return a sentence that explains the light curves; empty if there are none."""
    return (
        " Light lines: single log steps of training. Dark lines: means of several."
        if len(readings) > MOST_POINTS
        else ""
    )


def _limit(axes: Axes, curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Cut off a steep beginning of the curves; return whether anything is cut off."""
    values = np.concatenate([values[epochs > SETTLING * epochs[-1]] for epochs, values in curves])
    values = values[np.isfinite(values)]
    if not len(values):
        return False
    margin = 0.06 * (np.ptp(values) or max(1e-3, abs(values[0])))
    low, high = values.min() - margin, values.max() + margin
    axes.set_ylim(low, high)
    return any((values < low).any() or (values > high).any() for _, values in curves)


def _label_epochs(panels: Sequence[Axes], time: Timeline) -> None:
    """Label the epoch axis, which all panels share, and mark the stages."""
    axes = panels[-1]
    axes.set_xlim(0, 1.01 * axes.dataLim.x1)
    starts = [start for start in time.stage_starts if start < axes.get_xlim()[1]]
    for panel in panels:
        for start in starts:
            panel.axvline(start, color=INK, linestyle=":", linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("epoch (dotted: a new stage begins)" if starts else "epoch")


def _said(epochs: np.ndarray, values: np.ndarray, form: str) -> str:
    """Return a curve in words: some of its points, evenly spread, including the first and the last."""
    places = np.unique(np.linspace(0, len(values) - 1, NUM_SAID).round().astype(int))
    points = ", ".join(f"{form.format(values[place])} at epoch {epochs[place]:.3g}" for place in places)
    return f"{points} (lowest {form.format(np.min(values))}, highest {form.format(np.max(values))})"
