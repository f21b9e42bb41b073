"""Where examples come from: random access to images or signals of any size, and to their labels.

A source is one split. `sizes` and `labels` are known for all examples without decoding any; `read` decodes one.
"""

import io
import logging
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

EMBEDDED = Path(__file__).parent / "embedded"
EMBEDDED_SPLITS = {
    "mnist_native": {
        "train": ("train", 0, 55_000),
        "validation": ("train", 55_000, 60_000),
        "train+validation": ("train", 0, 60_000),
        "test": ("test", 0, 10_000),
    }
}
"""Our splits of an embedded set: the official split, the first example and the one after the last."""


@runtime_checkable
class Source(Protocol):
    """One split of a data set."""

    label_names: tuple[str, ...]
    sizes: Int[np.ndarray, "n r"]
    """True size of every example."""
    labels: Int[np.ndarray, " n"]

    def __len__(self) -> int: ...

    def read(self, index: int) -> UInt8[np.ndarray, "*spatial c"]:
        """One decoded example."""
        ...

    def name(self, index: int) -> str:
        """What a person would look for to find this example again."""
        ...


class TfdsSource:
    """A prepared TFDS data set with features image, height, width and label, held in memory, encoded.

    Args:
        directory: of one version, as TFDS prepared it.
        split: in TFDS notation, such as `train[:512]`.
        label: how the user calls it.
    """

    def __init__(self, directory: Path, split: str, *, label: str, channels: int):
        import tensorflow_datasets as tfds

        logging.getLogger("absl").addFilter(_not_about_group_size)
        builder = tfds.builder_from_directory(str(directory))
        self._mode = _pil_mode(channels)
        self._label = label
        self.label_names = tuple(builder.info.features["label"].names)  # pyright: ignore
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        data = builder.as_data_source(split, deserialize_method=raw)  # pyright: ignore
        self._encoded, sizes, labels = _parse(data.__getitems__(list(range(len(data)))))  # pyright: ignore
        self.sizes, self.labels = np.array(sizes, np.int32), np.array(labels, np.int32)

    def __len__(self) -> int:
        return len(self._encoded)

    def read(self, index: int) -> UInt8[np.ndarray, "*spatial c"]:
        return decode_image(self._encoded[index], self._mode)

    def name(self, index: int) -> str:
        return f"{self._label} #{index}"


def _parse(records: list[bytes]) -> tuple[list[bytes], list[tuple[int, int]], list[int]]:
    """Encoded images, sizes and labels of serialised examples; five times faster than TFDS's own parser."""
    from tensorflow_datasets.proto import tf_example_pb2

    encoded, sizes, labels = [], [], []
    for record in records:
        feature = tf_example_pb2.Example.FromString(record).features.feature  # pyright: ignore
        encoded.append(feature["image"].bytes_list.value[0])
        sizes.append((feature["height"].int64_list.value[0], feature["width"].int64_list.value[0]))
        labels.append(feature["label"].int64_list.value[0])
    return encoded, sizes, labels


def _not_about_group_size(record: logging.LogRecord) -> bool:
    """array_record advises against the groups that keep the embedded data under 12 MB; they are read at once."""
    return "was created with group size" not in record.getMessage()


def decode_image(encoded: bytes, mode: str) -> UInt8[np.ndarray, "h w c"]:
    """An encoded image in a Pillow mode (L or RGB)."""
    image = Image.open(io.BytesIO(encoded))
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def _pil_mode(channels: int) -> str:
    modes = {1: "L", 3: "RGB"}
    if channels not in modes:
        raise ValueError(f"config.data.channels is {channels}, but an image has 1 (grey) or 3 (RGB)")
    return modes[channels]


def open_source(name: str, split: str, *, channels: int) -> Source:
    """The split of a named data set.

    Args:
        name: `mnist_native`.
        split: `train`, `validation` or `test`, or a part of one: `train[:512]`.

    Raises:
        ValueError: no such data set or split.
    """
    match name:
        case "mnist_native":
            directory = EMBEDDED / name / "1.0.0"
            return TfdsSource(directory, embedded_split(name, split), label=f"{name} {split}", channels=channels)
        case _:
            raise ValueError(f"config.data.source is {name!r}, but it must be one of: mnist_native")


def embedded_split(name: str, split: str) -> str:
    """A split of an embedded set in TFDS notation.

    `validation[:100]` counts from the start of the validation examples, and a part never leaves its split.

    Raises:
        ValueError: no such split, or no such part of it.
    """
    splits = EMBEDDED_SPLITS[name]
    base, bracket, part = split.partition("[")
    start, colon, stop = part.removesuffix("]").partition(":")
    is_part = colon and part.endswith("]") and all(number.isdecimal() for number in (start, stop) if number)
    if base not in splits or (bracket and not is_part):
        raise ValueError(f"split {split!r} is none of {', '.join(splits)}, or a part of one such as train[:512]")
    official, first, last = splits[base]
    begin, end = first + int(start or 0), first + int(stop) if stop else last
    if not first <= begin < end <= last:
        raise ValueError(f"split {split!r} is empty or runs over its end: {base} has {last - first:,} examples")
    return f"{official}[{begin}:{end}]"
