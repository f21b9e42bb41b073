"""Any TFDS data set that can be read by random access: images, or signals of float values.

Examples stay encoded until they are read, and none is held in memory. Sizes and labels take one pass over the data;
they are cached until its files change. A data set that is not prepared yet is prepared, or one line says why it cannot
be.
"""

import contextlib
import difflib
import hashlib
import os
import sys
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path
from statistics import mode
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
from jaxtyping import Int, Num

from fcn_jax.config import Config, UserError
from fcn_jax.data import images, signals
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.sizes import read_in_parallel
from fcn_jax.system.console import hushing_tfds, say
from fcn_jax.system.disk import save_arrays

SECONDS_TO_ANSWER = 8.0
"""Longest wait for an answer of the host that a data set is downloaded from."""


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

    def check_channels(self, channels: int) -> None:
        """Check that examples can have so many channels.

        Raises:
            UserError: they cannot.
        """
        if self.rank == 2:
            images.check_image_channels(channels)
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
    values = values or [name for name, feature in features.items() if _is_signal(feature)]
    pair = info.supervised_keys
    if isinstance(pair, tuple) and len(pair) == 2 and pair[0] in values and pair[1] in labels:
        values, labels = [pair[0]], [pair[1]]
    if len(values) != 1 or len(labels) != 1:
        told = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise UserError(
            f"{source} has the features {told}, but it needs one image (or one float signal, [length] or "
            "[length, channels]) and one class label: prepare a data set that has them"
        )
    value, label = features[values[0]], features[labels[0]]
    is_image = isinstance(value, tfds.features.Image)
    return Features(
        source=source,
        value=values[0],
        label=labels[0],
        rank=2 if is_image else 1,
        channels=None if is_image else (*value.shape, 1)[1],
        label_names=tuple(label.names),
    )


def _is_signal(feature: Any) -> bool:
    import tensorflow_datasets as tfds

    if not isinstance(feature, tfds.features.Tensor):
        return False
    shape: Any = feature.shape
    dtype: Any = feature.np_dtype
    is_series = len(shape) in (1, 2) and shape[0] is None and None not in shape[1:]
    return is_series and np.issubdtype(np.dtype(dtype), np.floating)


class TfdsSource:
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
        self._data = _open_split(builder, name, split, self._features, config)
        self._channels, self._background = config.data.channels, config.data.background
        self._max_pixels = round(config.data.max_megapixels * 1e6)
        self._label = f"tfds:{name} {split}"
        measured, reasons = self._measured(_cache_file(builder, split, config), config.machine.num_threads)
        good = np.array([position for position in range(len(measured)) if position not in reasons], np.int64)
        if not len(good):
            raise UserError(f"split {split!r} of tfds:{name} has no example that can be read: #0: {reasons[0]}")
        self._positions, self.bad = good, {f"{self._label} #{number}": reason for number, reason in reasons.items()}
        self.sizes, self.labels = measured[good, :-1].astype(np.int32), measured[good, -1].astype(np.int32)
        self.label_names = self._features.label_names
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

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        value = self._example(int(self._positions[index]))[self._features.value]
        if self._features.rank == 1:
            return signals.with_channels(np.asarray(value, np.float32), self._channels)
        how = {"channels": self._channels, "background": self._background}
        if isinstance(value, bytes):
            return images.decode_image(value, max_pixels=self._max_pixels, **how)
        return images.with_channels(value, **how)

    def _example(self, position: int) -> dict[str, Any]:
        try:
            return self._data[position]
        except Exception as error:  # array_record and TFDS raise many kinds for a damaged record.
            raise BadExampleError(_one_line(error)) from error

    def _measure(self, position: int) -> tuple[int, ...]:
        """Return (*size, label) of one example."""
        example = self._example(position)
        value = example[self._features.value]
        if isinstance(value, bytes):
            size = images.encoded_image_size(value, max_pixels=self._max_pixels)
        else:
            size = np.shape(value)[: self._features.rank]
        if not min(size):
            raise BadExampleError("nothing is there")
        return (*size, int(example[self._features.label]))

    def _measured(self, cache: Path | None, num_threads: int) -> tuple[Int[np.ndarray, "n columns"], dict[int, str]]:
        """Return (*size, label) of every example, zeros if it is bad, and {position: reason} of the bad examples."""
        measured, bad = _load(cache, (len(self._data), self._features.rank + 1)), {}
        missing = np.flatnonzero(measured[:, 0] == 0).tolist()
        for position, row in read_in_parallel(missing, self._measure, num_threads=num_threads):
            if isinstance(row, str):
                bad[position] = row
            else:
                measured[position] = row
        if cache is not None and missing:
            save_arrays(cache, measured=measured)
        return measured, bad


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
        states = [(path, status.st_size, status.st_mtime_ns) for path in files for status in (os.stat(path),)]
    except OSError:
        return None
    if not config.machine.cache_dir:
        return None
    key = repr((builder.info.full_name, split, config.data.max_megapixels, states))
    folder = Path(config.machine.cache_dir).expanduser() / "sizes"
    return folder / f"tfds_{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"


