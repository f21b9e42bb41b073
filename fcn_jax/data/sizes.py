"""The true size and a digest of every file: read in parallel, and kept in a cache.

Beside them, the cache keeps the file's length, times and inode. So only files in which one of these changed are read
again. A digest tells whether the contents are the same, whatever the times say.

The digest of a file up to 1 MiB is of all its bytes. That of a larger one is of its length and of 16 blocks spread over
it. A full digest is of all bytes of any file.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int, UInt8

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.image_metadata import BinaryFile
from fcn_jax.data.storage import DISK, Storage
from fcn_jax.system.cache import keep_arrays, load_arrays
from fcn_jax.system.console import Bar
from fcn_jax.system.disk import reading_again

CHUNK = 256
RULES = 1
"""Raise it when a size is read from the same bytes by another rule: a cache of an older rule is not used."""
READ_WHOLE = 2**20
"""Most bytes of a file that is read whole."""
BLOCK, NUM_BLOCKS = 2**16, 16
DIGEST_SIZE = 16
"""In bytes. blake2b hashes about 0.9 GB a second on a core; SHA-256 is faster only on some processors."""

T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """What is known of files; zeros where a file is bad."""

    sizes: Int[np.ndarray, "n columns"]
    stats: Int[np.ndarray, "n 4"]
    """Length in bytes, modification time, change time and inode."""
    digests: UInt8[np.ndarray, "n 16"]
    """The same for the same contents, whether or not full ones were asked for."""
    full_digests: UInt8[np.ndarray, "n 16"] | None
    """None if they were not asked for."""
    bad: dict[int, str]
    """{position: reason} of the bad files."""

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """In bytes."""
        return self.stats[:, 0]


def measure_files(
    paths: Sequence[str],
    read_size: Callable[[BinaryFile], tuple[int, ...]],
    *,
    columns: int,
    cache: Path | None,
    num_threads: int,
    full: bool = False,
    storage: Storage = DISK,
) -> Measured:
    """Measure files, and say why some cannot be measured.

    Args:
        read_size: returns the size of one file, and perhaps more numbers; raises BadExampleError if it cannot.
        columns: how many numbers `read_size` returns.
        cache: folder that keeps what is measured; None: nothing is kept.
        full: whether all bytes of all files are read anew, so that a change is seen even where length and times are
            the same.
        storage: where the files lie.
    """
    stats, bad = _stats(paths, storage)
    kept = _load(paths, cache, columns=columns)
    is_known = (kept.stats == stats).all(1) & (kept.sizes[:, 0] > 0) & (not full)
    sizes, digests = (np.where(is_known[:, None], values, 0) for values in (kept.sizes, kept.digests))
    full_digests = np.zeros_like(digests) if full else None
    missing = [position for position in np.flatnonzero(~is_known).tolist() if position not in bad]
    num_new = 0
    for position, found in read_in_parallel(
        missing, lambda position: _read(storage, paths[position], read_size, full=full), num_threads=num_threads
    ):
        if isinstance(found, str):
            bad[position] = found
            continue
        num_new += 1
        sizes[position], digests[position] = found.size, np.frombuffer(found.digest, np.uint8)
        if full_digests is not None:
            full_digests[position] = np.frombuffer(found.full_digest, np.uint8)
    if cache is not None and num_new:
        keep_arrays(
            _cache_file(paths, cache),
            rules=np.array(RULES), names=_names(paths), stats=stats, sizes=sizes, digests=digests,
        )  # fmt: skip
    return Measured(sizes=sizes, stats=stats, digests=digests, full_digests=full_digests, bad=bad)


def same_contents(
    paths: Sequence[str], measured: Measured, *, num_threads: int, storage: Storage = DISK
) -> Int[np.ndarray, " n"]:
    """Return a number for each file that is the same for files of equal contents; -1 where no other file is equal.

    Large files whose digests are equal are read whole, unless their full digests are known.
    """
    if measured.full_digests is not None:
        return _groups(measured.full_digests)
    groups = _groups(measured.digests)
    doubtful = np.flatnonzero((groups >= 0) & (measured.lengths > READ_WHOLE)).tolist()
    if not doubtful:
        return groups
    digests = measured.digests.copy()
    for position, found in read_in_parallel(
        doubtful, lambda position: _full_digest(storage, paths[position]), num_threads=num_threads
    ):
        digests[position] = 0 if isinstance(found, str) else np.frombuffer(found, np.uint8)
    return _groups(digests)


def _groups(digests: UInt8[np.ndarray, "n 16"]) -> Int[np.ndarray, " n"]:
    whole = np.ascontiguousarray(digests).view(f"V{DIGEST_SIZE}")[:, 0]
    _, groups, counts = np.unique(whole, return_inverse=True, return_counts=True)
    return np.where((counts[groups] > 1) & digests.any(1), groups, -1)


def _stats(paths: Sequence[str], storage: Storage) -> tuple[Int[np.ndarray, "n 4"], dict[int, str]]:
    """Return the state of every file, and {position: reason} of the bad files."""
    stats, bad = np.zeros((len(paths), 4), np.int64), {}
    for position, path in enumerate(paths):
        try:
            stats[position] = storage.state(path)
        except BadExampleError as error:
            bad[position] = str(error)
        except OSError as error:
            bad[position] = error.strerror or str(error)
        else:
            if not stats[position, 0]:
                bad[position] = "the file is empty"
    return stats, bad


class _Found(NamedTuple):
    size: tuple[int, ...]
    digest: bytes
    full_digest: bytes
    """Empty if not asked for."""


def _read(storage: Storage, path: str, read_size: Callable[[BinaryFile], tuple[int, ...]], *, full: bool) -> _Found:
    with storage.open(path) as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        if length <= READ_WHOLE:
            content = file.read()
            digest = hashlib.blake2b(content, digest_size=DIGEST_SIZE).digest()
            return _Found(read_size(io.BytesIO(content)), digest, digest if full else b"")
        digest = _sampled_digest(file, length)
        file.seek(0)
        size = read_size(file)
    return _Found(size, digest, _full_digest(storage, path) if full else b"")


def _sampled_digest(file: BinaryFile, length: int) -> bytes:
    """Return the digest of a file's length and of blocks of it, the first and the last among them."""
    digest = hashlib.blake2b(length.to_bytes(8), digest_size=DIGEST_SIZE)
    for block in range(NUM_BLOCKS):
        file.seek((length - BLOCK) * block // (NUM_BLOCKS - 1))
        digest.update(file.read(BLOCK))
    return digest.digest()


def _full_digest(storage: Storage, path: str) -> bytes:
    with storage.open(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_SIZE)).digest()


