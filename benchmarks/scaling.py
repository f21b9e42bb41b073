"""ResNet-50 on 1 to 1,024 devices: steps and fill on the sizes of ImageNet, and its programs on a slice of TPUs.

    python benchmarks/scaling.py --sizes=imagenet1k_val.csv --target=tpu:v5e:16x16 > benchmarks/scaling.md

It needs neither images nor devices. The file holds `height,width,count` of the validation images; each stands for 26
training images here (1.3 million in all). The programs are compiled for TPUs on a machine without a TPU, which needs
requirements-tpu.txt. Without --target only the plans are made, which takes ten minutes on two CPU cores.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from configs.resnet50 import get_config
from fcn_jax.config_fields import overridden
from fcn_jax.core.stages import Stages
from fcn_jax.data.size_table import read_size_table
from fcn_jax.data.sources import open_data
from fcn_jax.system.targets import parse_target
from fcn_jax.train.setup import train_split

ROOT = Path(__file__).parents[1]
TIMES = 26
DEVICES = (1, 8, 64, 256, 1024)
EXAMPLES_PER_DEVICE = 64


def plan_lines(source: str) -> Iterator[str]:
    """Yield a row for every number of devices and of examples on each."""
    yield (
        "| devices | examples on each | in a step | steps an epoch | buckets | programs | blocks | filler share "
        "| run fill | with rows of 8 |"
    )
    yield "|-|-|-|-|-|-|-|-|-|-|"
    wanted = [(devices, max(256, on_each * devices)) for on_each in (16, EXAMPLES_PER_DEVICE) for devices in DEVICES]
    for devices, examples in dict.fromkeys(wanted):
        fields = {"data.source": source, "schedule.examples_per_step": examples}
        own, eight = (_stages({**fields, "schedule.rows_multiple_of": rows}) for rows in (devices, 8))
        (stage,) = own
        programs = stage.schedule.step_plan.programs
        yield (
            f"| {devices:,} | {examples // devices} | {examples:,} | {stage.schedule.steps_per_epoch:,} "
            f"| {len(stage.plan.shapes)} | {len(programs)} | {sum(len(program.blocks) for program in programs)} "
            f"| {own.filler_share_on(devices):.4f} | {own.fill_on(devices):.3f} | {eight.fill_on(devices):.3f} |"
        )


def _stages(fields: dict[str, Any]) -> Stages:
    config = overridden(get_config(), fields)
    return train_split(config, open_data(config), platform="cpu")[1].stages


def compile_command(sizes: str, target: str) -> list[str]:
    """Return the command that compiles ResNet-50 for a slice, with one program for training."""
    devices = int(np.prod(parse_target(target)[2]))
    return [
        *("python", "-m", "fcn_jax", "compile", "--config=configs/resnet50.py", f"--sizes={sizes}"),
        *(f"--target={target}", "--config.model.dtype=bfloat16"),
        *("--config.schedule.max_buckets=8", "--config.schedule.num_programs=1"),
        f"--config.schedule.rows_multiple_of={devices}",
        f"--config.schedule.examples_per_step={EXAMPLES_PER_DEVICE * devices}",
        f"--config.evaluate.examples_per_step={EXAMPLES_PER_DEVICE * devices}",
    ]


def program_lines(sizes: Path, target: str) -> Iterator[str]:
    """Yield the table of programs that `compile --target` makes, one row per program."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, *compile_command(str(sizes.resolve()), target)[1:], f"--out={out}"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        programs = json.loads((Path(out) / "compile.json").read_text(encoding="utf-8"))
    yield "| program | compiled in s | MiB of a chip | GFLOP of a chip | ms at peak | blocks: rows × canvas |"
    yield "|-|-|-|-|-|-|"
    for program in programs:
        yield (
            f"| {program['program']} | {program['seconds']:.0f} | {program['peak_mib']:,.0f} of "
            f"{program['memory_mib']:,.0f} | {program['gflop']:,.0f} | {1e3 * program['estimated_seconds']:.1f} "
            f"| {program['blocks']} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="ResNet-50 on 1 to 1,024 devices")
    parser.add_argument("--sizes", type=Path, required=True, help="imagenet1k_val.csv: height,width,count")
    parser.add_argument("--target", help="such as tpu:v5e:16x16")
    arguments = parser.parse_args()
    machine = f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}"
    print(f"# From 1 device to {DEVICES[-1]:,}\n")
    print(
        "ResNet-50 (`configs/resnet50.py`: sides in multiples of 8, no image above 224² pixels). The sizes "
        f"are\nthose of the validation images of ImageNet, repeated {TIMES} times in place of the training images. The "
        "rows of every block are a\nmultiple of the number of devices (`schedule.rows_multiple_of`), or of 8, as the "
        "config has it; the devices fill up what\nthey do not divide. A step holds at least 256 examples. Buckets and "
        "programs are chosen (`schedule.max_buckets=0`) by the\ncosts on a CPU. Run fill is true pixels divided by all "
        "pixels computed.\n"
        f"{machine}, jax {jax.__version__}. Written by `benchmarks/scaling.py`.\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "sizes.csv"
        rows = zip(*read_size_table(arguments.sizes), strict=True)
        lines = [f"{height},{width},{TIMES * count}" for (height, width), count in rows]
        table.write_text("\n".join(["height,width,count", *lines]), encoding="utf-8")
        print(*plan_lines(f"sizes:{table}"), sep="\n")
    if arguments.target:
        print(f"\n## Compiled for {arguments.target}\n\n```bash")
        print(" \\\n    ".join(compile_command(arguments.sizes.name, arguments.target)).replace(" \\\n    ", " ", 3))
        print(
            f"```\n\nlibtpu compiled this on a machine without a TPU. A chip has {EXAMPLES_PER_DEVICE} examples.\n"
            'Validation and test use the same programs. "ms at peak" is the longer of two times: to compute at the '
            "peak of the chip, and to\nmove the bytes that XLA counts.\n"
        )
        print(*program_lines(arguments.sizes, arguments.target), sep="\n")


if __name__ == "__main__":
    main()
