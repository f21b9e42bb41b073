"""Decoded and resized examples on disk, for later epochs and later runs: read back, an example costs hardly anything.

The examples lie in ArrayRecord files of the folder of one rule: all that decides what an example becomes before random
changes. Each is found by a digest of its contents, so files may be renamed or moved. Any number of processes may read
and add at the same time: each writes files of its own. A damaged file is removed, and its examples are decoded again.
"""

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
import threading
import time
from importlib.metadata import version
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Num, UInt8
from PIL import features

from fcn_jax.config import DataConfig
from fcn_jax.system.cache import keep_arrays, load_arrays
from fcn_jax.system.console import say

RULES = 1
"""Raise it when the same bytes and the same config give other values: examples of an older rule are not used."""
FILE_BYTES, FILE_SECONDS = 2**26, 60.0
"""A file takes no more examples when it has so many bytes, or is so old; only then can it be read."""
AROUND_A_FILE = 2**18
"""Most bytes that a file and its index take beside the examples in it."""
SECONDS_TO_LOOK = 10.0
"""How often an example that is not there makes it look for the new files of other processes."""
LEFT_BEHIND_SECONDS = 24 * 3600.0
"""A file that is this old and was never finished has been left behind by a process that was killed."""
_used: set[Path] = set()
"""The files that this process uses."""
DTYPES = ("uint8", "float32")
FILES = ("folder", "table", "arrays", "webdataset", "parquet")
"""The kinds of data sets whose examples are files, and become the same values wherever these lie."""
RECORDS, INDEX = ".array_record", ".npz"


def rule_of(data: DataConfig, sampling_rate: int | None) -> str:
    """Return a digest of all that decides what values the bytes of an example become."""
    kind = data.source.partition(":")[0]
    rule = {
        "rules": RULES,
        "bytes": "files" if kind in FILES else data.source,
        **{name: getattr(data, name) for name in ("channels", "background", "resize", "decode", "pixel_range")},
        "sampling_rate": sampling_rate,
        "libraries": [version("pillow"), features.version("jpg"), version("soundfile"), version("numpy")],
    }
    return hashlib.sha256(json.dumps(rule).encode()).hexdigest()[:24]


