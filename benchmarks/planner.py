"""The quality and the speed of planned buckets, compared with other batching rules and with the exact optimum.

    python benchmarks/planner.py --sizes_dir=DIR > benchmarks/planner.md

DIR holds `imagenet1k_val.csv`, `coco_val2017.csv`, `gtsrb_train.csv`, `mnist_tightbox_train.csv`, each with the columns
`height,width,count`. Missing tables are left out. The other rules batch 64 images of similar shape and pad them to the
maximum of their batch. The canvases of a plan are fixed, whatever the batch. Takes about ten minutes on two CPU cores.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy
from scipy import optimize, sparse

sys.path.insert(0, str(Path(__file__).parents[1]))
from fcn_jax.config import ScheduleConfig
from fcn_jax.core.buckets import BucketPlan, plan_buckets
from fcn_jax.core.schedule_search import choose_schedule
from fcn_jax.core.step_plan import training_step_plan

if TYPE_CHECKING:
    from fcn_jax.core.stages import Stages

BATCH_SIZE = 64
EPOCHS = 16
OPTIMUM_SECONDS = 300


class Sizes(NamedTuple):
    name: str
    sizes: np.ndarray  # [n, 2]
    counts: np.ndarray  # [n]
    multiple_of: int
    solver_multiple: int  # sides rounded up to this let an exact solver finish in minutes


def resized(sizes: np.ndarray, *, to: int, side: Callable) -> np.ndarray:
    """Return the sizes after scaling the `side` (np.min or np.max) down to `to`. Smaller images keep their size."""
    scale = np.minimum(1.0, to / side(sizes, axis=1, keepdims=True))
    return np.maximum(1, np.floor(sizes * scale + 0.5)).astype(np.int64)


def read_tables(sizes_dir: Path) -> Iterator[Sizes]:
    def table(name, file, multiple_of, solver_multiple, transform=lambda sizes: sizes):
        if (sizes_dir / file).exists():
            rows = np.loadtxt(sizes_dir / file, np.int64, delimiter=",", skiprows=1)
            yield Sizes(name, transform(rows[:, :2]), rows[:, 2], multiple_of, solver_multiple)

    imagenet = "imagenet1k_val.csv"
    yield from table(
        "ImageNet val, short side ≤ 256", imagenet, 8, 16, lambda sizes: resized(sizes, to=256, side=np.min)
    )
    yield from table(
        "ImageNet val, long side ≤ 512", imagenet, 8, 16, lambda sizes: resized(sizes, to=512, side=np.max)
    )
    yield from table("COCO val2017", "coco_val2017.csv", 8, 8)
    yield from table("GTSRB train", "gtsrb_train.csv", 4, 4)
    yield from table(
        "MNIST to its ink, sides ≥ 8", "mnist_tightbox_train.csv", 1, 1, lambda sizes: np.maximum(sizes, 8)
    )


def batched_fill(sizes: np.ndarray, order: np.ndarray, group: np.ndarray) -> float:
    """Return the fill if consecutive images of a group are padded to the maximum of their batch."""
    padded = 0
    for value in np.unique(group):
        members = order[group[order] == value]
        starts = np.arange(0, len(members), BATCH_SIZE)
        canvases = np.maximum.reduceat(sizes[members], starts).prod(axis=1)
        padded += int((canvases * np.diff(np.append(starts, len(members)))).sum())
    return sizes.prod(axis=1).sum() / padded


def read_for_training(sizes_dir: Path) -> Iterator[Sizes]:
    """Yield the tables as a training would have them: ImageNet's images are reduced to 224² pixels."""
    from fcn_jax.data.transforms import Resize

    for table in read_tables(sizes_dir):
        if "long side" in table.name:
            rows = np.loadtxt(sizes_dir / "imagenet1k_val.csv", np.int64, delimiter=",", skiprows=1)
            yield Sizes("ImageNet val, area ≤ 224²", Resize.parse("area:224").sizes(rows[:, :2]), rows[:, 2], 8, 16)
        elif "short side" not in table.name:
            yield table


