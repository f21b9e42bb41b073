"""The data sets by name: how their splits are opened, and what is said of them."""

from collections.abc import Container, Mapping
from functools import partial

import numpy as np
from jaxtyping import Bool, Int, Num, UInt8

from fcn_jax.config import Config, UserError
from fcn_jax.data.arrays import list_arrays
from fcn_jax.data.classes import compare_classes, first_names, places_of
from fcn_jax.data.embedded_source import EMBEDDED, EmbeddedSource
from fcn_jax.data.file_source import FileData
from fcn_jax.data.files import MOST_NAMES, below, describe_left_out
from fcn_jax.data.folder import list_folder
from fcn_jax.data.image_formats import check_image_channels
from fcn_jax.data.listing import Listing
from fcn_jax.data.parquet import list_parquet
from fcn_jax.data.pixel_range import PixelRange
from fcn_jax.data.signals import unpack_frames
from fcn_jax.data.size_table import SizeTable
from fcn_jax.data.source import Decoded, OpenSplit, Source
from fcn_jax.data.table import list_table
from fcn_jax.data.tfds import TfdsSource
from fcn_jax.data.transforms import decoder_of
from fcn_jax.data.webdataset import list_webdataset
from fcn_jax.system.disk import expanded

JAPANESE_VOWELS_CHANNELS = 12
FILE_SOURCES = ("folder:DIR", "folder:FILE.zip", "table:FILE.csv", "arrays:FILE.npz", "webdataset:DIR", "parquet:DIR")
SOURCES = (*EMBEDDED, *FILE_SOURCES, "tfds:NAME[:VERSION]", "sizes:FILE.csv")


def open_data(config: Config, *, unreadable: Container[str] = (), is_new: bool = False) -> OpenSplit:
    """Return a function that opens the splits of the config's data set. Files are listed and measured only once.

    Args:
        unreadable: names, below the root, of files that are left out even if they can be read now.
        is_new: True if a trained net is to be tried on the data, whose classes may then be others.

    Raises:
        UserError: there is no such data set, or it breaks a rule; the function raises it for a split.
    """
    data = config.data
    pixel_range = PixelRange.parse(data.pixel_range)
    kind, _, place = data.source.partition(":")
    if data.labels != "one" and kind not in ("table", "sizes"):
        raise UserError(
            f"config.data.labels is {data.labels}, but {data.source} has one label for each example (one folder a "
            "class cannot hold several): list the files in a table and set --config.data.source=table:FILE.csv, or set "
            "config.data.labels=one"
        )
    if kind in ("mnist_native", "tfds") and not pixel_range.is_8bit:
        raise UserError(
            f"config.data.pixel_range is {data.pixel_range}, but only files are read at full depth, not {data.source}: "
            "set config.data.pixel_range=8bit"
        )
    match kind:
        case "mnist_native" if not place:
            check_image_channels(data.channels)
            return partial(EmbeddedSource, kind, decode=decoder_of(config, rank=2))
        case "japanese_vowels" if not place:
            if data.channels != JAPANESE_VOWELS_CHANNELS:
                raise UserError(
                    f"config.data.channels is {data.channels}, but {kind} has {JAPANESE_VOWELS_CHANNELS}: "
                    f"set config.data.channels={JAPANESE_VOWELS_CHANNELS}"
                )
            return partial(EmbeddedSource, kind, decode=partial(unpack_frames, channels=data.channels))
        case "folder" | "table" | "arrays" | "webdataset" | "parquet" if place:
            return FileData(_listing(kind, place, config, is_new=is_new), config, unreadable=unreadable)
        case "tfds" if place:
            return partial(TfdsSource, place, config=config)
        case "sizes" if place:
            table = SizeTable(expanded(place), num_classes=config.model.num_classes, label_kind=data.labels)
            return lambda split: table
        case _:
            raise UserError(f"config.data.source is {data.source!r}, but it must be one of: {', '.join(SOURCES)}")


def _listing(kind: str, place: str, config: Config, *, is_new: bool) -> Listing:
    """List the files of a data set of files."""
    data, machine, seed = config.data, config.machine, config.seed
    match kind:
        case "folder":
            return list_folder(expanded(place), data, seed=seed, is_new=is_new)
        case "table":
            return list_table(expanded(place), data, seed=seed, is_new=is_new)
        case "arrays":
            return list_arrays(expanded(place), data, seed=seed, is_new=is_new)
        case "webdataset":
            return list_webdataset(place, data, machine, seed=seed, is_new=is_new)
        case _:
            return list_parquet(place, data, machine, seed=seed, is_new=is_new)


def open_source(config: Config, split: str) -> Source:
    """Open a split of the config's data set, such as `train`, `validation` or `test`, or a part: `train[:512]`.

    Raises:
        UserError: there is no such data set or split, or it breaks a rule.
    """
    return open_data(config)(split)


