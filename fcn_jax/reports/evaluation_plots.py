"""The plots of an evaluation. They fit the width of a phone; each has a text with the same numbers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from fcn_jax.inference.statistics import Bin, Confusion, Coverage, Proportion
from fcn_jax.reports.html import Picture, png_of
from fcn_jax.system.console import as_line

WIDTH = 6.4
"""Width of a plot, inches."""
MOST_CLASSES_WITH_COUNTS = 12
"""A confusion matrix with more classes has no room for numbers in its cells."""
NAME_LENGTH = 16
"""Letters of a class name on an axis; longer names are cut."""
LARGEST_RATIO = 5
"""Largest ratio of the two ends of a linear axis; an axis with a larger ratio is logarithmic."""


def percent(share: float) -> str:
    return f"{100 * share:.2f}"


def with_interval(share: Proportion) -> str:
    """Return a share and its interval in percent, as `98.12 [97.01, 98.90]`."""
    low, high = share.interval
    return f"{percent(share.value)} [{percent(low)}, {percent(high)}]"


def shortened(name: str, length: int = NAME_LENGTH) -> str:
    name = as_line(name)
    return name if len(name) <= length else f"{name[: length - 1]}…"


def accuracy_by(bins: Sequence[Bin], what: str, *, name: str, overall: float, digits: int) -> Picture:
    """Plot the accuracy in bins of a value, such as the length.

    Args:
        what: the value and its unit, in words.
        name: the value, for the name of the picture.
        overall: accuracy of all bins together.
        digits: digits after the decimal point in which the text gives the value.
    """
    figure, (axes,) = _axes(3.8)
    means, values = [one.mean for one in bins], [100 * one.accuracy.value for one in bins]
    axes.axhline(100 * overall, color="grey", linestyle="--", linewidth=1, label=f"all: {percent(overall)}")
    # A point stands at the mean value of its bin's examples; a horizontal line shows how far the bin reaches.
    axes.hlines(
        values, [one.low for one in bins], [one.high for one in bins], color="tab:blue", alpha=0.45, linewidth=4
    )
    axes.errorbar(means, values, yerr=_error_bars([one.accuracy for one in bins]), fmt="o", color="tab:blue", capsize=3)
    if bins[-1].high > LARGEST_RATIO * bins[0].low:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=not digits))
    axes.set(xlabel=what, ylabel="accuracy, %")
    _limit_to_percent(axes)
    axes.grid(alpha=0.3)
    _legend_above(axes)
    text = "; ".join(
        f"{one.low:.{digits}f} to {one.high:.{digits}f}: "
        f"{with_interval(one.accuracy)} of {one.accuracy.examples:,} examples"
        for one in bins
    )
    caption = f"Accuracy by {what}, in bins with about the same number of examples, with 95 % intervals"
    return _picture(f"by_{name}", caption, f"{text}.", figure)


def accuracy_by_scale(scales: Sequence[float], accuracies: Sequence[Proportion]) -> Picture:
    """Plot the accuracy against the test scale."""
    figure, (axes,) = _axes(3.8)
    points = sorted(zip(scales, accuracies, strict=True))
    places, values = [scale for scale, _ in points], [100 * accuracy.value for _, accuracy in points]
    bars = _error_bars([accuracy for _, accuracy in points])
    axes.errorbar(places, values, yerr=bars, marker="o", color="tab:blue", capsize=3)
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{scale:g}" for scale in places])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="test scale", ylabel="accuracy, %")
    _limit_to_percent(axes)
    axes.grid(alpha=0.3)
    text = "; ".join(f"{scale:g}: {with_interval(accuracy)}" for scale, accuracy in points)
    return _picture("by_scale", "Accuracy against the test scale, with 95 % intervals", f"{text}.", figure)


def reliability(bins: Sequence[Bin]) -> Picture:
    """Plot the accuracy against the probability of the predicted class, and below it the number of examples."""
    figure, (axes, below) = _axes(5.2, ratios=(3.0, 1.0))
    lows, widths = [one.low for one in bins], [one.high - one.low for one in bins]
    values = [100 * one.accuracy.value for one in bins]
    axes.plot([0, 1], [0, 100], color="grey", linestyle="--", linewidth=1, label="perfectly calibrated")
    axes.bar(lows, values, widths, align="edge", color="tab:blue", alpha=0.45, edgecolor="white")
    bars = _error_bars([one.accuracy for one in bins])
    axes.errorbar([one.mean for one in bins], values, yerr=bars, fmt="o", color="tab:blue", capsize=3, label="accuracy")
    axes.set(ylabel="accuracy, %", ylim=(0, 102), xlim=(0, 1))
    axes.tick_params(labelbottom=False)
    _legend_above(axes)
    below.bar(lows, [one.accuracy.examples for one in bins], widths, align="edge", color="tab:blue", edgecolor="white")
    below.set_yscale("log")
    below.set(xlabel="probability of the predicted class", ylabel="examples", xlim=(0, 1), ylim=(0.5, None))
    for each in (axes, below):
        each.grid(alpha=0.3)
    text = "; ".join(
        f"mean probability {one.mean:.3f}: accuracy {with_interval(one.accuracy)} of {one.accuracy.examples:,} examples"
        for one in bins
    )
    caption = "Reliability: accuracy of predictions by their probability. Below the diagonal the net is overconfident"
    return _picture("reliability", caption, f"{text}.", figure)


def coverage_picture(coverages: Sequence[Coverage]) -> Picture:
    """Plot the accuracy of the surest predictions against their share of all."""
    figure, (axes,) = _axes(WIDTH * 0.45)
    shares, values = [100 * one.share for one in coverages], [100 * one.accuracy.value for one in coverages]
    bars = _error_bars([one.accuracy for one in coverages])
    axes.errorbar(shares, values, yerr=bars, fmt="o-", color="tab:blue", capsize=3)
    axes.set(xlabel="examples answered, %", ylabel="accuracy, %", xlim=(0, 103))
    axes.grid(alpha=0.3)
    text = "; ".join(
        f"{share:.0f} % answered: accuracy {value:.2f} %" for share, value in zip(shares, values, strict=True)
    )
    return _picture("coverage", "Accuracy of the surest predictions, by how many are answered", f"{text}.", figure)


def confusion_picture(
    matrix: Int[np.ndarray, "k k"], names: Sequence[str], most_frequent: Sequence[Confusion]
) -> Picture:
    """Draw the matrix. Rows are true classes, columns predicted ones; the colour is a cell's share of its row."""
    number = len(names)
    figure, (axes,) = _axes(WIDTH * 0.92)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    # The power of 0.3 keeps a cell of 1 % visible beside one of 100 %.
    image = axes.imshow(100 * share, cmap="Blues", norm=PowerNorm(0.3, vmin=0, vmax=100))
    size = float(np.clip(230 / number, 4.5, 10))
    ticks, short = range(number), [shortened(name) for name in names]
    upright = max(map(len, short)) > 2
    axes.set_xticks(ticks, short, fontsize=size, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(ticks, short, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="true")
    axes.spines[:].set_visible(False)
    if number <= MOST_CLASSES_WITH_COUNTS:
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if share[row, column] > 0.3 else "black"
            axes.text(column, row, f"{count:,}" if count else "", ha="center", va="center", color=colour, fontsize=8)
    colours = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 1, 5, 20, 50, 100])
    colours.set_label("% of the true class", fontsize=9)
    said = "; ".join(
        f"{names[one.label]} predicted as {names[one.predicted]}: {one.examples:,}" for one in most_frequent
    )
    text = f"{matrix.trace():,} of {matrix.sum():,} examples are on the diagonal. {said or 'No example is off it'}."
    return _picture("confusions", "Confusion matrix: true classes (rows) and predicted classes (columns)", text, figure)


def _axes(height: float, *, ratios: Sequence[float] = (1.0,)) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes one below the other."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(len(ratios), 1, squeeze=False, height_ratios=list(ratios))
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(grid.flat)


def _error_bars(accuracies: Sequence[Proportion]) -> np.ndarray:
    """Return how far each interval reaches below and above its value: [2, n], percentage points."""
    reach = [(share.value - share.interval[0], share.interval[1] - share.value) for share in accuracies]
    return 100 * np.maximum(np.array(reach).T, 0)


def _legend_above(axes: Axes) -> None:
    """Draw the legend above the axes, so that it hides no interval."""
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)


def _limit_to_percent(axes: Axes) -> None:
    """Limit the axis to 0 % and 100 %, plus room for a marker."""
    low, high = axes.get_ylim()
    margin = 0.03 * (min(high, 100) - low)
    axes.set_ylim(max(low, -margin), min(high, 100 + margin))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def _picture(name: str, caption: str, text: str, figure: Figure) -> Picture:
    return Picture(name, caption, f"{caption}. {text}", png_of(figure))