class ExampleCache:
    """The examples of one split, as far as they are on disk.

    Args:
        folder: holds the folders of all rules.
        rule: from `rule_of`.
        digests: digest of the contents of every example; zeros: unknown.
        sizes, resized_sizes: size of every example, before and after `data.resize`.
        max_bytes: most bytes of all rules together. To make room, the files that were not used for the longest time
            are removed, but none that this process has used.
    """

    def __init__(
        self,
        folder: Path,
        rule: str,
        digests: UInt8[np.ndarray, "n 16"],
        sizes: Int[np.ndarray, "n r"],
        resized_sizes: Int[np.ndarray, "n r"],
        *,
        channels: int,
        max_bytes: int,
    ):
        self._arguments = (
            (folder, rule, digests, sizes, resized_sizes),
            {"channels": channels, "max_bytes": max_bytes},
        )
        self._all, self._folder, self._max_bytes = folder, folder / rule, max_bytes
        # Raw values of other sizes can have the same bytes.
        self._keys = np.concatenate([digests, np.ascontiguousarray(sizes, np.int32).view(np.uint8)], axis=1)
        self._is_known: Bool[np.ndarray, " n"] = np.asarray(digests.any(1))
        self._file_bytes = min(FILE_BYTES, max_bytes // 4)
        self._shapes = np.concatenate([resized_sizes, np.full((len(sizes), 1), channels)], axis=1)
        self._files: list[_File | None] = []
        self._file = np.full(len(sizes), -1, np.int32)
        self._record = np.zeros(len(sizes), np.int32)
        self._known: set[str] = set()
        self._unfinished: list[_Writer] = []
        self._can_write, self._looked = True, -np.inf
        self._lock = threading.Lock()
        self._find_files()
        Finalize(self, _finish, (self._unfinished,), exitpriority=10)  # Also at the end of a process that only reads.

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, self._arguments

    def __len__(self) -> int:
        """The number of examples of the split that can be read from disk."""
        return int((self._file >= 0).sum())

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"] | None:
        """Return an example, which cannot be written to; None if it is not on disk."""
        if self._file[index] < 0:
            with self._lock:
                if any(index in writer.examples for writer in self._unfinished):
                    self._finish_file()
                elif time.monotonic() - self._looked > SECONDS_TO_LOOK:
                    self._find_files()
        number = int(self._file[index])
        file = self._files[number] if number >= 0 else None
        if file is None:
            return None
        try:
            return np.frombuffer(file.record(int(self._record[index])), file.dtype).reshape(self._shapes[index])
        except Exception as error:  # ArrayRecord raises many kinds for a damaged file.
            with self._lock:
                self._drop(number, error)
            return None

    def write(self, index: int, example: Num[np.ndarray, "*spatial c"]) -> None:
        """Add an example, if there is room."""
        dtype = example.dtype.name
        with self._lock:
            if not (self._can_write and self._is_known[index] and dtype in DTYPES) or self._file[index] >= 0:
                return
            try:
                if self._unfinished and self._unfinished[0].num_bytes + example.nbytes > self._file_bytes:
                    self._finish_file()
                if not self._unfinished and self._can_write:
                    if not self._make_room():
                        self._stop_writing(f"its {self._max_bytes / 2**20:,.0f} MiB are full")
                        return
                    self._unfinished.append(_Writer(self._folder, dtype))
                if not self._unfinished:
                    return
                (writer,) = self._unfinished
                if dtype == writer.dtype and index not in writer.examples:
                    writer.add(index, self._keys[index], example)
                if writer.seconds > FILE_SECONDS:
                    self._finish_file()
            except Exception as error:  # As in `_finish_file`.
                self._unfinished.clear()
                self._stop_writing(str(error))

    def _finish_file(self) -> None:
        """Finish the file that is being written, so that its examples can be read."""
        try:
            self._unfinished.pop().finish()
        except Exception as error:  # A full disk, for example, in one of many kinds.
            self._stop_writing(str(error))
        self._find_files()

    def _stop_writing(self, reason: str) -> None:
        self._can_write = False
        left = len(self._keys) - len(self)
        say(f"{self._folder}: {' '.join(reason.split())}; {left:,} examples are decoded anew each time")

    def _find_files(self) -> None:
        """Take over the files that are new in the folder."""
        self._looked = time.monotonic()
        for path in sorted(self._folder.glob(f"*{INDEX}")):
            if path.name in self._known:
                continue
            self._known.add(path.name)
            arrays = load_arrays(path)
            records = path.with_suffix(RECORDS)
            is_ours = arrays is not None and arrays.keys() == {"keys", "dtype"} and records.exists()
            if arrays is None or not is_ours or arrays["keys"].shape[1] != self._keys.shape[1]:
                continue
            examples, places = _matches(self._keys, arrays["keys"])
            missing = (self._file[examples] < 0) & self._is_known[examples]
            if missing.any():
                self._files.append(_File(records, DTYPES[int(arrays["dtype"])]))
                self._record[examples[missing]] = places[missing]
                self._file[examples[missing]] = len(self._files) - 1
                _used.add(records)
                with contextlib.suppress(OSError):
                    os.utime(path)

    def _drop(self, number: int, error: Exception) -> None:
        """Remove a file that cannot be read; its examples are decoded again."""
        file, self._files[number] = self._files[number], None
        self._file[self._file == number] = -1
        if file is not None:
            say(f"{file.path} cannot be used ({' '.join(str(error).split())[:200]}): its examples are decoded again")
            _remove(file.path)

    def _make_room(self) -> bool:
        """Remove old files, until there is room for one more; return whether there is."""
        now, files = _now(self._all), []
        for records in self._all.glob(f"*/*{RECORDS}"):
            with contextlib.suppress(OSError):
                index = records.with_suffix(INDEX)
                last_used, is_whole = (index if index.exists() else records).stat().st_mtime, index.exists()
                size = records.stat().st_size + (index.stat().st_size if is_whole else 0)
                files.append((last_used, is_whole, records, size))
        needed = self._file_bytes + AROUND_A_FILE
        total = sum(size for *_, size in files)
        for last_used, is_whole, records, size in sorted(files):
            is_left_behind = not is_whole and now - last_used > LEFT_BEHIND_SECONDS
            is_idle = is_whole and records not in _used
            if is_left_behind or (is_idle and total + needed > self._max_bytes):
                _remove(records)
                total -= size
        return total + needed <= self._max_bytes


class _Writer:
    """A file that is being written."""

    def __init__(self, folder: Path, dtype: str):
        from array_record.python import array_record_module  # pyright: ignore

        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{secrets.token_hex(8)}{RECORDS}"
        self._records = array_record_module.ArrayRecordWriter(str(self._path), "uncompressed,group_size:1")
        self._keys: list[UInt8[np.ndarray, " bytes"]] = []
        self._began = time.monotonic()
        self.dtype, self.num_bytes = dtype, 0
        self.examples: set[int] = set()

    @property
    def seconds(self) -> float:
        """How long it has been written."""
        return time.monotonic() - self._began

    def add(self, index: int, key: UInt8[np.ndarray, " bytes"], example: np.ndarray) -> None:
        self._records.write(example.tobytes())
        self._keys.append(key)
        self.examples.add(index)
        self.num_bytes += example.nbytes

    def finish(self) -> None:
        self._records.close()
        keys, dtype = np.stack(self._keys), np.array(DTYPES.index(self.dtype))
        keep_arrays(self._path.with_suffix(INDEX), keys=keys, dtype=dtype)


class _File:
    """A finished file; it is opened when its first record is read."""

    def __init__(self, path: Path, dtype: str):
        self.path, self.dtype = path, dtype
        self._reader: Any = None
        self._lock = threading.Lock()

    def record(self, number: int) -> bytes:
        if self._reader is None:
            from array_record.python import array_record_module  # pyright: ignore

            with self._lock:
                options = "readahead_buffer_size:0,max_parallelism:0"
                self._reader = self._reader or array_record_module.ArrayRecordReader(str(self.path), options)
        return self._reader.read([number])[0]


def _made_again(arguments: tuple[Any, ...], options: dict[str, Any]) -> ExampleCache:
    return ExampleCache(*arguments, **options)


def _finish(unfinished: list[_Writer]) -> None:
    """Finish the file that is being written when nobody needs the cache any more, or the process ends."""
    for writer in unfinished:
        with contextlib.suppress(Exception):
            writer.finish()


def _now(folder: Path) -> float:
    """Return the time by the clock that the files in a folder get theirs from."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _remove(records: Path) -> None:
    for path in (records.with_suffix(INDEX), records):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _matches(
    keys: UInt8[np.ndarray, "n bytes"], stored: UInt8[np.ndarray, "m bytes"]
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Return the examples whose keys are stored, and the place of each."""
    starts, stored_starts = (np.ascontiguousarray(each[:, :8]).view(np.uint64)[:, 0] for each in (keys, stored))
    order = np.argsort(stored_starts, kind="stable")
    places = order[np.minimum(np.searchsorted(stored_starts[order], starts), len(order) - 1)]
    examples = np.flatnonzero((stored[places] == keys).all(1))
    return examples, places[examples]
