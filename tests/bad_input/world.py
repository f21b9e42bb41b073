"""Right input, to be spoiled: runs, an artifact, weights, pictures, signals; and where configs stand."""

import contextlib
import io
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from fcn_jax.cli import main
from tests.bad_input.attempt import read_tree
from tests.inference.made import LABEL_NAMES, make_workdir, small_config
from tests.inference.made_run import make_run

ROOT = Path(__file__).parents[2]
MNIST = f"--config={ROOT / 'configs/mnist.py'}"
PETS = f"--config={ROOT / 'configs/folder.py'}:pets,tiny"
NO_PETS = f"--config={ROOT / 'configs/folder.py'}:nosuch,tiny"
SPLITS = ("train", "validation", "test")


class World:
    """Files, by path, as `Attempt.files` takes them.

    Args:
        folder: to make them in; it may go then.
    """

    def __init__(self, folder: Path):
        config = small_config()
        config.data.source = "folder:pets"
        make_workdir(folder / "images", config)
        make_workdir(folder / "signals", small_config(name="fcn1d", kernel=(3,)), buckets=((64,),))
        make_run(folder / "finished")
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["fcn_jax", "export", f"--workdir={folder / 'images'}", f"--out={folder / 'net.bin'}"]) == 0
        self.images = read_tree(folder / "images")
        """A run of images."""
        self.signals = read_tree(folder / "signals")
        """A run of signals."""
        self.finished = read_tree(folder / "finished")
        """Files that a report is made of."""
        self.artifact = {name: (folder / name).read_bytes() for name in ("net.bin", "net.bin.json")}
        self.pets = {
            f"pets/{split}/{name}/{number}.png": picture((12 + number, 14))
            for split in SPLITS
            for name in LABEL_NAMES
            for number in range(2)
        }
        """A data set of pictures."""


def picture(size: tuple[int, int] = (12, 16), *, mode: str = "RGB", form: str = "PNG", **options) -> bytes:
    """An encoded picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def sound(length: int = 64, *, channels: int = 1, form: str = "WAV", kind: str = "PCM_16", rate: int = 8000) -> bytes:
    """An encoded signal of noise."""
    values = np.random.default_rng(0).uniform(-1, 1, (length, channels))
    stream = io.BytesIO()
    soundfile.write(stream, values, rate, format=form, subtype=kind)
    return stream.getvalue()
