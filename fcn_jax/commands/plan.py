"""The `plan` command: it plans the buckets and steps of a data set or of a table of sizes, as tables and a picture."""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Int

from fcn_jax.config import Config, UserError
from fcn_jax.config_rules import validate
from fcn_jax.core.buckets import BucketPlan, fill_curve
from fcn_jax.core.canvas_choice import SMALLEST
from fcn_jax.core.geometry import format_size
from fcn_jax.core.schedule import Schedule
from fcn_jax.core.schedule_search import MOST_BUCKETS, choose_schedule
from fcn_jax.core.step_plan import training_step_plan
from fcn_jax.data.size_table import MOST_EXAMPLES, read_size_table
from fcn_jax.data.source import OpenSplit, Source
from fcn_jax.data.sources import describe_sources, open_data
from fcn_jax.data.splits import trained_on_too
from fcn_jax.data.transforms import Resize
from fcn_jax.reports.plan_plot import draw_plan
from fcn_jax.reports.size_and_class import size_and_class_of, size_lines
from fcn_jax.system.console import say
from fcn_jax.system.disk import make_folder, write_atomically
from fcn_jax.train.stratification import describe_variation, variation


@dataclass(frozen=True)
class Planned:
    """The plan of a stage, and the sizes that it was made for."""

    title: str
    plan: BucketPlan
    schedule: Schedule
    epoch: int
    """The first epoch of the stage."""
    sizes: Int[np.ndarray, "n r"]
    """The distinct sizes of a table, or the size of every example."""
    counts: Int[np.ndarray, " n"]
    """Number of examples of every size."""
    is_by_size: bool = True
    """False if canvases are dealt out by other rules than the smallest that holds an example."""
    is_random: bool = False
    """True if sizes differ between the epochs of the stage; then `sizes` are those of its first epoch."""

    @property
    def plan_fill(self) -> float:
        """True positions / positions if every example stood in its own bucket, without filler."""
        pixels = int(self.sizes.prod(1, dtype=np.int64) @ self.counts)
        return pixels / int(self.plan.areas[self.schedule.bucket(self.epoch)].sum())

    @property
    def run_fill(self) -> float:
        """True positions / positions computed in an epoch, padding and filler included."""
        return int(self.sizes.prod(1, dtype=np.int64) @ self.counts) / int(
            self.schedule.step_plan.capacity @ self.plan.areas
        )


def plan_of_config(config: Config) -> tuple[list[Planned], str]:
    """Return the plan of every stage of training, and lines about the devices here and what size tells."""
    from fcn_jax.train.devices import describe_devices
    from fcn_jax.train.setup import train_split

    validate(config)
    open_split = open_data(config)
    config, train = train_split(config, open_split, platform=jax.default_backend())
    _say_sources(config, train.dataset.source, open_split)
    planned = []
    for number, stage in enumerate(train.stages, start=1):
        sizes = train.dataset.views.sizes(stage.epochs[0])
        title = f"stage {number}, epochs {stage.epochs.start + 1} to {stage.epochs.stop}"
        ones = np.ones(len(sizes), np.int64)
        by_size = config.schedule.canvases == SMALLEST
        is_random = train.dataset.views.is_random
        planned.append(Planned(title, stage.plan, stage.schedule, stage.epochs[0], sizes, ones, by_size, is_random))
    lines = describe_devices(train, config, jax.device_count(), platform=jax.default_backend())
    return planned, "\n".join([*lines, *size_lines(size_and_class_of(train.dataset, config), config)]).strip()


def _say_sources(config: Config, train: Source, open_split: OpenSplit) -> None:
    """Say what a run would take of the data."""
    data = config.data
    others = {"validation": data.validation_split, "test": data.test_split}
    for line in describe_sources(data.source, {"train": train} | {name: open_split(s) for name, s in others.items()}):
        say(line)
    for note in trained_on_too(data).values():
        say(f"  {note}")


