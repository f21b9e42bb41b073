"""The true size of every file: read from the headers in parallel, and kept in a cache.

Beside each size, the cache keeps the file's fingerprint (its length and modification time). So only changed files are
read again.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Int

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.system.console import Bar
from fcn_jax.system.disk import save_arrays

CHUNK = 256


def measure_files(
    paths: Sequence[str],
    read_size: Callable[[str], tuple[int, ...]],
    *,
    columns: int,
    cache: Path | None,
    num_threads: int,
) -> tuple[Int[np.ndarray, "n columns"], dict[int, str]]:
    """Measure files, and say why some cannot be measured.

    Args:
        read_size: returns the size of one file, and perhaps more numbers; raises BadExampleError if it cannot.
        columns: how many numbers `read_size` returns.
        cache: folder that keeps the sizes; None: nothing is kept.

    Returns:
        The numbers [n, columns], 0 where a file is bad; {position: reason} of the bad files.
    """
    fingerprints, bad = _fingerprints(paths)
    known = _load(paths, cache, columns)
    is_known = (known[:, :2] == fingerprints).all(1) & (known[:, 2] > 0)
    sizes = np.where(is_known[:, None], known[:, 2:], 0)
    missing = [position for position in np.flatnonzero(~is_known).tolist() if position not in bad]
    for position, size in read_in_parallel(missing, lambda place: read_size(paths[place]), num_threads=num_threads):
        if isinstance(size, str):
            bad[position] = size
        else:
            sizes[position] = size
    if cache is not None and missing:
        rows = np.concatenate([fingerprints, sizes], axis=1)
        save_arrays(_cache_file(paths, cache), paths=np.array(paths), rows=rows)
    return sizes, bad


def _fingerprints(paths: Sequence[str]) -> tuple[Int[np.ndarray, "n 2"], dict[int, str]]:
    """Return (length in bytes, modification time in ns) of every file, and {position: reason} of the bad files."""
    fingerprints, bad = np.zeros((len(paths), 2), np.int64), {}
    for position, path in enumerate(paths):
        try:
            status = os.stat(path)
        except OSError as error:
            bad[position] = error.strerror or str(error)
            continue
        fingerprints[position] = status.st_size, status.st_mtime_ns
        if not stat.S_ISREG(status.st_mode):
            bad[position] = "it is no regular file"
        elif not status.st_size:
            bad[position] = "the file is empty"
    return fingerprints, bad


def read_in_parallel(
    positions: Sequence[int], read: Callable[[int], tuple[int, ...]], *, num_threads: int
) -> Iterator[tuple[int, tuple[int, ...] | str]]:
    """Yield (position, the numbers read or the reason why not), and show a progress bar.

    Args:
        read: returns the numbers of a position; raises BadExampleError if it cannot.
    """

    def read_some(some: Sequence[int]) -> list[tuple[int, tuple[int, ...] | str]]:
        return [(position, _read_or_reason(position, read)) for position in some]

    chunks = [positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK)]
    with ThreadPoolExecutor(num_threads) as pool, Bar("measure", len(chunks)) as bar:
        for chunk in pool.map(read_some, chunks):
            yield from chunk
            bar.advance()
            bar.note(f"blocks of {CHUNK} examples")


def _read_or_reason(position: int, read: Callable[[int], tuple[int, ...]]) -> tuple[int, ...] | str:
    try:
        return read(position)
    except BadExampleError as error:
        return str(error)


def _cache_file(paths: Sequence[str], cache: Path) -> Path:
    """Return the cache file of the innermost folder that holds all the paths."""
    common = os.path.commonpath({os.path.dirname(path) for path in paths})
    return cache / "sizes" / f"{hashlib.sha256(common.encode()).hexdigest()[:24]}.npz"


def _load(paths: Sequence[str], cache: Path | None, columns: int) -> Int[np.ndarray, "n numbers"]:
    """Return (length, time, *size) of every file; zeros for files not in the cache, or if it is absent or damaged."""
    rows = np.zeros((len(paths), 2 + columns), np.int64)
    if cache is None:
        return rows
    try:
        with np.load(_cache_file(paths, cache), allow_pickle=False) as stored:
            names, stored_rows = stored["paths"].tolist(), stored["rows"]
    except (OSError, ValueError, KeyError, EOFError):
        return rows
    if stored_rows.shape != (len(names), 2 + columns) or stored_rows.dtype != np.int64:
        return rows
    if names == list(paths):
        return stored_rows
    place_of = {name: place for place, name in enumerate(names)}
    places = np.array([place_of.get(path, -1) for path in paths])
    rows[places >= 0] = stored_rows[places[places >= 0]]
    return rows