def read_in_parallel(
    positions: Sequence[int], read: Callable[[int], T], *, num_threads: int
) -> Iterator[tuple[int, T | str]]:
    """Yield (position, what was read or the reason why not), and show a progress bar.

    Args:
        read: returns what is at a position, but no str; raises BadExampleError or OSError if it cannot.
    """

    def read_some(some: Sequence[int]) -> list[tuple[int, T | str]]:
        return [(position, _read_or_reason(position, read)) for position in some]

    chunks = [positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK)]
    with ThreadPoolExecutor(num_threads) as pool, Bar("measure", len(chunks)) as bar:
        for chunk in pool.map(read_some, chunks):
            yield from chunk
            bar.advance()
            bar.note(f"blocks of {CHUNK} examples")


def _read_or_reason(position: int, read: Callable[[int], T]) -> T | str:
    try:
        return reading_again(lambda: read(position))
    except BadExampleError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _cache_file(paths: Sequence[str], cache: Path) -> Path:
    """Return the cache file of the innermost folder that holds all the paths."""
    folders = {os.path.dirname(path) for path in paths}
    common = os.path.commonpath({os.path.abspath(folder) for folder in folders})
    return cache / "sizes" / f"{hashlib.sha256(os.fsencode(common)).hexdigest()[:24]}.npz"


def _names(paths: Sequence[str]) -> UInt8[np.ndarray, " bytes"]:
    """Return all paths in one array. NumPy's arrays of texts are four times as large, and hold no bytes."""
    return np.frombuffer(os.fsencode("\0".join(paths)), np.uint8)


class _Kept(NamedTuple):
    """What the cache knows of files; zeros where it knows nothing."""

    stats: Int[np.ndarray, "n 4"]
    sizes: Int[np.ndarray, "n columns"]
    digests: UInt8[np.ndarray, "n 16"]


def _load(paths: Sequence[str], cache: Path | None, *, columns: int) -> _Kept:
    num_paths = len(paths)
    nothing = _Kept(
        stats=np.zeros((num_paths, 4), np.int64),
        sizes=np.zeros((num_paths, columns), np.int64),
        digests=np.zeros((num_paths, DIGEST_SIZE), np.uint8),
    )
    arrays = load_arrays(_cache_file(paths, cache)) if cache is not None else None
    if arrays is None or arrays.keys() != {"rules", "names", *_Kept._fields} or arrays["rules"].tolist() != RULES:
        return nothing
    kept = _Kept(*(arrays[field] for field in _Kept._fields))
    names = os.fsdecode(arrays["names"].tobytes()).split("\0")
    # The same folder may have held signals, which have more numbers than images.
    if any(values.shape != (len(names), empty.shape[1]) for values, empty in zip(kept, nothing, strict=True)):
        return nothing
    if names == list(paths):
        return kept
    place_of = {name: place for place, name in enumerate(names)}
    places = np.array([place_of.get(path, -1) for path in paths])
    for empty, values in zip(nothing, kept, strict=True):
        empty[places >= 0] = values[places[places >= 0]]
    return nothing
