"""The plots of an ablation, drawn for the width of a phone. Each plot has a text with the same numbers."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.ablation import ByLength, Differences, Dots, HeatMap, Lines, Metric, Plot, Series
from experiments.results import Results
from experiments.statistics import Difference, interval_of_mean, spread
from experiments.words import arm_text, difference_text, factor_of, number
from fcn_jax.reports.html import Picture, png_of

WIDTH = 5.4
"""Width of a figure, in inches."""
MARKERS = "osD^vPX*<>"
POINTS = (0.5, 1, 2, 5, 10, 20, 50, 100)
"""Labels of an axis that is logarithmic above one percentage point, in both directions from 0."""

APART = 0.02
"""Distance of open markers of different series, as a share of the axis, so that none hides another."""


def draw(results: Results) -> list[Picture]:
    """Draw all plots of an ablation that have something to show."""
    pictures = []
    for index, plot in enumerate(results.ablation.plots, start=1):
        drawn = _draw(results, plot)
        if drawn is None:
            continue
        figure, caption, text = drawn
        name = f"{results.ablation.name}_{index}"
        pictures.append(Picture(name, caption, f"{caption}. {text}", png_of(figure)))
    return pictures


def _draw(results: Results, plot: Plot) -> tuple[Figure, str, str] | None:
    """Draw one plot and return (figure, caption, text); None if no run has the numbers that it shows."""
    match plot:
        case Dots(metric):
            return _dots(results, metric)
        case Lines():
            return _lines(results, plot)
        case HeatMap():
            return _heat_map(results, plot)
        case ByLength():
            return _by_length(results, plot)
        case Differences():
            return _differences(results, plot)
        case _:
            assert_never(plot)


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _dots(results: Results, metric: Metric) -> tuple[Figure, str, str] | None:
    arms = [arm for arm in results.arms if results.values(arm, metric)]
    if not arms:
        return None
    figure, axes = _axes(1.1 + 0.42 * len(arms))
    factor, texts = factor_of(metric), []
    for row, arm in enumerate(arms):
        values = [*results.values(arm, metric).values()]
        mean, (low, high) = np.mean(values), interval_of_mean(values)
        dots = np.multiply(factor, values)
        axes.plot(dots, np.full(len(dots), row), "o", color="tab:blue", alpha=0.45, markersize=6)
        axes.plot([factor * low, factor * high], [row, row], color="black", linewidth=1.5)
        axes.plot([factor * mean], [row], "|", color="black", markersize=15, markeredgewidth=2)
        interval = "" if np.isnan(low) else f" [{number(metric, low)}, {number(metric, high)}]"
        texts.append(f"{arm}: {number(metric, float(mean))}{interval}")
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(metric.name)
    axes.grid(axis="x", alpha=0.3)
    return figure, f"Runs (dots), their mean and its 95 % interval (black): {metric.name}", f"{'; '.join(texts)}."


def _lines(results: Results, plot: Lines) -> tuple[Figure, str, str] | None:
    figure, axes = _axes(4.0)
    texts, drawn = [], []
    for arm, marker in zip(results.arms, MARKERS * len(results.arms), strict=False):
        points = [(x, metric, [*results.values(arm, metric).values()]) for x, metric in plot.points]
        points = [(x, metric, values) for x, metric, values in points if values]
        if not points:
            continue
        found = [spread(values) for _, _, values in points]
        factor = factor_of(points[0][1])
        means = [factor * each.mean for each in found]
        drawn += means
        axes.errorbar(
            [x for x, _, _ in points],
            means,
            [factor * np.nan_to_num(each.deviation) for each in found],
            marker=marker,
            capsize=3,
            label=arm,
        )
        said = ", ".join(f"{number(m, each.mean)} at {x:g}" for (x, m, _), each in zip(points, found, strict=True))
        texts.append(f"{arm}: {said}")
    if not texts:
        return None
    if plot.log_x:
        axes.set_xscale("symlog", linthresh=1)
    if plot.log_y:
        least = min((mean for mean in drawn if mean > 0), default=1.0)
        axes.set_yscale("symlog", linthresh=10 ** np.floor(np.log10(least)))
        axes.set_ylim(bottom=0)
    axes.set_xticks([x for x, _ in plot.points], [f"{x:g}" for x, _ in plot.points])
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure, f"{plot.title} (mean ± standard deviation over seeds)", f"{'; '.join(texts)}."


def _heat_map(results: Results, plot: HeatMap) -> tuple[Figure, str, str] | None:
    arms, metrics = results.arms, plot.metrics
    table = np.full((len(arms), len(metrics)), np.nan)
    for row, arm in enumerate(arms):
        for column, metric in enumerate(metrics):
            values = [*results.values(arm, metric).values()]
            if values:
                table[row, column] = factor_of(metric) * np.mean(values)
    if np.isnan(table).all():
        return None
    figure, axes = _axes(1.8 + 0.6 * len(arms))
    image = axes.imshow(table, cmap="viridis", aspect="auto")
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for (row, column), value in np.ndenumerate(table):
        colour = "black" if value > middle else "white"
        axes.text(column, row, f"{value:.1f}" if np.isfinite(value) else "–", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(metrics)), [m.name.removesuffix(", %") for m in metrics], rotation=40, ha="right")
    axes.set_yticks(range(len(arms)), arms)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.8)
    texts = [f"{arm}: {', '.join(f'{m.name} {arm_text(results, arm, m)}' for m in metrics)}" for arm in arms]
    return figure, plot.title, f"{'; '.join(texts)}."


def _by_length(results: Results, plot: ByLength) -> tuple[Figure, str, str] | None:
    figure, axes = _axes(4.0)
    texts = []
    for arm, marker in zip(results.arms, MARKERS * len(results.arms), strict=False):
        total: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(2))
        for row in results.rows:
            if row["arm"] == arm:
                for length, counts in row["evaluations"].get(plot.evaluation, {}).get("by_length", {}).items():
                    total[int(length)] += counts
        if not total:
            continue
        parts = _in_parts(dict(sorted(total.items())))
        axes.plot([length for length, _ in parts], [accuracy for _, accuracy in parts], marker=marker, label=arm)
        texts.append(f"{arm}: {', '.join(f'{accuracy:.1f} at {length:.0f}' for length, accuracy in parts)}")
    if not texts:
        return None
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    title = f"Accuracy against {plot.x_label}, in fifths of the test examples, all seeds together"
    return figure, title, f"{'; '.join(texts)}."


def _differences(results: Results, plot: Differences) -> tuple[Figure, str, str] | None:
    figure, axes = _axes(4.4)
    texts, labels = [], list(dict.fromkeys(label for series in plot.series for label, _ in series.apart))
    open_markers = dict(zip(labels, "P*X", strict=False))
    for number_of_series, (series, marker) in enumerate(zip(plot.series, MARKERS * len(plot.series), strict=False)):
        colour = f"C{number_of_series}"
        line = sorted(_points(results, plot, series, series.arms), key=lambda point: point[0])
        if not line:
            continue
        _draw_points(axes, plot, line, marker=marker, color=colour, markersize=5, label=series.name)
        said = [f"{difference_text(plot.metric, found)} at {number(plot.x, x)}" for x, found in line]
        for label, arm in series.apart:
            apart = _points(results, plot, series, (arm,))
            style = {"marker": open_markers[label], "markersize": 8, "markerfacecolor": "none", "linestyle": "none"}
            aside = 0 if plot.log_x else APART * line[-1][0] * (number_of_series - (len(plot.series) - 1) / 2)
            _draw_points(axes, plot, [(x + aside, found) for x, found in apart], color=colour, **style)
            said += [f"{difference_text(plot.metric, found)} at {number(plot.x, x)} ({label})" for x, found in apart]
        texts.append(f"{series.name}: {', '.join(said)}")
    if not texts:
        return None
    for label, marker in open_markers.items():
        axes.plot([], [], marker, color="grey", markersize=8, markerfacecolor="none", label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    if plot.log_x:
        axes.set_xscale("log")
    lowest, highest = axes.dataLim.intervaly
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks([0, *POINTS, *(-points for points in POINTS)])
    axes.set_ylim(1.2 * lowest - 0.1, 1.2 * highest + 0.1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_xlabel(plot.x.name)
    axes.set_ylabel(f"difference in {plot.metric.name.replace(', %', ', points')}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    aside = "; open markers are moved sideways, so that none hides another" if labels and not plot.log_x else ""
    return figure, f"{plot.title} (mean difference and its 95 % interval{aside})", f"{'; '.join(texts)}."


def _points(results: Results, plot: Differences, series: Series, arms: Iterable[str]) -> list[tuple[float, Difference]]:
    """Return (x, difference) of the arms that have both."""
    points = []
    for arm in arms:
        x, found = [*results.values(arm, plot.x).values()], results.difference(arm, series.against, plot.metric)
        if x and found is not None:
            points.append((float(np.mean(x)), found))
    return points


def _draw_points(axes: Axes, plot: Differences, points: Sequence[tuple[float, Difference]], **style: Any) -> None:
    if points:
        factor = factor_of(plot.metric)
        means = factor * np.array([found.mean for _, found in points])
        ends = factor * np.array([(found.mean - found.low, found.high - found.mean) for _, found in points]).T
        axes.errorbar([x for x, _ in points], means, np.nan_to_num(ends), capsize=2, **style)


PARTS = 5
"""Of the examples, by their length."""


def _in_parts(total: dict[int, np.ndarray]) -> list[tuple[float, float]]:
    """(mean length, accuracy in percent) of about equally many examples each, from {length: (hits, examples)}."""
    lengths, counts = np.array([*total]), np.array([*total.values()])
    before = np.cumsum(counts[:, 1]) - counts[:, 1] / 2
    part = np.minimum((before / counts[:, 1].sum() * PARTS).astype(int), PARTS - 1)
    found = []
    for number_of_part in np.unique(part):
        hits, examples = counts[part == number_of_part].sum(0)
        mean_length = np.average(lengths[part == number_of_part], weights=counts[part == number_of_part, 1])
        found.append((float(mean_length), float(100 * hits / examples)))
    return found
