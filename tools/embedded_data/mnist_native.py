"""MNIST at native size: every digit cropped to its ink, as a TFDS data set that needs no TensorFlow.

The embedded copy (`fcn_jax/data/embedded`) is this file's output, byte for byte, in the official order:

    python -m tools.embedded_data.mnist_native --idx_dir=DIR --out=fcn_jax/data/embedded

DIR holds the four official IDX files. Their MD5 sums are checked; nothing is downloaded.
"""

import argparse
import gzip
import io
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from tools.embedded_data.embedding import check_md5, embed, run_build

OFFICIAL_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}

# TFDS writes group_size:1, which compresses each example alone: 28 MB as deflated PNG, 24 MB as lossless WebP. With
# groups the compressor does best on pixels stored as they are. PNG is a format that TFDS, Pillow and OpenCV decode.
# MB for 70,000 digits / µs to read a random one, with zstd and groups of 256 (the first two scaled up from 20,000):
# deflated PNG, 15.8 / 43; lossless WebP, 13.1 / 40 (2.5 times slower to decode); stored PNG, 11.6 / 140. Stored PNG in
# groups of 128, transposed (each protobuf field apart): 11.5 / 110. Brotli 11 is 5-8 % smaller and 4 times slower.
WRITER_OPTIONS = "group_size:128,transpose,zstd:22"

DESCRIPTION = (
    "MNIST, every image cropped to the bounding box of its ink (pixel > 0): "
    "35 sizes, height up to 20, width 2 to 20. 60,000 train and 10,000 test examples in the official order."
)

CITATION = """\
@misc{lecun2010mnist,
  title={The MNIST database of handwritten digits},
  author={LeCun, Yann and Cortes, Corinna and Burges, Christopher J. C.},
  howpublished={http://yann.lecun.com/exdb/mnist},
  year={2010}
}
"""


class MnistNative(tfds.core.GeneratorBasedBuilder):
    """One example: `image` (PNG, height × width × 1, uint8), `height`, `width`, `label`.

    Args:
      checksums: MD5 of each IDX file that `manual_dir` has to hold, by name.
    """

    # TFDS writes the module's name into dataset_info.json. Under `python -m` it would be `__main__`.
    __module__ = "tools.embedded_data.mnist_native"

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"manual_dir holds {', '.join(OFFICIAL_MD5)}."

    def __init__(self, *, checksums: Mapping[str, str] = OFFICIAL_MD5, **kwargs: Any):
        self._checksums = checksums
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=DESCRIPTION,
            citation=CITATION,
            homepage="http://yann.lecun.com/exdb/mnist",
            license="CC BY-SA 3.0",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                    "height": np.int32,
                    "width": np.int32,
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,  # the stored order is the official one
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        idx_dir = Path(dl_manager.manual_dir)
        check_files(idx_dir, checksums=self._checksums)
        return {
            "train": self._generate_examples(idx_dir, prefix="train"),
            "test": self._generate_examples(idx_dir, prefix="t10k"),
        }

    def _generate_examples(self, idx_dir: Path, prefix: str) -> Iterator[tuple[int, dict[str, Any]]]:
        images = read_idx(idx_dir / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(idx_dir / f"{prefix}-labels-idx1-ubyte.gz")
        assert len(images) == len(labels)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            ink = crop_to_ink(image)
            height, width = ink.shape
            # Bytes, not an array: TFDS would encode an array with TensorFlow.
            encoded = io.BytesIO(encode_png_stored(ink))
            yield index, {"image": encoded, "height": height, "width": width, "label": int(label)}


def check_files(idx_dir: Path, *, checksums: Mapping[str, str]) -> None:
    """Check that the folder holds all files of `checksums`.

    Raises:
        ValueError: a file is missing or differs; the message names the first one.
    """
    for name, expected in checksums.items():
        check_md5(idx_dir / name, expected, flag="--idx_dir")


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Read a gzipped IDX file: two zero bytes, type 8 (uint8), the rank, the dimensions, the values."""
    content = gzip.decompress(path.read_bytes())
    zero, value_type, rank = struct.unpack_from(">HBB", content)
    assert (zero, value_type) == (0, 8), f"{path} is no IDX file of unsigned bytes"
    shape = struct.unpack_from(f">{rank}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def crop_to_ink(image: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "ink_h ink_w"]:
    """Return the smallest rectangle that holds every pixel > 0.

    Raises:
        ValueError: no pixel is > 0.
    """
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    if rows.size == 0:
        raise ValueError(f"an image of shape {image.shape} has no pixel > 0, so the crop leaves nothing")
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def encode_png_stored(image: UInt8[np.ndarray, "h w"]) -> bytes:
    """Return an 8-bit grey PNG whose pixels are stored, not deflated: row filter 0, one stored block.

    The bytes are put together here, so that no version of zlib or Pillow can change them.
    """
    height, width = image.shape
    rows = np.pad(image, ((0, 0), (1, 0))).tobytes()  # each row starts with its filter type, 0
    assert len(rows) <= 0xFFFF, f"{image.shape} does not fit one stored block"
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF) + rows
    chunks = (
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT" + stored + struct.pack(">I", zlib.adler32(rows)),
        b"IEND",
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def build(idx_dir: Path, out: Path, *, checksums: Mapping[str, str] = OFFICIAL_MD5) -> Path:
    """Prepare the data set under `out` and return its directory, `out/mnist_native/1.0.0`.

    Raises:
      ValueError: an IDX file is missing or is not the official one.
    """
    check_files(idx_dir, checksums=checksums)
    return embed(
        lambda data_dir: MnistNative(data_dir=data_dir, checksums=checksums),
        out,
        manual_dir=idx_dir,
        options=WRITER_OPTIONS,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("--idx_dir", type=Path, required=True, help="where the four official .gz files are")
    parser.add_argument("--out", type=Path, required=True, help="the data set goes to OUT/mnist_native/1.0.0")
    arguments = parser.parse_args()
    return run_build(lambda: build(arguments.idx_dir, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
