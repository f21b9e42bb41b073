"""The time to open a folder of 26,000 JPEG files and know all their sizes, with a cold and with a warm cache.

    python benchmarks/sizes.py --dir=DIR > benchmarks/sizes.md

It fills DIR with 26,000 files of about 70 kB in 100 classes (1.8 GB); files that exist already stay. Then it opens DIR
through `open_data`, as training does, each time in a new process: first without a cache of sizes, then with one.
"""

import argparse
import io
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

NUM_FILES, NUM_CLASSES = 26_000, 100
SPLITS = ("train", "validation", "test")
OPEN = """
import sys, time
from fcn_jax.config import Config
from fcn_jax.nets.families import FCN
from fcn_jax.data.sources import open_data
config = Config(model=FCN())
config.data.source, config.data.channels, config.machine.cache_dir = "folder:" + sys.argv[1], 3, sys.argv[2]
began = time.perf_counter()
open_split = open_data(config)
sources = [open_split(split) for split in sys.argv[3:]]
print(time.perf_counter() - began, sum(map(len, sources)))
"""


def fill(directory: Path) -> None:
    """Write JPEG files of 100 sizes around 500×375. Their pixels are noise over a slope."""
    rng = np.random.default_rng(0)
    photographs = []
    for _ in range(NUM_CLASSES):
        height, width = rng.integers(250, 500), rng.integers(350, 650)
        slope = np.linspace(0, 200, height * width * 3).reshape(height, width, 3)
        stream = io.BytesIO()
        pixels = slope + rng.normal(20, 12, slope.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "jpeg", quality=90)
        photographs.append(stream.getvalue())
    for number in range(NUM_FILES):
        path = directory / f"class_{number % NUM_CLASSES:03}" / f"{number:05}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photographs[int(rng.integers(NUM_CLASSES))] + number.to_bytes(4))


def seconds(directory: Path, cache: str, splits: tuple[str, ...]) -> tuple[float, int]:
    """Open some splits in a new process; return the seconds and the number of examples."""
    command = [sys.executable, "-c", OPEN, str(directory), cache, *splits]
    root = Path(__file__).parents[1]
    taken, count = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split()
    return float(taken), int(count)


def main() -> None:
    parser = argparse.ArgumentParser(description="opening 26,000 JPEG files")
    parser.add_argument("--dir", type=Path, required=True, help="folder of the files; missing ones are written")
    directory = parser.parse_args().dir
    fill(directory)
    files = list(directory.rglob("*.jpg"))
    gigabytes = sum(path.stat().st_size for path in files) / 1e9
    machine = f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}"
    print(
        "# Opening a folder of images\n\n"
        f"{NUM_FILES:,} JPEG files, {gigabytes:.1f} GB, in {NUM_CLASSES} classes. Each figure is the seconds "
        "of `open_data` in\na new process. Before the cold row, the files were dropped from the page cache of "
        "the system.\n"
        f"{machine}, Pillow {PIL.__version__}. Written by `benchmarks/sizes.py`.\n\n"
        "| what | train | train, validation and test, one after the other |\n|-|-|-|"
    )
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for what in ("cold: every file is read", "warm: sizes and digests are remembered"):
            taken = []
            for cache, splits in ((first, SPLITS[:1]), (second, SPLITS)):
                if what.startswith("cold"):
                    drop_pages(files)
                taken.append(seconds(directory, cache, splits))
            assert taken[1][1] == NUM_FILES
            print(f"| {what} | {taken[0][0]:.2f} | {taken[1][0]:.2f} |")


def drop_pages(files: list[Path]) -> None:
    """Ask the system to drop the files' pages from its cache. The system may keep some."""
    os.sync()
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


if __name__ == "__main__":
    main()
