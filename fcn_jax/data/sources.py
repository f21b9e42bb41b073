"""Where examples come from: random access to images or signals of any size, and to their labels.

A source is one split. `sizes` and `labels` are known for all examples without decoding any; `read` decodes one.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Num

from fcn_jax.config import Config
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.files import Listing, list_folder, list_table, positions_of
from fcn_jax.data.images import decode_image, read_image_size
from fcn_jax.data.sizes import measure_files

SOURCES = ("mnist_native", "folder:DIR", "table:FILE.csv")
Decoder = Callable[[bytes], np.ndarray]
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
    bad: dict[str, str]
    """Names of what was left out, and why."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        """One decoded example, of the value type of its rank."""
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

    def __init__(self, directory: Path, split: str, *, label: str, decode: Decoder):
        import tensorflow_datasets as tfds

        logging.getLogger("absl").addFilter(_not_about_group_size)
        builder = tfds.builder_from_directory(str(directory))
        self._decode, self._label = decode, label
        self.label_names = tuple(builder.info.features["label"].names)  # pyright: ignore
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        data = builder.as_data_source(split, deserialize_method=raw)  # pyright: ignore
        self._encoded, sizes, labels = _parse(data.__getitems__(list(range(len(data)))))  # pyright: ignore
        self.sizes, self.labels = np.array(sizes, np.int32), np.array(labels, np.int32)
        self.bad: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._encoded)

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        return self._decode(self._encoded[index])

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


class FileSource:
    """One split of a listing of image files.

    Files whose header cannot be read are left out and stand in `bad`.
    """

    def __init__(self, listing: Listing, split: str, *, config: Config, decode: Decoder):
        positions = positions_of(listing, split)
        sizes, bad = _measured(listing, config)
        good = [position for position in positions.tolist() if position not in bad]
        if not good:
            raise ValueError(
                f"split {split!r} has no readable image: {listing.paths[positions[0]]}: {bad[positions[0]]}"
            )
        self.bad = {str(listing.paths[position]): bad[position] for position in positions.tolist() if position in bad}
        self._paths = [listing.paths[position] for position in good]
        self._decode = decode
        self.sizes = sizes[good].astype(np.int32)
        self.labels = np.array(listing.labels, np.int32)[good]
        self.label_names = listing.label_names

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        try:
            encoded = self._paths[index].read_bytes()
        except OSError as error:
            raise BadExampleError(error.strerror or str(error)) from error
        return self._decode(encoded)

    def name(self, index: int) -> str:
        return str(self._paths[index])


def _measured(listing: Listing, config: Config) -> tuple[Int[np.ndarray, "n r"], dict[int, str]]:
    """Sizes of all files of a listing, and why some have none."""
    cache = Path(config.machine.cache_dir).expanduser() if config.machine.cache_dir else None
    read = partial(read_image_size, max_pixels=max_pixels(config))
    return measure_files(listing.paths, read, rank=2, cache=cache, num_threads=config.machine.num_threads)


def max_pixels(config: Config) -> int:
    return round(config.data.max_megapixels * 1e6)


def open_source(config: Config, split: str) -> Source:
    """A split of the config's data set: `train`, `validation` or `test`, or a part of one: `train[:512]`.

    Raises:
        ValueError: no such data set or split, or one that breaks a rule.
    """
    data = config.data
    if data.channels not in (1, 3):
        raise ValueError(f"config.data.channels is {data.channels}, but an image has 1 (grey) or 3 (RGB)")
    decode = partial(decode_image, channels=data.channels, background=data.background, max_pixels=max_pixels(config))
    kind, _, place = data.source.partition(":")
    match kind:
        case "mnist_native":
            directory = EMBEDDED / kind / "1.0.0"
            return TfdsSource(directory, embedded_split(kind, split), label=f"{kind} {split}", decode=decode)
        case "folder" | "table" if place:
            read = list_folder if kind == "folder" else list_table
            listing = read(Path(place).expanduser(), seed=config.seed, group_pattern=data.group_pattern)
            return FileSource(listing, split, config=config, decode=decode)
        case _:
            raise ValueError(f"config.data.source is {data.source!r}, but it must be one of: {', '.join(SOURCES)}")


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
