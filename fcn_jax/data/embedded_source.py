"""The data sets that come with the code: prepared by TFDS, and small enough to be held in memory, encoded.

The splits `train` and `validation` are parts of the official training set; `test` is the official test set.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Num

from fcn_jax.config import UserError
from fcn_jax.data.source import Decoded, Source, values_of
from fcn_jax.system.console import hushing_tfds

DIRECTORY = Path(__file__).parent / "embedded"


@dataclass(frozen=True)
class Embedded:
    """The storage of one embedded data set."""

    feature: str
    """Name of the feature that holds an encoded example."""
    size: tuple[str, ...]
    """Names of the features that hold its true size."""
    value_range: tuple[float, float] | None
    """The lowest and the highest value of an example; None if there are no bounds."""
    splits: dict[str, tuple[str, int, int]]
    """{split: (official split, first example, one after the last)}."""


EMBEDDED = {
    "mnist_native": Embedded(
        feature="image",
        size=("height", "width"),
        value_range=(0.0, 255.0),
        splits={
            "train": ("train", 0, 55_000),
            "validation": ("train", 55_000, 60_000),
            "train+validation": ("train", 0, 60_000),
            "test": ("test", 0, 10_000),
        },
    ),
    "japanese_vowels": Embedded(
        feature="signal",
        size=("length",),
        value_range=None,
        splits={
            "train": ("train", 0, 225),
            "validation": ("train", 225, 270),
            "train+validation": ("train", 0, 270),
            "test": ("test", 0, 370),
        },
    ),
}


class EmbeddedSource(Source):
    """One split of an embedded data set.

    Args:
        name: name of the data set, a key of EMBEDDED.
        split: a split listed in EMBEDDED, or a part of one, such as `train[:512]`.
        decode: turns an encoded example into values.

    Raises:
        UserError: there is no such split.
    """

    def __init__(self, name: str, split: str, *, decode: Callable[[bytes], Decoded]):
        import tensorflow_datasets as tfds

        part = embedded_split(name, split)
        with hushing_tfds():
            builder = tfds.builder_from_directory(str(DIRECTORY / name / "1.0.0"))
            self.label_names = tuple(builder.info.features["label"].names)  # pyright: ignore
            raw = tfds.decode.DeserializeMethod.RAW_BYTES
            data = builder.as_data_source(part, deserialize_method=raw)  # pyright: ignore
            records = data.__getitems__(list(range(len(data))))  # pyright: ignore
        self._encoded, sizes, labels = _parse(records, EMBEDDED[name])
        self.origin = f"the official {part}"
        self.value_range = EMBEDDED[name].value_range
        self.sizes, self.labels = np.array(sizes, np.int32), np.array(labels, np.int32)
        self.bad: dict[str, str] = {}
        self._decode, self._label = decode, f"{name} {split}"

    def __len__(self) -> int:
        return len(self._encoded)

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        return values_of(self.decoded(index))

    def decoded(self, index: int) -> Decoded:
        return self._decode(self._encoded[index])

    def name(self, index: int) -> str:
        return f"{self._label} #{index}"

    def contents(self) -> str:
        return hashlib.sha256(b"".join(self._encoded)).hexdigest()


def _parse(records: list[bytes], stored: Embedded) -> tuple[list[bytes], list[tuple[int, ...]], list[int]]:
    """Return the encoded examples, sizes and labels of records; five times faster than TFDS's own parser."""
    from tensorflow_datasets.proto import tf_example_pb2

    encoded, sizes, labels = [], [], []
    for record in records:
        feature = tf_example_pb2.Example.FromString(record).features.feature  # pyright: ignore
        encoded.append(feature[stored.feature].bytes_list.value[0])
        sizes.append(tuple(feature[side].int64_list.value[0] for side in stored.size))
        labels.append(feature["label"].int64_list.value[0])
    return encoded, sizes, labels


def embedded_split(name: str, split: str) -> str:
    """Return a split of an embedded data set in TFDS notation.

    `validation[:100]` counts from the first validation example, and a part never leaves its split.

    Raises:
        UserError: there is no such split, or no such part of it.
    """
    splits = EMBEDDED[name].splits
    base, bracket, part = split.partition("[")
    start, colon, stop = part.removesuffix("]").partition(":")
    is_part = colon and part.endswith("]") and all(number.isdecimal() for number in (start, stop) if number)
    if base not in splits or (bracket and not is_part):
        raise UserError(f"split {split!r} is none of {', '.join(splits)}, or a part of one such as train[:512]")
    official, first, last = splits[base]
    begin, end = first + int(start or 0), first + int(stop) if stop else last
    if not first <= begin < end <= last:
        raise UserError(f"split {split!r} is empty or runs over its end: {base} has {last - first:,} examples")
    return f"{official}[{begin}:{end}]"