class Reordered(Source):
    """A source whose classes are those of a net, in the net's order; examples of other classes are left out.

    An example that may have several labels stays, without those of its labels that the net does not know.

    Args:
        label_names: the classes of the net.

    Raises:
        UserError: no class of the source, or that of no example, is one of the net.
    """

    def __init__(self, source: Source, label_names: tuple[str, ...]):
        places = places_of(source.label_names, label_names)
        if (places < 0).all():
            raise UserError(
                f"none of the {len(source.label_names):,} classes of the data ({first_names(source.label_names)}) is "
                f"one of the net's ({first_names(label_names)}): classes are matched by name, so rename them"
            )
        labels, is_known = _placed(source, places, len(label_names))
        self._source, self._kept = source, np.flatnonzero(is_known)
        if not len(self._kept):
            raise UserError(
                f"none of the {len(source):,} examples of {source.origin} has a class of the net "
                f"({first_names(label_names)}): choose another split"
            )
        self.label_names, self.labels, self.label_kind = label_names, labels[self._kept], source.label_kind
        self.loss_weights = None if source.loss_weights is None else source.loss_weights[self._kept]
        self.sizes, self.num_left_out = source.sizes[self._kept], len(source) - len(self._kept)
        self.bad, self.left_out, self.unreadable = source.bad, source.left_out, source.unreadable
        self.origin = source.origin
        self.sampling_rate, self.value_range = source.sampling_rate, source.value_range
        self.full_contents = source.full_contents

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        return self._source.read(int(self._kept[index]))

    def decoded(self, index: int) -> Decoded:
        return self._source.decoded(int(self._kept[index]))

    def name(self, index: int) -> str:
        return self._source.name(int(self._kept[index]))

    def key(self, index: int) -> bytes:
        return self._source.key(int(self._kept[index]))

    def digests(self) -> UInt8[np.ndarray, "n 16"] | None:
        digests = self._source.digests()
        return None if digests is None else digests[self._kept]

    def is_unchanged(self, index: int) -> bool:
        return self._source.is_unchanged(int(self._kept[index]))

    def contents(self) -> str:
        return self._source.contents()


def _placed(source: Source, places: Int[np.ndarray, " k"], number: int) -> tuple[np.ndarray, Bool[np.ndarray, " n"]]:
    """Return the labels of a source for a net with a number of classes, and which examples the net can be asked for.

    Args:
        places: the place of every class of the source among those of the net; -1: the net does not know it.
    """
    if source.labels.ndim == 1:
        labels = places[source.labels].astype(np.int32)
        return labels, labels >= 0
    known = places >= 0
    targets = np.zeros((len(source), number), source.labels.dtype)
    targets[:, places[known]] = source.labels[:, known]
    if source.label_kind == "several":
        return targets, np.ones(len(source), bool)
    return targets, np.asarray(source.labels[:, ~known].sum(1) == 0)


def in_order_of(source: Source, label_names: tuple[str, ...] | None) -> Source:
    """Return a source whose classes have the order of a net's; None leaves them as they are.

    Raises:
        UserError: the source has other classes than the net.
    """
    if label_names is None or source.label_names == label_names:
        return source
    if changed := compare_classes(source.label_names, label_names):
        raise UserError(
            f"the classes of the data are not those that the net was trained with: {changed}; bring back the data that "
            "it was trained with, or train again in another workdir"
        )
    return Reordered(source, label_names)


def describe_sources(name: str, sources: Mapping[str, Source]) -> list[str]:
    """Return lines that say what was taken of a data set: its classes, its splits, and what was left out.

    Args:
        name: the config's `data.source`.
        sources: {split: source} of the splits that are used.
    """
    any_source, place = next(iter(sources.values())), expanded(name.partition(":")[2])
    root = place if place.is_dir() else place.parent
    classes = any_source.label_names
    lines = [f"{name}: {len(classes):,} classes ({first_names(classes)})"]
    for split, source in sources.items():
        lines.append(f"  {split:<11}{len(source):>9,} examples: {source.origin}{_without(source)}")
        if source.bad:
            first = "; ".join(f"{below(root, path)}: {why}" for path, why in list(source.bad.items())[:MOST_NAMES])
            more = "; …" if len(source.bad) > MOST_NAMES else ""
            lines.append(f"  {'':<11}{len(source.bad):>9,} cannot be read: {first}{more}")
    if any_source.left_out:
        lines.append(f"  {describe_left_out(any_source.left_out, root)}")
    return lines


def _without(source: Source) -> str:
    """Name the classes of which a source has no example."""
    labels, classes = source.labels, np.arange(len(source.label_names))
    absent = np.setdiff1d(classes, labels if labels.ndim == 1 else np.flatnonzero(labels.any(0))).tolist()
    return f"; no example of {first_names([source.label_names[label] for label in absent])}" if absent else ""
