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
NUM_VALIDATION = {"mnist_native": 5000}
"""Examples at the end of an embedded set's train split that serve as `validation`."""


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
    """

    def __init__(self, directory: Path, split: str, *, channels: int):
        import tensorflow_datasets as tfds

        logging.getLogger("absl").addFilter(_not_about_group_size)
        builder = tfds.builder_from_directory(str(directory))
        self._mode = _pil_mode(channels)
        self._label = f"{builder.info.full_name} {split}"
        self.label_names = tuple(builder.info.features["label"].names)  # pyright: ignore
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        try:
            data = builder.as_data_source(split, deserialize_method=raw)  # pyright: ignore
        except (ValueError, AssertionError) as error:
            raise ValueError(
                f"split {split!r} cannot be read from {builder.info.full_name} ({_first_line(error)})"
            ) from error
        if not len(data):  # pyright: ignore
            raise ValueError(f"split {split!r} of {builder.info.full_name} is empty")
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


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


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
            return TfdsSource(EMBEDDED / name / "1.0.0", embedded_split(name, split), channels=channels)
        case _:
            raise ValueError(f"config.data.source is {name!r}, but it must be one of: mnist_native")


def embedded_split(name: str, split: str) -> str:
    """`train` and `validation` as parts of the official train split, in TFDS notation.

    `validation[:100]` counts from the start of the validation examples; `train+validation` is the official split.
    """
    held_out = NUM_VALIDATION[name]
    base, bracket, part = split.partition("[")
    start, colon, stop = part.removesuffix("]").partition(":")
    if bracket and (not colon or not part.endswith("]") or not all(n.isdecimal() for n in (start, stop) if n)):
        raise ValueError(f"split {split!r} is not of the form train, train[:512] or validation[100:200]")
    match base:
        case "train":
            return f"train[{start}:{stop or -held_out}]"
        case "validation":
            first = int(start or 0) - held_out
            last = int(stop) - held_out if stop else 0
            return f"train[{first}:{last or ''}]"
        case "train+validation":
            return f"train[{part}" if bracket else "train"
        case "test":
            return split
        case _:
            raise ValueError(f"split {split!r} is none of train, validation, train+validation, test, or a part of one")
