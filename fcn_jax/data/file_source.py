"""The user's own files as a data set: measured once, checked as a whole, opened split by split."""

import hashlib
import os
from collections.abc import Callable, Container
from functools import partial

import numpy as np
from jaxtyping import Int, Num, UInt8

from fcn_jax.config import Config, UserError
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.files import IMAGES, OTHER_KIND, SIGNALS, rank_by_content
from fcn_jax.data.image_files import ImageFiles
from fcn_jax.data.images import too_large
from fcn_jax.data.listing import Listing
from fcn_jax.data.signals import read_signal_header, resampled_length
from fcn_jax.data.sizes import DIGEST_SIZE, READ_WHOLE, Measured, measure_files, same_contents
from fcn_jax.data.source import Decoded, Source, values_of
from fcn_jax.data.transforms import decoder_of
from fcn_jax.system.cache import cache_folder
from fcn_jax.system.console import say
from fcn_jax.system.machine import threads_of


def value_range_of(rank: int, pixel_range: str) -> tuple[float, float]:
    """Return the lowest and the highest value of files: of images by their `data.pixel_range`, or of signals."""
    if rank == SIGNALS:
        return -1.0, 1.0
    return (0.0, 255.0) if pixel_range == "8bit" else (0.0, 1.0)


class FileData:
    """The files of a listing, all of them images or all signals.

    Files whose header cannot be read are left out and named in the `bad` of their split.

    Args:
        unreadable: names of files that are left out even if they can be read now.

    Raises:
        UserError: a file stands in two splits or has two labels, or the sampling rates or channels break a rule.
    """

    def __init__(self, listing: Listing, config: Config, *, unreadable: Container[str] = ()):
        self.listing = listing
        self._config = config
        self._measured = _measured(listing, config)
        for position, name in enumerate(listing.names if unreadable else ()):
            if name in unreadable:
                self._measured.bad.setdefault(position, "it could not be read when the run began")
                self._measured.sizes[position] = self._measured.digests[position] = 0
        self.sampling_rate = _sampling_rate(listing, self._measured, config) if listing.rank == SIGNALS else None
        self._sizes = self._measured.sizes[:, : listing.rank]
        if config.data.sampling_rate and listing.rank == SIGNALS:
            self._sizes = resampled_length(self._sizes, self._measured.sizes[:, 1:2], config.data.sampling_rate)
        check_same_files(listing, self._measured, num_threads=threads_of(config.machine))

    def __call__(self, split: str) -> "FileSource":
        """Open a split, or a part of one.

        Raises:
            UserError: there is no such split, or none of its files can be read.
        """
        listing, bad = self.listing, self._measured.bad
        positions = listing.positions(split)
        good = np.array([position for position in positions.tolist() if position not in bad], np.int64)
        if not len(good):
            first = int(positions[0])
            raise UserError(f"split {split!r} has no file that can be read: {listing.paths[first]}: {bad[first]}")
        return FileSource(
            listing,
            split,
            good,
            sizes=self._sizes[good].astype(np.int32),
            digests=self._measured.digests[good],
            stats=self._measured.stats[good],
            full_contents="" if (full := self._measured.full_digests) is None else _digest(full[good]),
            bad={position: bad[position] for position in positions.tolist() if position in bad},
            sampling_rate=self.sampling_rate,
            decode=decoder_of(self._config, rank=listing.rank, sampling_rate=self.sampling_rate),
            value_range=value_range_of(listing.rank, self._config.data.pixel_range),
        )


class FileSource(Source):
    """One split of a listing."""

    def __init__(
        self,
        listing: Listing,
        split: str,
        positions: Int[np.ndarray, " n"],
        *,
        sizes: Int[np.ndarray, "n r"],
        digests: UInt8[np.ndarray, "n 16"],
        stats: Int[np.ndarray, "n 4"],
        full_contents: str,
        bad: dict[int, str],
        sampling_rate: int | None,
        decode: Callable[[bytes], Decoded],
        value_range: tuple[float, float],
    ):
        self._listing, self._positions, self._decode = listing, positions, decode
        self._digests, self._stats, self.full_contents = digests, stats, full_contents
        self.sizes, self.left_out = sizes, dict(listing.left_out)
        self.bad = {listing.paths[position]: reason for position, reason in bad.items()}
        self.unreadable = tuple(listing.names[position] for position in bad)
        self.labels, self.label_kind = listing.labels_of(positions), listing.label_kind
        self.loss_weights = None if listing.weights is None else np.array(listing.weights, np.float32)[positions]
        self.label_names = listing.label_names
        self.origin = listing.origin(split)
        self.sampling_rate = sampling_rate
        self.value_range = value_range

    def __len__(self) -> int:
        return len(self._positions)

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        return values_of(self.decoded(index))

    def decoded(self, index: int) -> Decoded:
        return self._decode(self._listing.storage.read(self.name(index)))

    def name(self, index: int) -> str:
        return self._listing.paths[self._positions[index]]

    def key(self, index: int) -> bytes:
        return os.fsencode(self._listing.names[self._positions[index]])

    def digests(self) -> UInt8[np.ndarray, "n 16"]:
        """Return a digest of the contents of every example; of a large file, of its length, times and inode too."""
        digests = self._digests.copy()
        for index in np.flatnonzero(self._stats[:, 0] > READ_WHOLE).tolist():
            both = digests[index].tobytes() + self._stats[index].tobytes()
            digests[index] = np.frombuffer(hashlib.blake2b(both, digest_size=DIGEST_SIZE).digest(), np.uint8)
        return digests

    def is_unchanged(self, index: int) -> bool:
        try:
            return self._listing.storage.state(self.name(index)) == tuple(self._stats[index].tolist())
        except (OSError, BadExampleError):
            return False

    def contents(self) -> str:
        return _digest(self._digests)


