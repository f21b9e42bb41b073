"""Any TFDS data set that can be read by random access: images, or signals of floats or integers.

Examples stay encoded until they are read, and none is held in memory. Sizes, labels and digests of the contents take
one pass over the data; they are cached until its files change.
"""

import hashlib
import io
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Num, UInt8

from fcn_jax.config import Config, UserError
from fcn_jax.data import image_formats, images, signals
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.sizes import DIGEST_SIZE, read_in_parallel
from fcn_jax.data.source import Decoded, Source, values_of
from fcn_jax.data.storage import state_of
from fcn_jax.data.tfds_builder import one_line, open_builder
from fcn_jax.data.transforms import decoder_of
from fcn_jax.system.cache import cache_folder, keep_arrays, load_arrays
from fcn_jax.system.console import hushing_tfds, say
from fcn_jax.system.machine import threads_of

_say_once = cache(say)


@dataclass(frozen=True)
class Features:
    """The two features of a data set that are used: the example and its label."""

    source: str
    """Name of the data set, as the user gave it."""
    value: str
    """Name of the feature that holds the example."""
    label: str
    """Name of the feature that holds the label."""
    rank: int
    """2: an image; 1: a signal."""
    channels: int | None
    """Number of channels of a signal; None: unknown."""
    label_names: tuple[str, ...]
    kind: str
    """Type of a signal's values; empty for images."""
    sampling_rate: int | None
    """Samples a second of a signal; None: unknown."""

    @property
    def value_range(self) -> tuple[float, float] | None:
        """The lowest and the highest value of an example; None for a signal of floats, which may have any."""
        if self.rank == 2:
            return 0.0, 255.0
        return (-1.0, 1.0) if self.kind in signals.INTEGER_STEPS else None

    def check_channels(self, channels: int) -> None:
        """Check that examples can have so many channels.

        Raises:
            UserError: they cannot.
        """
        if self.rank == 2:
            image_formats.check_image_channels(channels)
        elif channels not in (1, self.channels):
            raise UserError(
                f"config.data.channels is {channels}, but the signals of {self.source} have {self.channels}: "
                f"set config.data.channels={self.channels}, or config.data.channels=1 for their mean"
            )