def schedule_lines(tables: list[Sizes]) -> Iterator[str]:
    """Yield the choices of `schedule.max_buckets=0` and what a run computes with them."""
    yield (
        "| table | examples a step | devices | rows of | buckets | programs | blocks | plan fill | **run fill** "
        "| run fill of 8 buckets, 1 program | mix: mean | farthest program | shuffled | seconds |"
    )
    yield "|-|-|-|-|-|-|-|-|-|-|-|-|-|-|"
    for table in tables:
        for examples in (256, 64):
            for devices, rows in ((1, 1), (8, 8)):
                yield schedule_line(table, examples=examples, devices=devices, rows=rows)


def schedule_line(table: Sizes, *, examples: int, devices: int, rows: int) -> str:
    from fcn_jax.train.stratification import variation  # It imports JAX.

    config = ScheduleConfig(
        max_buckets=0, examples_per_step=examples, rows_multiple_of=rows, multiple_of=table.multiple_of
    )
    number = int(table.counts.sum())
    start = time.process_time()
    plan, programs, _ = choose_schedule(table.sizes, config, num_examples=number, epochs=EPOCHS, counts=table.counts)
    seconds = time.process_time() - start
    stages = stages_of(table, plan, config, num_programs=programs)
    eight = plan_buckets(table.sizes, 8, multiple_of=table.multiple_of, counts=table.counts)
    plain = stages_of(table, eight, config, num_programs=1)
    schedule = stages.stages[0].schedule
    mix = variation(schedule, 0)
    blocks = sum(len(program.blocks) for program in schedule.step_plan.programs)
    return (
        f"| {table.name} (×{table.multiple_of}) | {examples} | {devices} | {rows} | {len(plan.shapes)} | {programs} "
        f"| {blocks} | {stages.plan_fill:.3f} | **{stages.fill_on(devices):.3f}** "
        f"| {plain.fill_on(devices):.3f} | {mix.mean:.3f} | {mix.largest_program:.3f} | {mix.shuffled:.3f} "
        f"| {seconds:.1f} |"
    )


def stages_of(table: Sizes, plan: BucketPlan, config: ScheduleConfig, *, num_programs: int) -> "Stages":
    """Return a training of one stage with that plan."""
    # These import JAX, which the processes that measure peak memory should not hold.
    from fcn_jax.core.schedule import Schedule
    from fcn_jax.core.stages import Stage, Stages

    bucket = np.repeat(plan.assign(table.sizes), table.counts)
    demand = np.bincount(bucket, minlength=len(plan.shapes))
    step_plan = training_step_plan(plan, demand, config, num_programs=num_programs)
    schedule = Schedule(plan, step_plan, bucket, num_examples=len(bucket), seed=0)
    true = int(table.sizes.prod(1) @ table.counts)
    return Stages((Stage(range(1), plan, schedule, true, int(demand @ plan.areas)),))


def others(table: Sizes) -> list[float]:
    """Return the fill of other rules.

    They are: random order; 2 aspect bins (detectron2); torchvision's aspect bins with k = 3; sorted by (h, w).
    """
    sizes = np.repeat(table.sizes, table.counts, axis=0)
    shuffled = np.random.default_rng(0).permutation(len(sizes))
    aspect = sizes[:, 1] / sizes[:, 0]
    one_group = np.zeros(len(sizes), np.int64)
    return [
        batched_fill(sizes, shuffled, one_group),
        batched_fill(sizes, shuffled, aspect > 1),
        batched_fill(sizes, shuffled, np.digitize(aspect, 2 ** np.linspace(-1, 1, 7))),
        batched_fill(sizes, np.lexsort((sizes[:, 1], sizes[:, 0])), one_group),
    ]