def plan_of_table(path: Path, config: Config) -> Planned:
    """Return the plan of a CSV file with the columns height,width,count (or length,count)."""
    if config.schedule.canvases != SMALLEST:
        raise UserError(
            f"config.schedule.canvases is {config.schedule.canvases}, but {path} is a table of sizes, which has no "
            "classes: set config.schedule.canvases=smallest"
        )
    sizes, counts = read_size_table(path)
    if counts.sum() > MOST_EXAMPLES:
        raise UserError(
            f"{path} stands for {counts.sum():,} examples, but at most {MOST_EXAMPLES:,} can be planned: divide "
            "its counts by a common number"
        )
    sizes, schedule = Resize.parse(config.data.resize).sizes(sizes), config.schedule
    number = int(counts.sum())
    plan, num_programs, note = choose_schedule(
        sizes, schedule, num_examples=number, epochs=config.train.epochs, counts=counts
    )
    for line in note.splitlines():
        say(line)
    bucket = np.repeat(plan.assign(sizes), counts)
    demand = np.bincount(bucket, minlength=len(plan.shapes))
    step_plan = training_step_plan(plan, demand, schedule, num_programs=num_programs)
    made = Schedule(plan, step_plan, bucket, num_examples=number, seed=config.seed)
    return Planned("", plan, made, 0, sizes, counts)


def report_plans(planned: list[Planned], *, note: str, multiple_of: int, out: Path | None) -> None:
    """Print bucket tables and fill by number of buckets; write plan.json and plan.png of the last plan to `out`."""
    for one in planned:
        if len(planned) > 1:
            print(one.title)
        print_buckets(one)
        print_steps(one)
    if note:
        print(note)
    last = planned[-1]
    curve = fill_curve(
        last.sizes, max(MOST_BUCKETS, len(last.plan.shapes)), multiple_of=multiple_of, counts=last.counts
    )
    print(f"\n{'buckets':<12}{'plan fill':>12}")
    chosen = len(last.plan.shapes) if last.is_by_size and not last.is_random else 0
    for count, fill in curve:
        if count & (count - 1) == 0 or count == chosen:
            print(f"{count:<12}{fill:>12.4f}{'   this plan' if count == chosen else ''}")
    if last.is_by_size and last.is_random:
        print(f"{len(last.plan.shapes):<12}{last.plan_fill:>12.4f}   this plan, made for the sizes of all its epochs")
        print(f"The other lines are for plans that hold the sizes of epoch {last.epoch + 1} alone.")
    if out is not None:
        make_folder(out)
        write_atomically(out / "plan.json", last.plan.to_json() + "\n")
        # Of a table, which may have very many rows, every size stands in the smallest bucket that holds it.
        bucket = None if last.is_by_size else last.schedule.bucket(last.epoch)
        draw_plan(last.plan, last.sizes, out / "plan.png", counts=last.counts, curve=curve, bucket=bucket)


def print_buckets(planned: Planned) -> None:
    """Print a row for every bucket: its examples, their share, the fill of the bucket, its rows in each program."""
    plan, sizes, counts = planned.plan, planned.sizes, planned.counts
    bucket, areas = planned.schedule.bucket(planned.epoch), planned.plan.areas
    pixels = np.repeat(sizes.prod(1, dtype=np.int64), counts)
    print(f"{'bucket':<12}{'examples':>12}{'share':>9}{'fill':>8}  rows of a step")
    for number, shape in enumerate(plan.shapes):
        inside = bucket == number
        examples = int(inside.sum())
        fill = pixels[inside].sum() / max(1, examples * areas[number])
        rows = planned.schedule.step_plan.rows[:, number].tolist()
        in_each = " / ".join(map(str, rows)) if len(set(rows)) > 1 else str(rows[0])
        print(f"{format_size(shape):<12}{examples:>12,}{examples / counts.sum():>9.1%}{fill:>8.3f}  {in_each}")
    largest = len(plan.shapes) - 1
    if planned.is_by_size and not np.any(bucket == largest):
        print(f"{format_size(plan.shapes[largest])} is empty: in every plan, one bucket covers all sizes together")
    print(f"plan fill {planned.plan_fill:.4f} with {len(plan.shapes)} buckets")


def print_steps(planned: Planned) -> None:
    """Print what the steps compute, and how like the data they are."""
    step_plan, number = planned.schedule.step_plan, planned.schedule.num_examples
    programs, steps = len(step_plan.programs), step_plan.steps_per_epoch
    print(
        f"run fill {planned.run_fill:.4f} with {programs} program{'s' * (programs > 1)} of "
        f"{sum(len(program.blocks) for program in step_plan.programs)} blocks: {steps:,} steps an epoch of about "
        f"{number / steps:,.0f} examples, filler share {1 - number / step_plan.rows_per_epoch:.4f}"
    )
    print(describe_variation(variation(planned.schedule, planned.epoch), "sizes" if planned.is_by_size else "canvases"))