def find_features(info: Any, source: str) -> Features:
    """Find the features that hold the example and its label.

    Raises:
        UserError: there is not exactly one of each kind, and the data set does not say which pair to use.
    """
    import tensorflow_datasets as tfds

    features = dict(info.features)
    labels = [name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    values = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
    kinds = {name: _signal_type(feature) for name, feature in features.items()}
    pair = info.supervised_keys
    has_pair = isinstance(pair, tuple) and len(pair) == 2 and pair[1] in labels
    if has_pair and (pair[0] in values or (not values and kinds.get(pair[0]))):
        values, labels = [pair[0]], [pair[1]]
    values = values or [name for name in kinds if kinds[name].startswith("float")] or [*filter(kinds.get, kinds)]
    if len(values) != 1 or len(labels) != 1:
        told = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise UserError(
            f"{source} has the features {told}, but it needs one image (or one signal, [length] or [length, "
            "channels], of floats or integers) and one class label: prepare a data set that has them"
        )
    value, label = features[values[0]], features[labels[0]]
    return Features(
        source=source,
        value=values[0],
        label=labels[0],
        rank=1 if kinds[values[0]] else 2,
        channels=(*value.shape, 1)[1] if kinds[values[0]] else None,
        label_names=tuple(label.names),
        kind=kinds[values[0]],
        sampling_rate=getattr(value, "sample_rate", None) or None,
    )


def _signal_type(feature: Any) -> str:
    """Return the type of a signal's values; empty if a feature is no signal."""
    import tensorflow_datasets as tfds

    if not isinstance(feature, tfds.features.Tensor) or isinstance(feature, tfds.features.Text):
        return ""
    shape: Any = feature.shape
    dtype: Any = feature.np_dtype
    kind = np.dtype(dtype).name
    is_series = len(shape) in (1, 2) and shape[0] is None and None not in shape[1:]
    return kind if is_series and (kind.startswith("float") or kind in signals.INTEGER_STEPS) else ""


class TfdsSource(Source):
    """One split of a TFDS data set.

    Args:
        name: name of the data set, NAME[/CONFIG][:VERSION].
        split: a split in TFDS notation, such as `train[:90%]`.

    Raises:
        UserError: there is no such data set or split, it cannot be prepared or read, or its labels break a rule.
    """

    def __init__(self, name: str, split: str, *, config: Config):
        builder = open_builder(name)
        self._features = find_features(builder.info, f"tfds:{name}")
        self._features.check_channels(config.data.channels)
        wanted, rate = config.data.sampling_rate, self._features.sampling_rate
        if wanted and wanted != rate:
            raise UserError(
                f"config.data.sampling_rate is {wanted}, but tfds:{name} has {rate or 'an unknown number of'} samples "
                "a second, and only files are resampled: leave it 0"
            )
        if told := signals.told_scale(self._features.kind):
            _say_once(f"tfds:{name}: {told}")
        self._data = _open_split(builder, name, split, self._features, config)
        self._channels, self._background = config.data.channels, config.data.background
        self._decode = decoder_of(config, rank=self._features.rank)
        self._max_pixels = round(config.data.max_megapixels * 1e6)
        self._label = f"tfds:{name} {split}"
        measured, digests, reasons = self._measured(_cache_file(builder, split, config), threads_of(config.machine))
        good = np.array([position for position in range(len(measured)) if position not in reasons], np.int64)
        if not len(good):
            raise UserError(f"split {split!r} of tfds:{name} has no example that can be read: #0: {reasons[0]}")
        self._positions, self.bad = good, {f"{self._label} #{number}": reason for number, reason in reasons.items()}
        self.sizes, self.labels = measured[good, :-1].astype(np.int32), measured[good, -1].astype(np.int32)
        self.label_names = self._features.label_names
        self.origin = f"split {split} in {builder.data_dir}"
        self.sampling_rate, self.value_range = self._features.sampling_rate, self._features.value_range
        self._digests = digests[good]
        without = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.label_names)))
        if len(without):
            example = int(without[0])
            raise UserError(
                f"{self.name(example)} has label {self.labels[example]}, but labels go from 0 to "
                f"{len(self.label_names) - 1}: take a split that is labelled"
            )

    def __len__(self) -> int:
        return len(self._positions)

    def name(self, index: int) -> str:
        return f"{self._label} #{self._positions[index]}"

    def digests(self) -> UInt8[np.ndarray, "n 16"]:
        return self._digests

    def contents(self) -> str:
        return hashlib.sha256(self._digests.tobytes()).hexdigest()

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        return values_of(self.decoded(index))

    def decoded(self, index: int) -> Decoded:
        value = self._example(int(self._positions[index]))[self._features.value]
        if self._features.rank == 1:
            return signals.with_channels(signals.from_integers(np.asarray(value)), self._channels)
        if isinstance(value, bytes):
            return self._decode(value)
        return images.with_channels(value, channels=self._channels, background=self._background)

    def _example(self, position: int) -> dict[str, Any]:
        try:
            return self._data[position]
        except Exception as error:  # array_record and TFDS raise many kinds for a damaged record.
            raise BadExampleError(one_line(error)) from error

    def _measure(self, position: int) -> tuple[tuple[int, ...], bytes]:
        """Return (*size, label) and the digest of one example."""
        example = self._example(position)
        value = example[self._features.value]
        if isinstance(value, bytes):
            size, content = images.read_image_size(io.BytesIO(value), max_pixels=self._max_pixels), value
        else:
            size, content = np.shape(value)[: self._features.rank], np.ascontiguousarray(value).tobytes()
            if self._features.kind == "int64":
                signals.from_integers(np.asarray(value))  # Its values may be none of a sound.
        if not min(size):
            raise BadExampleError("nothing is there")
        digest = hashlib.blake2b(content, digest_size=DIGEST_SIZE).digest()
        return (*size, int(example[self._features.label])), digest

    def _measured(
        self, cache: Path | None, num_threads: int
    ) -> tuple[Int[np.ndarray, "n columns"], UInt8[np.ndarray, "n 16"], dict[int, str]]:
        """Return (*size, label) and the digest of every example, zeros if it is bad, and {position: reason}."""
        measured, digests = _load(cache, (len(self._data), self._features.rank + 1))
        missing, bad = np.flatnonzero(measured[:, 0] == 0).tolist(), {}
        for position, found in read_in_parallel(missing, self._measure, num_threads=num_threads):
            if isinstance(found, str):
                bad[position] = found
            else:
                measured[position], digests[position] = found[0], np.frombuffer(found[1], np.uint8)
        if cache is not None and missing:
            keep_arrays(cache, measured=measured, digests=digests)
        return measured, digests, bad