def optimum(sizes: np.ndarray, counts: np.ndarray, num_buckets: int) -> tuple[float, bool]:
    """Return a proven lower bound of the padded pixels of any plan, and whether a plan attains it.

    HiGHS solves the p-median formulation: canvas j is used (y_j) and holds size i (x_ij ≤ y_j); Σ_j x_ij = 1,
    Σ y_j = k. The largest canvas is always used. A canvas is left out if a smaller one holds the same sizes.
    """
    heights, widths = (np.unique(side) for side in sizes.T)
    canvases = np.stack(np.meshgrid(heights, widths, indexing="ij"), -1).reshape(-1, 2)
    covers = np.asarray((sizes[:, None] <= canvases[None]).all(axis=-1))
    tight = [
        (sizes[held].max(axis=0, initial=0) == canvas).all() for held, canvas in zip(covers.T, canvases, strict=True)
    ]
    canvases, covers = canvases[tight], covers[:, tight]
    size, canvas = np.nonzero(covers)
    num_pairs, num_canvases = len(size), len(canvases)
    pairs = np.arange(num_pairs)
    cost = np.append(counts[size] * canvases[canvas].prod(axis=1), np.zeros(num_canvases))
    one_canvas = sparse.csr_array((np.ones(num_pairs), (size, pairs)), (len(sizes), num_pairs + num_canvases))
    used = sparse.hstack(
        [
            sparse.eye_array(num_pairs),
            sparse.csr_array((-np.ones(num_pairs), (pairs, canvas)), (num_pairs, num_canvases)),
        ]
    )
    number = np.append(np.zeros(num_pairs), np.ones(num_canvases))[None]
    largest = np.append(np.zeros(num_pairs + num_canvases - 1), 1.0)[None]
    result = optimize.milp(
        cost / cost.sum() * 1e6,
        integrality=np.append(np.zeros(num_pairs), np.ones(num_canvases)),
        bounds=optimize.Bounds(0, 1),
        constraints=[
            optimize.LinearConstraint(one_canvas, 1.0, 1.0),
            optimize.LinearConstraint(sparse.csr_array(used), -np.inf, 0),
            optimize.LinearConstraint(number, 0, num_buckets),
            optimize.LinearConstraint(largest, 1, 1),
        ],
        options={"time_limit": OPTIMUM_SECONDS, "mip_rel_gap": 1e-9},
    )
    bound = result.get("mip_dual_bound")
    return (0.0 if bound is None else float(bound) * cost.sum() / 1e6), result.status == 0


def fill_lines(tables: list[Sizes]) -> Iterator[str]:
    yield "| table (sides in multiples of) | random | detectron2 | torchvision | sorted | ours, 8 | 16 | 32 | seconds |"
    yield "|-|-|-|-|-|-|-|-|-|"
    for table in tables:
        fills, seconds = [], []
        for max_buckets in (8, 16, 32):
            start = time.process_time()
            plan = plan_buckets(table.sizes, max_buckets, multiple_of=table.multiple_of, counts=table.counts)
            seconds.append(f"{time.process_time() - start:.2f}")
            fills.append(f"{plan.fill(table.sizes, table.counts):.4f}")
        cells = [f"{fill:.3f}" for fill in others(table)] + fills
        yield f"| {table.name} (×{table.multiple_of}) | {' | '.join(cells)} | {' / '.join(seconds)} |"


