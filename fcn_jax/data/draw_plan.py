"""A picture of a plan: sizes as dots, buckets as rectangles."""

from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Int
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fcn_jax.data.buckets import BucketPlan
from fcn_jax.geometry import format_size

matplotlib.use("agg")

MOST_BARS = 120
INK, PAPER = "#22303c", "#ffffff"


def draw_plan(plan: BucketPlan, sizes: Int[np.ndarray, "n r"], path: Path) -> None:
    """Write the picture as PNG; a signal's lengths are drawn as a histogram with a line for each bucket."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 6), facecolor=PAPER)
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.9, len(plan.shapes)))
    bucket = plan.assign(sizes)
    if sizes.shape[1] == 1:
        _draw_lengths(axes, plan, sizes, bucket, colours)
    else:
        _draw_sizes(axes, plan, sizes, bucket, colours)
    axes.set_title(
        f"{len(sizes):,} examples in {len(plan.shapes)} buckets, plan fill {plan.fill(sizes):.3f}",
        color=INK,
        loc="left",
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_sizes(axes, plan: BucketPlan, sizes, bucket, colours) -> None:
    distinct, inverse, count = np.unique(sizes, axis=0, return_inverse=True, return_counts=True)
    area = 12 + 260 * count / count.max()
    bucket_of_distinct = np.zeros(len(distinct), int)
    bucket_of_distinct[inverse.reshape(-1)] = bucket
    for number, ((height, width), colour) in enumerate(zip(plan.shapes, colours, strict=True)):
        inside = bucket_of_distinct == number
        axes.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor=colour, linewidth=2))
        axes.scatter(
            distinct[inside, 1], distinct[inside, 0], s=area[inside], color=colour, alpha=0.75, linewidths=0, zorder=2,
            label=f"{format_size((height, width))}: {count[inside].sum():,}",
        )  # fmt: skip
    height, width = np.max(plan.shapes, axis=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlim=(0, width * 1.05), ylim=(0, height * 1.05), xlabel="width", ylabel="height", aspect="equal")
    legend = axes.legend(title="bucket: examples", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([40])


def _draw_lengths(axes, plan: BucketPlan, sizes, bucket, colours) -> None:
    """Examples of every length, or of every bin of lengths where there are many, stacked by bucket."""
    longest = plan.shapes[-1][0]
    step = max(1, -(-longest // MOST_BARS))
    edges = np.arange(0, longest + step, step) + 0.5
    lengths = [sizes[bucket == number, 0] for number in range(len(plan.shapes))]
    labels = [f"{length:,}: {len(inside):,}" for (length,), inside in zip(plan.shapes, lengths, strict=True)]
    axes.hist(lengths, bins=edges, rwidth=0.9, stacked=True, color=list(colours), label=labels, zorder=2)
    for (length,), colour in zip(plan.shapes, colours, strict=True):
        axes.axvline(length + 0.5, color=colour, linewidth=2, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    unit = "examples" if step == 1 else f"examples in {step:,} lengths"
    axes.set(xlim=(0.5, longest * 1.02 + 0.5), xlabel="length", ylabel=unit)
    axes.legend(title="bucket: examples", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
