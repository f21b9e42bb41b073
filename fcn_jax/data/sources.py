"""The sources of examples: random access to images or signals of any size, and to their labels.

A source is one split. It knows `sizes` and `labels` of all examples without decoding any; `read` decodes one example.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Num

from fcn_jax.config import Config, UserError
from fcn_jax.data.embedded_source import EMBEDDED, EmbeddedSource
from fcn_jax.data.files import Listing, list_folder, list_table, positions_of, read_file
from fcn_jax.data.images import read_image_size, too_large
from fcn_jax.data.signals import read_signal_header, unpack_frames
from fcn_jax.data.size_table import SizeTable
from fcn_jax.data.sizes import measure_files
from fcn_jax.data.tfds import TfdsSource
from fcn_jax.data.transforms import make_decoder
from fcn_jax.system.console import say

JAPANESE_VOWELS_CHANNELS = 12
SOURCES = (*EMBEDDED, "folder:DIR", "table:FILE.csv", "tfds:NAME[:VERSION]", "sizes:FILE.csv")


@runtime_checkable
class Source(Protocol):
    """One split of a data set."""

    label_names: tuple[str, ...]
    sizes: Int[np.ndarray, "n r"]
    """True size of every example."""
    labels: Int[np.ndarray, " n"]
    bad: dict[str, str]
    """{name: reason} of the examples that were left out."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        """Return one decoded example: uint8 if an image, float32 if a signal."""
        ...

    def name(self, index: int) -> str:
        """Return a name by which a person can find the example, such as its path."""
        ...


class FileSource:
    """One split of a listing of files, all of them images or all signals.

    Files whose header cannot be read are left out and named in `bad`.
    """

    def __init__(self, listing: Listing, split: str, *, config: Config):
        self._decode = decoder_of(config, rank=listing.rank)
        positions = positions_of(listing, split)
        sizes, bad = _measured(listing, config)
        good = [position for position in positions.tolist() if position not in bad]
        if not good:
            raise UserError(
                f"split {split!r} has no file that can be read: {listing.paths[positions[0]]}: {bad[positions[0]]}"
            )
        self.bad = {listing.paths[position]: bad[position] for position in positions.tolist() if position in bad}
        self._paths = [listing.paths[position] for position in good]
        self.sizes = sizes[good].astype(np.int32)
        self.labels = np.array(listing.labels, np.int32)[good]
        self.label_names = listing.label_names
        without = sorted(set(range(len(self.label_names))) - set(self.labels.tolist()))
        if without and "[" not in split:
            names = ", ".join(self.label_names[label] for label in without[:5])
            say(
                f"{split} has no example of {len(without):,} of the {len(self.label_names):,} classes of train: {names}"
            )

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        return self._decode(read_file(self._paths[index]))

    def name(self, index: int) -> str:
        return self._paths[index]


def _measured(listing: Listing, config: Config) -> tuple[Int[np.ndarray, "n r"], dict[int, str]]:
    """Return the sizes of all files of a listing, and {position: reason} of the bad files."""
    cache = Path(config.machine.cache_dir).expanduser() if config.machine.cache_dir else None
    how = {"cache": cache, "num_threads": config.machine.num_threads}
    limit = round(config.data.max_megapixels * 1e6)
    if listing.rank == 2:
        sizes, bad = measure_files(listing.paths, partial(read_image_size, max_pixels=limit), columns=2, **how)
        for position in np.flatnonzero(sizes.prod(1) > limit).tolist():  # The cache may be older than the limit.
            bad[position] = too_large(*sizes[position].tolist(), max_pixels=limit)
        return sizes, bad
    measured, bad = measure_files(listing.paths, partial(read_signal_header, max_values=limit), columns=3, **how)
    _check_signals(listing, measured, config.data.channels)
    return measured[:, :1], bad


def _check_signals(listing: Listing, measured: Int[np.ndarray, "n 3"], channels: int) -> None:
    """Check that all signals have one sampling rate, and that their channels fit the config.

    Raises:
        UserError: the sampling rates differ, so equal lengths are not equal times; or the channels do not fit.
    """
    good = np.flatnonzero(measured[:, 0])
    rates, first = np.unique(measured[good, 1], return_index=True)
    if len(rates) > 1:
        found = ", ".join(f"{listing.paths[good[place]]} has {measured[good[place], 1]} Hz" for place in first[:2])
        raise UserError(f"{found}, but all signals of a data set need one sampling rate: resample them")
    unfit = good[measured[good, 2] != channels] if channels > 1 else []
    if len(unfit):
        raise UserError(
            f"config.data.channels is {channels}, but {listing.paths[unfit[0]]} has {measured[unfit[0], 2]}: set "
            f"config.data.channels={measured[unfit[0], 2]} if all signals have as many, or config.data.channels=1 for "
            "the mean of a signal's channels"
        )


def decoder_of(config: Config, *, rank: int) -> Callable[[bytes], np.ndarray]:
    """Return the function that decodes an encoded example to values with the config's channels.

    Raises:
        UserError: the examples are images, which cannot have so many channels.
    """
    data = config.data
    return make_decoder(
        rank=rank, channels=data.channels, background=data.background, max_megapixels=data.max_megapixels
    )


def open_source(config: Config, split: str) -> Source:
    """Open a split of the config's data set, such as `train`, `validation` or `test`, or a part: `train[:512]`.

    Raises:
        UserError: there is no such data set or split, or it breaks a rule.
    """
    data = config.data
    kind, _, place = data.source.partition(":")
    match kind:
        case "mnist_native" if not place:
            return EmbeddedSource(kind, split, decode=decoder_of(config, rank=2))
        case "japanese_vowels" if not place:
            if data.channels != JAPANESE_VOWELS_CHANNELS:
                raise UserError(
                    f"config.data.channels is {data.channels}, but {kind} has {JAPANESE_VOWELS_CHANNELS}: "
                    f"set config.data.channels={JAPANESE_VOWELS_CHANNELS}"
                )
            return EmbeddedSource(kind, split, decode=partial(unpack_frames, channels=data.channels))
        case "folder" | "table" if place:
            where, how = Path(place).expanduser(), {"seed": config.seed, "group_pattern": data.group_pattern}
            if kind == "table":
                listing = list_table(where, absolute_paths=data.absolute_paths, **how)
            else:
                listing = list_folder(where, **how)
            return FileSource(listing, split, config=config)
        case "tfds" if place:
            return TfdsSource(place, split, config=config)
        case "sizes" if place:
            return SizeTable(Path(place).expanduser(), num_classes=config.model.num_classes)
        case _:
            raise UserError(f"config.data.source is {data.source!r}, but it must be one of: {', '.join(SOURCES)}")
