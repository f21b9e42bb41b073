"""Japanese Vowels: which of nine speakers said /ae/, as a TFDS data set of signals that needs no TensorFlow.

The embedded copy (`fcn_jax/data/embedded`) is this file's output, byte for byte:

    python -m tools.embedded_data.japanese_vowels --npz=FILE --out=fcn_jax/data/embedded

FILE holds the archive's two text files as arrays. Its MD5 is checked; nothing is downloaded. The archive sorts by
speaker. Here the speakers take turns, and each keeps its own order, so any part of a split has all speakers. The last
45 of the official 270 training examples, 5 of each speaker, serve as validation, and the first 225 for training.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float32, Int

from tools.embedded_data.embedding import check_md5, embed, run_build
from tools.embedded_data.pack import pack_frames

OFFICIAL_MD5 = "5410e8d23d7176ce418f563953e6bc5d"
CHANNELS = 12
SPEAKERS = tuple(f"speaker_{number}" for number in range(1, 10))

# ArrayRecord files consist of blocks of 64 KiB. 478 KB of plain floats take 592 KB with any compression; packed frames
# take 461 KB.
WRITER_OPTIONS = "group_size:128,transpose,zstd:22"

DESCRIPTION = (
    "Nine male speakers say the Japanese vowels /ae/: time series of 7 to 29 frames of 12 LPC cepstrum coefficients. "
    "270 train examples, 30 of each speaker, and 370 test examples; the speakers take turns."
)

CITATION = """\
@misc{kudo1999japanese,
  title={Japanese Vowels},
  author={Kudo, Mineichi and Toyama, Jun and Shimbo, Masaru},
  howpublished={UCI Machine Learning Repository, https://doi.org/10.24432/C5NS47},
  year={1999}
}
"""


class JapaneseVowels(tfds.core.GeneratorBasedBuilder):
    """One example: `signal` (length × 12, see `unpack_frames`), `length`, `label`.

    Args:
      npz: the arrays of the archive.
    """

    # TFDS writes the module's name into dataset_info.json. Under `python -m` it would be `__main__`.
    __module__ = "tools.embedded_data.japanese_vowels"

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, npz: Path, **kwargs: Any):
        self._npz = npz
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=DESCRIPTION,
            citation=CITATION,
            homepage="https://doi.org/10.24432/C5NS47",
            license="CC BY 4.0",
            features=tfds.features.FeaturesDict(
                {
                    "signal": tfds.features.Tensor(shape=(), dtype=np.str_),  # bytes
                    "length": np.int32,
                    "label": tfds.features.ClassLabel(names=list(SPEAKERS)),
                }
            ),
            supervised_keys=("signal", "label"),
            disable_shuffling=True,  # the stored order is that in which the speakers take turns
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        with np.load(self._npz, allow_pickle=False) as arrays:
            values, lengths, labels = (arrays[f"{split}_{name}"] for name in ("values", "len", "label"))
        starts = np.cumsum(lengths) - lengths
        for index, example in enumerate(in_turns(labels)):
            signal: Float32[np.ndarray, "t c"] = values[starts[example] : starts[example] + lengths[example]]
            yield index, {"signal": pack_frames(signal), "length": len(signal), "label": int(labels[example])}


def in_turns(labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the positions in an order in which the labels take turns and each label keeps its own order."""
    turn = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels == label)
        turn[of_label] = np.arange(len(of_label))
    return np.lexsort((labels, turn))


def build(npz: Path, out: Path, *, md5: str = OFFICIAL_MD5) -> Path:
    """Prepare the data set under `out` and return its directory, `out/japanese_vowels/1.0.0`.

    Raises:
      ValueError: the file is missing or is not the official one.
    """
    check_md5(npz, md5, flag="--npz")
    return embed(
        lambda data_dir: JapaneseVowels(data_dir=data_dir, npz=npz), out, manual_dir=npz.parent, options=WRITER_OPTIONS
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("--npz", type=Path, required=True, help="the archive's arrays, JapaneseVowels.npz")
    parser.add_argument("--out", type=Path, required=True, help="the data set goes to OUT/japanese_vowels/1.0.0")
    arguments = parser.parse_args()
    return run_build(lambda: build(arguments.npz, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