def _digest(digests: UInt8[np.ndarray, "n 16"]) -> str:
    """Return one digest of the digests of some files, in order."""
    return hashlib.sha256(digests.tobytes()).hexdigest()


def _measured(listing: Listing, config: Config) -> Measured:
    """Measure all files of a listing; say of those that cannot be measured why."""
    limit, machine = round(config.data.max_megapixels * 1e6), config.machine
    cache = cache_folder(machine)
    if listing.rank == IMAGES:
        decode = decoder_of(config, rank=listing.rank)
        assert isinstance(decode, ImageFiles)
        columns, read = 2, decode.read_size
        if cache is not None and not decode.are_pictures:
            # Which files are good depends on these two.
            rule = repr((config.data.channels, config.data.pixel_range))
            cache = cache / "arrays" / hashlib.sha256(rule.encode()).hexdigest()[:24]
    else:
        columns, read = 3, partial(read_signal_header, max_values=limit)
    measured = measure_files(
        listing.paths,
        read,
        columns=columns,
        cache=cache,
        num_threads=threads_of(machine),
        full=machine.full_digests,
        storage=listing.storage,
    )
    if listing.rank == IMAGES:
        # The cache may be older than the limit.
        for position in np.flatnonzero(measured.sizes.prod(1) > limit).tolist():
            measured.bad[position] = too_large(*measured.sizes[position].tolist(), max_pixels=limit)
    other = SIGNALS if listing.rank == IMAGES else IMAGES
    for position in list(measured.bad):
        if rank_by_content(listing.storage.read_head(listing.paths[position])) == other:
            measured.bad[position] = f"it is {OTHER_KIND[listing.rank]}"
    return measured


def _sampling_rate(listing: Listing, measured: Measured, config: Config) -> int:
    """Return the sampling rate that all signals have, or that the config has them resampled to.

    Raises:
        UserError: the sampling rates differ, so equal lengths are not equal times; or the channels do not fit.
    """
    channels, wanted = config.data.channels, config.data.sampling_rate
    good = np.flatnonzero(measured.sizes[:, 0])
    rates, first, counts = np.unique(measured.sizes[good, 1], return_index=True, return_counts=True)
    if len(rates) > 1 and not wanted:
        pairs = [(listing.paths[place], measured.sizes[place, 1]) for place in good[first[:2]].tolist()]
        found = ", ".join(f"{path} has {rate} Hz" for path, rate in pairs)
        raise UserError(
            f"{found}, but all signals of a data set need one sampling rate: resample them, or train with "
            f"--config.data.sampling_rate={rates[counts.argmax()]}, which resamples them"
        )
    unfit = good[measured.sizes[good, 2] != channels] if channels > 1 else []
    if len(unfit):
        found = measured.sizes[unfit[0], 2]
        keep_all = f"config.data.channels={found} if all signals have as many, or " if found > 1 else ""
        raise UserError(
            f"config.data.channels is {channels}, but {listing.paths[unfit[0]]} has {found}: set {keep_all}"
            "config.data.channels=1 for the mean of a signal's channels"
        )
    changed = int(counts[rates != wanted].sum()) if wanted else 0
    if changed:
        say(f"{changed:,} of {len(good):,} signals are resampled to config.data.sampling_rate={wanted}")
    return wanted or (int(rates[0]) if len(rates) else 0)


def check_same_files(listing: Listing, measured: Measured, *, num_threads: int) -> None:
    """Check that no file stands in two splits or has two labels; say how many have the same content as another one.

    Raises:
        UserError: the same file, links resolved, stands in two splits or has two labels.
    """
    paths, storage = listing.paths, listing.storage
    number = same_contents(paths, measured, num_threads=num_threads, storage=storage)
    first_of_content: dict[int, int] = {}
    first_of_file: dict[str, int] = {}
    across, torn, repeated = [], [], 0
    for place in np.flatnonzero(number >= 0).tolist():
        same = first_of_file.setdefault(storage.real_path(paths[place]), place)
        if same != place:
            if listing.splits[same] != listing.splits[place] or listing.labels[same] != listing.labels[place]:
                raise UserError(_same_file(listing, same, place))
            repeated += 1
            continue
        one = first_of_content.setdefault(int(number[place]), place)
        if listing.splits[one] != listing.splits[place]:
            across.append((one, place))
        if listing.labels[one] != listing.labels[place]:
            torn.append((one, place))
    if repeated:
        say(f"{repeated:,} of {len(paths):,} examples lie in files that are listed before: each file counts as often")
    for pairs, what in ((across, "in another split"), (torn, "with another label")):
        if pairs:
            one, other = pairs[0]
            have = f"{len(pairs):,} files have" if len(pairs) > 1 else "1 file has"
            say(f"WARNING: {have} the same content as a file {what}: {paths[other]} and {paths[one]}")


def _same_file(listing: Listing, one: int, other: int) -> str:
    splits, names = listing.splits, [listing.label_in_words(place) for place in (one, other)]
    paths = list(dict.fromkeys((listing.paths[one], listing.paths[other])))
    where = f"in {splits[one]} and in {splits[other]}" if splits[one] != splits[other] else "in one split"
    what = f"with the labels {names[0]} and {names[1]}" if names[0] != names[1] else f"with the label {names[0]}"
    same = f"{paths[0]} is listed twice" if len(paths) == 1 else f"{paths[0]} and {paths[1]} are the same file"
    return f"{same}, {where}, {what}: a file belongs to one split and has one label; remove one of them"
