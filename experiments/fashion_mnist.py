"""Make the folder of Fashion-MNIST, cropped to its ink, that the ablation size_and_class_fashion reads.

python -m experiments.fashion_mnist [DIRECTORY]

DIRECTORY has the four files of Fashion-MNIST (Xiao et al., arXiv:1708.07747), as Debian's package dataset-fashion-mnist
installs them. The first 12,000 images of train, the next 2,000 as validation and all of test are written as PNG files.
"""

import gzip
import shutil
import sys
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fcn_jax.config import UserError
from fcn_jax.system.console import say

INSTALLED = Path("/usr/share/datasets/fashion-mnist")
FOLDER = Path(".cache/data/fashion_mnist")
"""Where the ablation expects the pictures, below the checkout."""
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
PARTS = {"train": ("train", 0, 12_000), "validation": ("train", 12_000, 14_000), "test": ("t10k", 0, 10_000)}
INK = 16
"""Pixels at least as bright as this are ink: weaker ones are noise of the pictures' making."""


def main(arguments: list[str]) -> int:
    try:
        write_folder(Path(arguments[0]) if arguments else INSTALLED, FOLDER)
    except UserError as error:
        say(f"python -m experiments.fashion_mnist: {error}")
        return 2
    print(FOLDER)
    return 0


def write_folder(directory: Path, folder: Path) -> None:
    """Write the pictures of all parts, in place of a folder that is there; all of them or none.

    Raises:
        UserError: a file of Fashion-MNIST is missing.
    """
    made = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    for part, (prefix, start, stop) in PARTS.items():
        images = _read(directory / f"{prefix}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)[start:stop]
        labels = _read(directory / f"{prefix}-labels-idx1-ubyte.gz", header=8)[start:stop]
        for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            of_class = made / part / CLASSES[label]
            of_class.mkdir(parents=True, exist_ok=True)
            Image.fromarray(cropped(image)).save(of_class / f"{number:05}.png")
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def _read(path: Path, *, header: int) -> UInt8[np.ndarray, " n"]:
    """Return the bytes of an IDX file after its header."""
    if not path.exists():
        raise UserError(
            f"{path} does not exist, but Fashion-MNIST is expected there: install Debian's package "
            "dataset-fashion-mnist, or give the folder of its four files as the argument"
        )
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def cropped(image: UInt8[np.ndarray, "28 28"]) -> UInt8[np.ndarray, "h w"]:
    """Return the box around the ink of an image."""
    rows, columns = (np.flatnonzero((image >= INK).any(axis)) for axis in (1, 0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
