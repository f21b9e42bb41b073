"""The `plan` command: buckets of a data set or of a bare table of sizes, as a table, JSON and a picture."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from fcn_jax.config import Config
from fcn_jax.data.buckets import BucketPlan, plan_buckets
from fcn_jax.data.draw_plan import draw_plan
from fcn_jax.geometry import format_size


@dataclass(frozen=True)
class Planned:
    plan: BucketPlan
    sizes: Int[np.ndarray, "n r"]
    """Distinct sizes of a table, or of every example."""
    counts: Int[np.ndarray, " n"]
    notes: tuple[str, ...] = ()


def plan_of_config(config: Config) -> Planned:
    """The plan that training would use, and what its schedule makes of it."""
    from fcn_jax.train.setup import prepare

    setup = prepare(config)
    sizes, schedule = setup.train.dataset.sizes, setup.train.schedule
    notes = (
        f"{config.schedule.kind}: {schedule.steps_per_epoch} steps an epoch, filler share {schedule.filler_share:.4f}, "
        f"run fill {schedule.fill(sizes):.4f}",
    )
    return Planned(setup.train.plan, sizes, np.ones(len(sizes), np.int64), notes)


def plan_of_table(path: Path, config: Config) -> Planned:
    """The plan of a CSV with the columns height,width,count (or length,count)."""
    sizes, counts = read_size_table(path)
    schedule = config.schedule
    plan = plan_buckets(sizes, schedule.max_buckets, multiple_of=schedule.multiple_of, counts=counts)
    return Planned(plan, sizes, counts)


def read_size_table(path: Path) -> tuple[Int[np.ndarray, "n r"], Int[np.ndarray, " n"]]:
    """Sizes and how often each occurs.

    Raises:
        ValueError: the file, or the first line that is not of that form.
    """
    try:
        with path.open(newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"--sizes={path} cannot be read ({error})") from error
    if header not in (["height", "width", "count"], ["length", "count"]):
        raise ValueError(f"{path} begins with {','.join(header)!r}, but it must begin with height,width,count")
    numbers = []
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header) or not all(cell.strip().isdecimal() and 0 < int(cell) < 2**31 for cell in row):
            raise ValueError(f"{path}, line {line} is {','.join(row)!r}, but it must be whole numbers above 0")
        numbers.append([int(cell) for cell in row])
    if not numbers:
        raise ValueError(f"{path} holds no sizes below its header")
    table = np.array(numbers, np.int64)
    return table[:, :-1], table[:, -1]


def report_plan(planned: Planned, *, out: Path | None) -> None:
    """Print the bucket table; write plan.json and plan.png to `out`."""
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
    for note in planned.notes:
        print(note)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "plan.json").write_text(plan.to_json() + "\n")
        draw_plan(plan, np.repeat(sizes, np.minimum(counts, 10_000), axis=0), out / "plan.png")