def _load(cache: Path | None, shape: tuple[int, int]) -> Int[np.ndarray, "n columns"]:
    """Load what was measured before; zeros if nothing was."""
    if cache is not None:
        try:
            with np.load(cache, allow_pickle=False) as stored:
                measured = stored["measured"]
            if measured.shape == shape and measured.dtype == np.int64:
                return measured
        except (OSError, ValueError, KeyError, EOFError):
            pass
    return np.zeros(shape, np.int64)


def open_builder(name: str) -> Any:
    """Return the builder of `NAME[/CONFIG][:VERSION]`; prepare its data if that was not done before.

    Raises:
        UserError: there is no such data set, or it cannot be prepared here.
    """
    builder = _make_builder(name)
    if not builder.is_prepared():
        _prepare(builder, name)
    return builder


def _make_builder(name: str) -> Any:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    data_dir = os.environ.get("TFDS_DATA_DIR")
    try:
        with hushing_tfds():
            return tfds.builder(name, data_dir=data_dir)
    except DatasetNotFoundError as error:
        names = tfds.list_builders(with_community_datasets=False)
        raise UserError(
            f"config.data.source is tfds:{name}, but TFDS has no data set of that name, and none is prepared in "
            f"{data_dir or '~/tensorflow_datasets'}{_close(name.partition('/')[0], names)}"
        ) from error
    except ImportError as error:  # Only the builder's code may need TensorFlow; prepared files do not.
        with contextlib.suppress(Exception), hushing_tfds():
            return read_only_builder.builder_from_files(name, data_dir=data_dir)
        reason = f"{_one_line(error)}; {_remedy(name)}"
        raise UserError(f"tfds:{name} is not prepared, and its builder cannot run here: {reason}") from error
    except Exception as error:  # An unknown config is a ValueError, an unknown version an AssertionError, and so on.
        reason = _unknown_config(name) or f"which TFDS refuses: {_one_line(error)}"
        raise UserError(f"config.data.source is tfds:{name}, {reason}") from error


def _unknown_config(name: str) -> str:
    """Say what is wrong with the CONFIG of a name; empty if nothing is."""
    import tensorflow_datasets as tfds

    base, _, config = name.partition(":")[0].partition("/")
    with contextlib.suppress(Exception), hushing_tfds():
        configs = list(tfds.builder_cls(base).builder_configs)
        if config and config not in configs:
            return f"but {base} has no config {config}" + (_close(config, configs) or f"; it has {', '.join(configs)}")
    return ""


def _prepare(builder: Any, name: str) -> None:
    """Prepare a data set on this machine; if it needs a download, only if there is a network.

    If no host answers, TFDS repeats a download for minutes, and no setting changes that. So the host of most files is
    asked first. If it does not answer, only files downloaded before are used, and no download is repeated.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    hosts = ["://".join(urlsplit(url)[:2]) for url in builder.url_infos or {} if "//" in url]
    online = not hosts or _answers(mode(hosts))
    if online:
        say(f"preparing tfds:{name} in {builder.data_dir}")
    elif builder.MANUAL_DOWNLOAD_INSTRUCTIONS or _has_downloads(builder):
        downloader.MAX_RETRIES = 0
        tfds.disable_progress_bar()
    else:
        missing = f"tfds:{name} is not prepared in {builder.data_dir}"
        raise UserError(f"{missing}, and {mode(hosts)} cannot be reached from here; {_remedy(name)}")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with contextlib.redirect_stdout(sys.stderr if online else None):
            builder.download_and_prepare(file_format="array_record", download_config=config)
    except Exception as error:  # A builder's own code may raise anything.
        raise UserError(f"tfds:{name} cannot be prepared here: {_one_line(error)}; {_remedy(name)}") from error


def _has_downloads(builder: Any) -> bool:
    """Return whether any file of a data set was downloaded before."""
    from tensorflow_datasets.core.download.resource import get_dl_fname

    root = str(builder.data_dir).removesuffix(builder.info.full_name)
    names = [get_dl_fname(url, info.checksum) for url, info in builder.url_infos.items()]
    return any(Path(root, "downloads", place, name).exists() for name in names for place in ("", builder.name))


def _answers(url: str) -> bool:
    """Return whether a host gives any answer, directly or through the proxy that the environment names."""
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError):
            with contextlib.suppress(HTTPError):
                urlopen(Request(url, method="HEAD"), timeout=SECONDS_TO_ANSWER).close()
            answered.set()

    # The lookup of a host name has no time limit, so a thread that hangs in it is left behind.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER)
    return answered.is_set()


def _remedy(name: str) -> str:
    where = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return (
        'on a machine that can, run: python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}').download_and_prepare(file_format='array_record')\", and copy its "
        f"~/tensorflow_datasets/{name.partition(':')[0].partition('/')[0]} into {where} here, "
        "or set TFDS_DATA_DIR to where it is"
    )


def _close(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, set(names), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _one_line(error: Exception) -> str:
    return textwrap.shorten(str(error), 400, placeholder=" …") or type(error).__name__
