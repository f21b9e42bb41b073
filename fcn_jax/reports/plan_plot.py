"""A picture of a plan. Sizes are dots and buckets are rectangles; a signal's lengths are a histogram."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Int
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.geometry import format_size
from fcn_jax.system.disk import writing

matplotlib.use("agg")

MOST_BARS = 120
INK, PAPER = "#22303c", "#ffffff"


def draw_plan(
    plan: BucketPlan,
    sizes: Int[np.ndarray, "n r"],
    path: Path,
    *,
    counts: Int[np.ndarray, " n"] | None = None,
    curve: Sequence[tuple[int, float]] = (),
    bucket: Int[np.ndarray, " n"] | None = None,
) -> None:
    """Write the picture as a PNG file. The histogram of a signal's lengths has a line for each bucket.

    Args:
        counts: the number of examples of each size; None: one each.
        curve: pairs (number of buckets, plan fill), plotted beside the picture.
        bucket: the bucket of each size; None: the smallest that holds it.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, 2 if curve else 1, figsize=(13 if curve else 8, 6), width_ratios=[3, 2] if curve else None, squeeze=False,
        facecolor=PAPER,
    )  # fmt: skip
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.9, len(plan.shapes)))
    draw = _draw_lengths if sizes.shape[1] == 1 else _draw_sizes
    counts = np.ones(len(sizes), np.int64) if counts is None else counts
    chosen = len(plan.shapes) if bucket is None else 0
    bucket = plan.assign(sizes) if bucket is None else bucket
    held = [_counted(sizes[bucket == number], counts[bucket == number]) for number in range(len(plan.shapes))]
    draw(axes[0, 0], plan, held, colours)
    fill = sizes.prod(1, dtype=np.int64) @ counts / (plan.areas[bucket] @ counts)
    axes[0, 0].set_title(
        f"{counts.sum():,} examples in {len(plan.shapes)} buckets, plan fill {fill:.3f}",
        color=INK,
        loc="left",
    )
    if curve:
        _draw_curve(axes[0, 1], curve, chosen=chosen, fill=fill)
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    with writing(path):
        figure.savefig(path, dpi=120)
    plt.close(figure)


def _counted(sizes, counts) -> tuple[Int[np.ndarray, "m r"], Int[np.ndarray, " m"]]:
    """Return the distinct sizes, and how many examples each has."""
    distinct, inverse = np.unique(sizes, axis=0, return_inverse=True)
    return distinct, np.bincount(inverse.reshape(-1), counts, minlength=len(distinct)).astype(np.int64)


def _draw_curve(axes, curve: Sequence[tuple[int, float]], *, chosen: int, fill: float) -> None:
    """Plot plan fill by number of buckets, and the plan with `chosen` buckets, if any, at its own fill."""
    counts, fills = zip(*curve, strict=True)
    axes.plot(counts, fills, color=INK, marker=".", linewidth=1, label="plans made for these sizes alone")
    if chosen:
        axes.plot(chosen, fill, color=INK, marker="o", markersize=10, linestyle="none", label="this plan")
        axes.legend(loc="lower right", frameon=False)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set(xlabel="buckets", ylabel="plan fill", ylim=(0, 1.02))
    axes.set_title("plan fill by number of buckets", color=INK, loc="left")
    axes.grid(alpha=0.3)


def _draw_sizes(axes, plan: BucketPlan, held, colours) -> None:
    most = max(counts.max(initial=1) for _, counts in held)
    for (height, width), (sizes, counts), colour in zip(plan.shapes, held, colours, strict=True):
        axes.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor=colour, linewidth=2))
        axes.scatter(
            sizes[:, 1], sizes[:, 0], s=12 + 260 * counts / most, color=colour, alpha=0.75, linewidths=0, zorder=2,
            label=f"{format_size((height, width))}: {counts.sum():,}",
        )  # fmt: skip
    height, width = np.max(plan.shapes, axis=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlim=(0, width * 1.05), ylim=(0, height * 1.05), xlabel="width", ylabel="height", aspect="equal")
    legend = axes.legend(title="bucket: examples", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([40])


def _draw_lengths(axes, plan: BucketPlan, held, colours) -> None:
    """Plot the number of examples of every length, stacked by bucket; many lengths are put into bins."""
    longest = plan.shapes[-1][0]
    step = max(1, -(-longest // MOST_BARS))
    edges = np.arange(0, longest + step, step) + 0.5
    lengths, weights = [sizes[:, 0] for sizes, _ in held], [counts for _, counts in held]
    labels = [f"{length:,}: {weight.sum():,}" for (length,), weight in zip(plan.shapes, weights, strict=True)]
    axes.hist(
        lengths, edges, weights=weights, rwidth=0.9, stacked=True, color=list(colours), label=labels, zorder=2
    )  # fmt: skip
    for (length,), colour in zip(plan.shapes, colours, strict=True):
        axes.axvline(length + 0.5, color=colour, linewidth=2, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    unit = "examples" if step == 1 else f"examples per {step:,} lengths"
    axes.set(xlim=(0.5, longest * 1.02 + 0.5), xlabel="length in samples", ylabel=unit)
    axes.legend(title="bucket: examples", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
