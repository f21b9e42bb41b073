"""The `plan` command: it plans the buckets of a data set or of a table of sizes, as tables, JSON and a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from fcn_jax.config import Config, validate
from fcn_jax.core.buckets import MOST_BUCKETS, BucketPlan, choose_bucket_count, fill_curve, plan_buckets
from fcn_jax.core.geometry import format_size
from fcn_jax.data.size_table import read_size_table
from fcn_jax.data.source import OpenSplit, Source
from fcn_jax.data.sources import describe_sources, open_data
from fcn_jax.data.transforms import Resize
from fcn_jax.reports.plan_plot import draw_plan
from fcn_jax.reports.size_and_class import size_and_class_of, size_lines
from fcn_jax.system.console import say
from fcn_jax.system.disk import make_folder, write_atomically


@dataclass(frozen=True)
class Planned:
    """A plan and the sizes that it was made for."""

    title: str
    plan: BucketPlan
    sizes: Int[np.ndarray, "n r"]
    """The distinct sizes of a table, or the size of every example."""
    counts: Int[np.ndarray, " n"]
    """Number of examples of every size."""


def plan_of_config(config: Config) -> tuple[list[Planned], str]:
    """Return the plan of every stage of training, and lines about their schedule and about what size tells."""
    from fcn_jax.train.setup import train_split

    validate(config)
    open_split = open_data(config)
    train = train_split(config, open_split)
    _say_sources(config, train.dataset.source, open_split)
    stages, views = train.stages, train.dataset.views
    planned = []
    for number, stage in enumerate(stages, start=1):
        sizes = views.sizes(stage.epochs[0])
        title = f"stage {number}, epochs {stage.epochs.start + 1} to {stage.epochs.stop}"
        planned.append(Planned(title, stage.plan, sizes, np.ones(len(sizes), np.int64)))
    steps = "".join(f", {stage.schedule.steps_per_epoch} steps an epoch" for stage in stages)
    note = f"{config.schedule.kind}{steps}, filler share {stages.filler_share:.4f}, run fill {stages.fill:.4f}"
    return planned, "\n".join([note, *size_lines(size_and_class_of(train.dataset, config), config)])


def _say_sources(config: Config, train: Source, open_split: OpenSplit) -> None:
    """Say what a run would take of the data."""
    data = config.data
    others = {"validation": data.validation_split, "test": data.test_split}
    for line in describe_sources(data.source, {"train": train} | {name: open_split(s) for name, s in others.items()}):
        say(line)


def plan_of_table(path: Path, config: Config) -> Planned:
    """Return the plan of a CSV file with the columns height,width,count (or length,count)."""
    sizes, counts = read_size_table(path)
    sizes = Resize.parse(config.data.resize).sizes(sizes)
    schedule, count = config.schedule, config.schedule.max_buckets
    if not count:
        curve = fill_curve(sizes, MOST_BUCKETS, multiple_of=schedule.multiple_of, counts=counts)
        positions = int(sizes.prod(1, dtype=np.int64) @ counts)
        count, reason = choose_bucket_count(curve, true_positions=positions, epochs=config.train.epochs)
        say(reason)
    plan = plan_buckets(sizes, count, multiple_of=schedule.multiple_of, counts=counts)
    return Planned("", plan, sizes, counts)


def report_plans(planned: list[Planned], *, note: str, multiple_of: int, out: Path | None) -> None:
    """Print bucket tables and fill by number of buckets; write plan.json and plan.png of the last plan to `out`."""
    for one in planned:
        if len(planned) > 1:
            print(one.title)
        print_buckets(one)
    if note:
        print(note)
    last = planned[-1]
    curve = fill_curve(
        last.sizes, max(MOST_BUCKETS, len(last.plan.shapes)), multiple_of=multiple_of, counts=last.counts
    )
    print(f"\n{'buckets':<12}{'plan fill':>12}")
    for count, fill in curve:
        if count & (count - 1) == 0 or count == len(last.plan.shapes):
            print(f"{count:<12}{fill:>12.4f}{'   this plan' if count == len(last.plan.shapes) else ''}")
    if out is not None:
        make_folder(out)
        write_atomically(out / "plan.json", last.plan.to_json() + "\n")
        draw_plan(last.plan, last.sizes, out / "plan.png", counts=last.counts, curve=curve)


def print_buckets(planned: Planned) -> None:
    """Print a row for every bucket: its number of examples, their share and the fill of the bucket."""
    plan, sizes, counts = planned.plan, planned.sizes, planned.counts
    bucket = plan.assign(sizes)
    pixels = sizes.prod(1, dtype=np.int64) * counts
    print(f"{'bucket':<12}{'examples':>12}{'share':>9}{'fill':>8}")
    for number, shape in enumerate(plan.shapes):
        inside = bucket == number
        examples = int(counts[inside].sum())
        fill = pixels[inside].sum() / max(1, examples * plan.areas[number])
        print(f"{format_size(shape):<12}{examples:>12,}{examples / counts.sum():>9.1%}{fill:>8.3f}")
    print(f"plan fill {plan.fill(sizes, counts):.4f} with {len(plan.shapes)} buckets")
