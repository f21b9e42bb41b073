"""Images a second that the loader delivers, without a net: this checkout beside an older one, in turns.

    python benchmarks/input.py --old=CHECKOUT > benchmarks/input.md

It makes 320 JPEGs of about 500×375 pixels from random shapes and noise, resizes them to at most 224² pixels
(`data.resize=area:224`), mirrors half of them, keeps none in memory, and puts them into blocks. CHECKOUT is a folder
with an older commit of this repository and a link to the same .venv.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).parents[1]
ROUNDS = 5
READ = """
import json, sys, time
from configs import folder
try:
    from fcn_jax.train.setup import prepare
except ImportError:
    from fcn_jax.setup import prepare
directory, threads = sys.argv[1], int(sys.argv[2])
config = folder.get_config(directory)
config.data.channels, config.data.mean, config.data.std = 3, (0.5,), (0.5,)
config.data.resize, config.data.augment.flip = "area:224", True
config.data.augment.scale, config.data.augment.rotate, config.data.augment.crop = (1.0, 1.0), 0.0, 0.0
for name in ("shear", "stretch", "shift", "aspect", "brightness", "contrast", "saturation"):
    setattr(config.data.augment, name, 0.0)
config.machine.cache_dir, config.machine.cache_mib, config.machine.num_threads, config.train.epochs = "", 0, threads, 5
config.schedule.max_buckets, config.schedule.examples_per_step = 4, 64
if hasattr(config.schedule, "num_programs"):
    config.schedule.num_programs = 1
setup = prepare(config, abstract=True)
steps = setup.loader(setup.train).steps(0, setup.total_steps)
next(steps)
began, cpu, read = time.perf_counter(), time.process_time(), 0
for step in steps:
    read += step.num_examples
print(json.dumps([read / (time.perf_counter() - began), 1e3 * (time.process_time() - cpu) / read]))
"""


def make_images(folder: Path, number: int) -> None:
    """Write JPEGs of photographs' size, detail and bytes (about 90 KB)."""
    rng = np.random.default_rng(0)
    for index in range(number):
        width, height = (500, 375) if index % 3 else (375, 500)
        picture = Image.fromarray(rng.integers(0, 256, (height // 4, width // 4, 3)).astype(np.uint8))
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for _ in range(12):
            x, y, r = (int(rng.integers(low, high)) for low, high in ((0, width), (0, height), (10, 120)))
            draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 256, 3).tolist()))
        path = folder / "train" / str(index % 2) / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.filter(ImageFilter.GaussianBlur(0.8)).save(path, quality=90)


def rate(checkout: Path, folder: Path, threads: int) -> tuple[float, float]:
    """Return the images a second, and the milliseconds of CPU an image, of a checkout."""
    command = [str(ROOT / ".venv/bin/python"), "-c", READ, str(folder), str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--images", type=int, default=320)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        make_images(folder, arguments.images)
        mean_bytes = np.mean([path.stat().st_size for path in folder.rglob("*.jpg")])
        print("# The way in\n")
        print(
            f"{arguments.images} JPEGs of 500×375 pixels and {mean_bytes / 1e3:.0f} KB through the loader, resized "
            f"to at most 224² pixels and mirrored at random; none\nis kept in memory. Images a second: the median of "
            f"{ROUNDS} rounds in turns, with the lowest and the highest.\n"
            f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}. Written by "
            "`benchmarks/input.py`.\n"
        )
        print("| threads | checkout | images/s | ms of CPU an image | ratio |\n|-|-|-|-|-|")
        for threads in (1, 2):
            found: dict[str, list[tuple[float, float]]] = {"old": [], "new": []}
            for _ in range(ROUNDS):
                found["old"].append(rate(arguments.old, folder, threads))
                found["new"].append(rate(ROOT, folder, threads))
                print(threads, found["old"][-1], found["new"][-1], file=sys.stderr)
            ratio = statistics.median(new[0] / old[0] for old, new in zip(*found.values(), strict=True))
            for name, each in found.items():
                rates = [one[0] for one in each]
                print(
                    f"| {threads} | {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) "
                    f"| {statistics.median(one[1] for one in each):.2f} | {ratio if name == 'new' else 1:.2f} |"
                )


if __name__ == "__main__":
    main()