def _open_split(builder: Any, name: str, split: str, features: Features, config: Config) -> Any:
    """Open a split for random access; its images stay encoded if the data source allows it."""
    import tensorflow_datasets as tfds

    given = {name: info.num_examples for name, info in builder.info.splits.items()}
    names = [part.partition("[")[0].strip() for part in split.split("+")]
    if given and not set(names) <= given.keys():
        raise UserError(_unknown_split(name, split, given, config))
    encoded = {features.value: tfds.decode.SkipDecoding()} if features.rank == 2 else None
    try:
        with hushing_tfds():
            data = builder.as_data_source(split, decoders=encoded)
            if not len(data):
                raise UserError("it is empty")
            try:
                data[0]
            except ImportError:  # The data of `tfds.testing.mock_data` cannot be encoded without TensorFlow.
                data = builder.as_data_source(split)
            except Exception:
                pass  # One damaged example does not make the whole split bad.
            return data
    except NotImplementedError as error:
        raise UserError(
            f"tfds:{name} is prepared in {builder.data_dir} as {builder.info.file_format.value}, which cannot be read "
            "by random access: prepare it again, in another TFDS_DATA_DIR, with "
            "download_and_prepare(file_format='array_record')"
        ) from error
    except Exception as error:  # TFDS raises ValueError, AssertionError and others for a slice that it cannot take.
        sizes = ", ".join(f"{name} ({count:,})" for name, count in given.items())
        raise UserError(
            f"split {split!r} of tfds:{name} cannot be read: {' '.join(str(error).split())}; it has {sizes}"
        ) from error


def _unknown_split(name: str, split: str, given: dict[str, int], config: Config) -> str:
    """Say which splits exist, and which flags make train, validation and test of them."""
    fields = {
        "train_split": "train[:90%]",
        "validation_split": "train[90%:]",
        "test_split": "test" if "test" in given else "validation" if "validation" in given else "",
    }
    if not fields["test_split"]:
        fields = {"train_split": "train[:80%]", "validation_split": "train[80%:90%]", "test_split": "train[90%:]"}
    own = [field for field in fields if getattr(config.data, field) == split]
    found = f"config.data.{own[0]} is {split!r}" if own else f"split is {split!r}"
    there = ", ".join(f"{name} ({count:,})" for name, count in given.items())
    flags = " ".join(
        f"--config.data.{field}='{value}'" for field, value in fields.items() if getattr(config.data, field) != value
    )
    remedy = f"set {flags}" if own and "train" in given else "take one of them, or a part such as train[:90%]"
    return f"{found}, but tfds:{name} has {there}: {remedy}"


def _cache_file(builder: Any, split: str, config: Config) -> Path | None:
    """Return the cache file for the data's files in their present state; None if there is to be no cache."""
    try:
        files = sorted(entry.path for entry in os.scandir(builder.data_dir) if entry.is_file())
        states = [(path, *state_of(os.stat(path))) for path in files]
    except OSError:
        return None
    folder = cache_folder(config.machine)
    if folder is None:
        return None
    key = repr((builder.info.full_name, split, config.data.max_megapixels, states))
    return folder / "sizes" / f"tfds_{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"


def _load(cache: Path | None, shape: tuple[int, int]) -> tuple[Int[np.ndarray, "n columns"], UInt8[np.ndarray, "n 16"]]:
    """Load the numbers and digests that were measured before; zeros if there are none."""
    measured, digests = np.zeros(shape, np.int64), np.zeros((shape[0], DIGEST_SIZE), np.uint8)
    stored = None if cache is None else load_arrays(cache)
    if stored is None or stored.keys() != {"measured", "digests"}:
        return measured, digests
    is_same = all(
        (found.shape, found.dtype) == (empty.shape, empty.dtype)
        for found, empty in ((stored["measured"], measured), (stored["digests"], digests))
    )
    return (stored["measured"], stored["digests"]) if is_same else (measured, digests)
