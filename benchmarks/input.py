"""Images a second that the loader delivers, without a net: this checkout beside an older one, in turns.

    python benchmarks/input.py [--old=CHECKOUT] > benchmarks/input.md

It makes 320 JPEGs of about 500×375 pixels from random shapes and noise, resizes them to at most 224² pixels
(`data.resize=area:224`), mirrors half of them, keeps none in memory, and puts them into blocks. CHECKOUT is a folder
with an older commit of this repository; without one, the exact way with as many threads as cores is what the others are
compared with.
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

def main():
    from configs import folder
    try:
        from fcn_jax.system.machine import keep_freed_memory
    except ImportError:
        from fcn_jax.memory import keep_freed_memory
    try:
        from fcn_jax.train.setup import prepare
    except ImportError:
        from fcn_jax.setup import prepare
    keep_freed_memory()
    directory, threads, way = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    config = folder.get_config(directory)
    config.data.channels, config.data.mean, config.data.std = 3, (0.5,), (0.5,)
    config.data.resize, config.data.augment.flip = "area:224", True
    config.data.augment.scale, config.data.augment.rotate, config.data.augment.crop = (1.0, 1.0), 0.0, 0.0
    for name in ("shear", "stretch", "shift", "aspect", "brightness", "contrast", "saturation"):
        setattr(config.data.augment, name, 0.0)
    machine = config.machine
    machine.cache_dir, machine.cache_mib, machine.num_threads, config.train.epochs = sys.argv[4], 0, threads, 12
    config.schedule.max_buckets, config.schedule.examples_per_step = 4, 64
    if hasattr(config.schedule, "num_programs"):
        config.schedule.num_programs = 1
    for path, value in way.items():
        section, field = path.split(".")
        setattr(getattr(config, section), field, value)
    if "machine.num_workers" in way:
        import fcn_jax.data.loader
        fcn_jax.data.loader.EXAMPLES_FOR_PROCESSES = 0
    setup = prepare(config, abstract=True)
    steps = setup.loader(setup.train).steps(0, setup.total_steps)
    for _ in range(setup.total_steps // 4):  # Processes start, and the cache on disk fills.
        next(steps)
    began, cpu, read = time.perf_counter(), time.process_time(), 0
    for step in steps:
        read += step.num_examples
    print(json.dumps([read / (time.perf_counter() - began), 1e3 * (time.process_time() - cpu) / read]))

if __name__ == "__main__":
    main()
"""
CACHED = {"machine.disk_cache_mib": 1000}
WAYS = {
    "exact, 1 thread": (1, {}),
    "exact, 2 threads": (2, {}),
    "fast, 2 threads": (2, {"data.decode": "fast"}),
    "from the disk cache, 2 threads": (2, CACHED),
    "exact, 1 process": (1, {"machine.num_workers": 1}),
    "exact, 2 processes": (2, {"machine.num_workers": 2}),
}
"""{name: (threads, fields of the config)} of the ways to read; `exact` gives the pixels of Pillow to the bit."""
OLD = "an older commit, 2 threads"


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


def rate(checkout: Path, folder: Path, cache: Path, threads: int, way: dict[str, object]) -> tuple[float, float]:
    """Return the images a second, and the milliseconds of CPU of the main process an image, of a checkout."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(READ)
        script.flush()
        command = [sys.executable, "-W", "ignore", script.name, str(folder), str(threads), json.dumps(way), str(cache)]
        environment = {**os.environ, "PYTHONPATH": str(checkout), "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True, text=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    ways = {name: (ROOT, *way) for name, way in WAYS.items()}
    if arguments.old:
        ways = {OLD: (arguments.old.resolve(), 2, {}), **ways}
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as cache:
        folder = Path(directory)
        make_images(folder, arguments.images)
        mean_bytes = np.mean([path.stat().st_size for path in folder.rglob("*.jpg")])
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, (checkout, threads, way) in ways.items():
                found[name].append(rate(checkout, folder, Path(cache), threads, way))
                print(name, found[name][-1], file=sys.stderr)
    print("# The way in\n")
    print(
        f"{arguments.images} JPEGs of 500×375 pixels and {mean_bytes / 1e3:.0f} KB through the loader, resized "
        f"to at most 224² pixels and mirrored at random; none\nis kept in memory. Images a second: the median of "
        f"{arguments.rounds} rounds in turns, with the lowest and the highest.\nA ratio is the median of those of the "
        f"rounds. {os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}. Written by "
        "`benchmarks/input.py`.\n"
    )
    base = OLD if arguments.old else "exact, 2 threads"
    print(f"| way | images/s | ms of CPU an image, main process | ratio to {base} |\n|-|-|-|-|")
    for name, each in found.items():
        rates = [one[0] for one in each]
        ratio = statistics.median(one / other[0] for one, other in zip(rates, found[base], strict=True))
        print(
            f"| {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) "
            f"| {statistics.median(one[1] for one in each):.2f} | {ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
