"""The true size of every file, from headers, in parallel, and remembered.

Beside each size the cache keeps the file's fingerprint (its length and modification time), so that a changed file is
read again, and alone.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Int

from fcn_jax.console import Bar
from fcn_jax.data.bad_examples import BadExampleError

CHUNK = 256


def measure_files(
    paths: Sequence[Path],
    read_size: Callable[[Path], tuple[int, ...]],
    *,
    rank: int,
    cache: Path | None,
    num_threads: int,
) -> tuple[Int[np.ndarray, "n r"], dict[int, str]]:
    """Sizes of files, and why some have none.

    Args:
        read_size: size of one file, or BadExampleError.
        cache: folder to remember sizes in; None: nothing is remembered.

    Returns:
        [n, rank] sizes, 0 where a file is bad; {position: reason} of the bad ones.
    """
    fingerprints, bad = _fingerprints(paths)
    sizes = np.zeros((len(paths), rank), np.int64)
    known = _load(paths, cache, rank)
    missing = []
    for position, path in enumerate(paths):
        if position in bad:
            continue
        entry = known.get(str(path))
        if entry is not None and entry[:2] == tuple(fingerprints[position]):
            sizes[position] = entry[2:]
        else:
            missing.append(position)
    for position, size in _read(paths, missing, read_size, num_threads=num_threads):
        if isinstance(size, str):
            bad[position] = size
        else:
            sizes[position] = size
    if cache is not None and missing:
        _save(paths, np.concatenate([fingerprints, sizes], axis=1), cache)
    return sizes, bad


def _fingerprints(paths: Sequence[Path]) -> tuple[Int[np.ndarray, "n 2"], dict[int, str]]:
    """(length, modification time in ns) of every file; why some have none."""
    fingerprints, bad = np.zeros((len(paths), 2), np.int64), {}
    for position, path in enumerate(paths):
        try:
            status = os.stat(path)
        except OSError as error:
            bad[position] = error.strerror or str(error)
            continue
        fingerprints[position] = status.st_size, status.st_mtime_ns
        if not status.st_size:
            bad[position] = "the file is empty"
    return fingerprints, bad


def _read(paths, positions: list[int], read_size, *, num_threads: int):
    """(position, size or reason) of some files."""

    def read_some(some: list[int]):
        return [(position, _size_or_reason(paths[position], read_size)) for position in some]

    chunks = [positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK)]
    with ThreadPoolExecutor(num_threads) as pool, Bar("measure", len(chunks)) as bar:
        for chunk in pool.map(read_some, chunks):
            yield from chunk
            bar.advance()
            bar.note("blocks of files")


def _size_or_reason(path: Path, read_size) -> tuple[int, ...] | str:
    try:
        return read_size(path)
    except BadExampleError as error:
        return str(error)


def _cache_file(paths: Sequence[Path], cache: Path) -> Path:
    """One file for each folder that holds all the paths."""
    common = os.path.commonpath([str(path.parent) for path in paths])
    return cache / "sizes" / f"{hashlib.sha256(common.encode()).hexdigest()[:24]}.npz"


def _load(paths: Sequence[Path], cache: Path | None, rank: int) -> dict[str, tuple[int, ...]]:
    """{path: (length, time, *size)}; nothing where the cache is absent or damaged."""
    if cache is None:
        return {}
    try:
        with np.load(_cache_file(paths, cache), allow_pickle=False) as stored:
            names, rows = stored["paths"].tolist(), stored["rows"]
    except (OSError, ValueError, KeyError, EOFError):
        return {}
    if rows.ndim != 2 or rows.shape != (len(names), 2 + rank):
        return {}
    return {name: tuple(row) for name, row in zip(names, rows.tolist(), strict=True) if row[2] > 0}


def _save(paths: Sequence[Path], rows: np.ndarray, cache: Path) -> None:
    target = _cache_file(paths, cache)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(f".{os.getpid()}.new.npz")
    np.savez(temporary, paths=np.array([str(path) for path in paths]), rows=rows)
    temporary.replace(target)