def optimum_lines(tables: list[Sizes]) -> Iterator[str]:
    yield "| table | distinct sizes | buckets | padded pixels above the optimum | solver seconds |"
    yield "|-|-|-|-|-|"
    for table in tables:
        multiple = table.solver_multiple
        sizes, index = np.unique(-(-table.sizes // multiple) * multiple, axis=0, return_inverse=True)
        counts = np.bincount(index.ravel(), table.counts).astype(np.int64)
        for max_buckets in (2, 3, 4, 5, 6, 7, 8) if multiple == 1 else (8, 16, 32):
            plan = plan_buckets(sizes, max_buckets, counts=counts)
            ours = int((plan.areas[plan.assign(sizes)] * counts).sum())
            start = time.process_time()
            bound, proven = optimum(sizes, counts, max_buckets)
            seconds = time.process_time() - start
            excess = f"{max(0.0, ours / bound - 1):.4%}" if bound else "no bound"
            excess = excess if proven else f"at most {excess} (not solved in {OPTIMUM_SECONDS} s)"
            yield f"| {table.name} (×{multiple}) | {len(sizes)} | {max_buckets} | {excess} | {seconds:.1f} |"


def speed_lines() -> Iterator[str]:
    yield (
        "| synthetic sizes | rank | multiples of | plan of 32, seconds | peak memory, MiB (the sizes' own) "
        "| joint search, seconds |"
    )
    yield "|-|-|-|-|-|-|"
    for num_sizes in (1_280_000, 14_000_000):
        for rank, multiple_of in ((2, 8), (2, 1), (1, 1)):
            command = [sys.executable, __file__, "--time", str(num_sizes), str(rank), str(multiple_of)]
            yield subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def time_synthetic(num_sizes: int, rank: int, multiple_of: int) -> str:
    """Plan for log-normal sides of 16 to 8,000 and return a row of the table.

    It needs a process of its own, because it measures peak memory.
    """
    sizes = np.empty((num_sizes, rank), np.int32)
    generator = np.random.default_rng(0)
    for start in range(0, num_sizes, 100_000):
        part = sizes[start : start + 100_000]
        part[:] = np.clip(np.exp(generator.normal(6.2, 0.5, part.shape)), 16, 8000)
    start = time.process_time()
    plan_buckets(sizes, 32, multiple_of=multiple_of)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    start = time.process_time()
    config = ScheduleConfig(max_buckets=0, multiple_of=multiple_of, examples_per_step=256)
    choose_schedule(sizes, config, num_examples=num_sizes, epochs=EPOCHS)
    return (
        f"| {num_sizes:,} | {rank} | {multiple_of} | {seconds:.2f} | {peak:.0f} ({sizes.nbytes / 2**20:.0f}) "
        f"| {time.process_time() - start:.1f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes_dir", type=Path)
    parser.add_argument(
        "--time", type=int, nargs=3, metavar=("N", "RANK", "MULTIPLE"), help="one row of the last table"
    )
    arguments = parser.parse_args()
    if arguments.time:
        print(time_synthetic(*arguments.time))
        return
    if arguments.sizes_dir is None or not (tables := list(read_tables(arguments.sizes_dir))):
        parser.error(
            f"--sizes_dir is {arguments.sizes_dir}, but it must hold at least one of the size tables named above"
        )
    # This comes first, while this process is small: on Linux a child's peak memory starts at that of its parent.
    speed = list(speed_lines())
    print("# Planning buckets and steps\n")
    print(f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}, ", end="")
    print(f"NumPy {np.__version__}, SciPy {scipy.__version__}. Written by `benchmarks/planner.py`.\n")
    print(
        "What `schedule.max_buckets=0` chooses for stratified steps, by the costs of the default net on two CPU cores "
        "over\n"
        f"{EPOCHS} epochs. Run fill is true positions divided by all positions computed, padding and filler together, "
        "on so many\ndevices. Beside it is that of a plan by hand. The mix is the total variation distance between the "
        "sizes in a step and in\nthe data: its mean over an epoch's steps, that of the farthest program, and that of "
        "shuffled steps as large.\n"
    )
    print(*schedule_lines(list(read_for_training(arguments.sizes_dir))), sep="\n")
    print("\n## Plans by themselves\n")
    print(
        "Plan fill is true pixels divided by padded pixels. The other rules (random, detectron2, torchvision, sorted) "
        f"make batches of {BATCH_SIZE}\nand pad each to its own largest image, so nearly every batch has a new shape. "
        "Sorting fills best, with hundreds of shapes and\nwithout shuffling. The seconds are CPU time on one thread, "
        "for our plans of 8 / 16 / 32 buckets.\n"
    )
    print(*fill_lines(tables), sep="\n")
    print(
        "\nHow far the plans are from the optimum. A solver of mixed integer programs finds the optimum; the sizes are "
        "rounded up until\nit can solve them:\n"
    )
    print(*optimum_lines(tables), sep="\n")
    print("\nThe speed on many sizes:\n")
    print(*speed, sep="\n")


if __name__ == "__main__":
    main()
