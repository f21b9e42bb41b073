"""The cost of 14 million examples for a host before its first step: the index, the plan, the schedule.

    python benchmarks/input_at_scale.py --sizes=imagenet1k_val.csv > benchmarks/input_at_scale.md

The file holds `height,width,count` of 50,000 images. Each of them stands for 280 images here. No image is read, because
every host holds the whole index and the whole schedule, but reads only the rows of its own devices.
"""

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from configs.resnet50 import get_config
from fcn_jax.config_fields import overridden
from fcn_jax.data.size_table import read_size_table
from fcn_jax.data.sources import open_data
from fcn_jax.train.setup import train_split

TIMES = 280
DEVICES = 256
FIELDS = {"schedule.rows_multiple_of": DEVICES, "schedule.examples_per_step": 64 * DEVICES}


def peak_mib() -> float:
    """Return the peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(sizes: Path) -> tuple[int, list[tuple[str, float, float]]]:
    """Return the number of examples, and (what, seconds, peak MiB so far) of every part."""
    found, began = [], time.perf_counter()

    def done(what: str) -> None:
        nonlocal began
        found.append((what, time.perf_counter() - began, peak_mib()))
        began = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "sizes.csv"
        rows = zip(*read_size_table(sizes), strict=True)
        lines = [f"{height},{width},{TIMES * count}" for (height, width), count in rows]
        table.write_text("\n".join(["height,width,count", *lines]), encoding="utf-8")
        config = overridden(get_config(), {**FIELDS, "data.source": f"sizes:{table}"})
        stages = train_split(config, open_data(config), platform="cpu")[1].stages
    done("index (size and label of every example), sizes after resizing, plan, layout")
    (stage,) = stages
    stage.schedule.step(0, 0)
    done("the first step: the order of the first epoch")
    for step in range(stage.schedule.steps_per_epoch):
        stage.schedule.step(0, step)
    done(f"all {stage.schedule.steps_per_epoch:,} steps of that epoch")
    stage.schedule.step(40, 500)
    done("a step in the middle of another epoch, as after a restart")
    return stage.schedule.num_examples, found


def main() -> None:
    parser = argparse.ArgumentParser(description="Input at scale")
    parser.add_argument("--sizes", type=Path, required=True, help="height,width,count")
    num_examples, rows = measure(parser.parse_args().sizes)
    print(f"# {num_examples:,} examples in the index\n")
    print(
        f"`configs/resnet50.py` on the sizes of ImageNet, repeated {TIMES} times, with "
        f"{FIELDS['schedule.examples_per_step']:,} examples a step for {DEVICES} devices. The\n"
        "seconds and the peak memory are those of one host, before any image is read.\n"
        f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}, "
        f"numpy {np.__version__}. Written by `benchmarks/input_at_scale.py`.\n"
    )
    print("| what | seconds | peak MiB so far |\n|-|-|-|")
    for what, seconds, mib in rows:
        print(f"| {what} | {seconds:.2f} | {mib:,.0f} |")


if __name__ == "__main__":
    main()
