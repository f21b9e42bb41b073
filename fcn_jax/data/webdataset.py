"""Tar shards of WebDataset as a data set: members of one name but for the suffix make a sample, KEY.jpg and KEY.cls.

A sample is one image or one signal, and its label: the text of KEY.cls, or of KEY.json the value of `cls`, `label` or
`class`. Shards are read in place, at random: the headers are read once, and what they say is kept in the cache.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from fcn_jax.config import DataConfig, MachineConfig, UserError
from fcn_jax.data.archives import Archive, Member, parts_of
from fcn_jax.data.files import HIDDEN, is_hidden, rank_by_suffix
from fcn_jax.data.listing import Listing, Row
from fcn_jax.data.shards import Shard, find_shards, shards_listing
from fcn_jax.data.storage import state_of
from fcn_jax.system.cache import cache_folder, keep_arrays, load_arrays
from fcn_jax.system.console import Bar
from fcn_jax.system.disk import reading
from fcn_jax.system.machine import threads_of

RULES = 2
"""Raise it when a shard is understood by another rule: what was kept by an older rule is not used."""
LABEL, FIELDS = "cls", ("cls", "label", "class")
MOST_LABEL_BYTES = 2**20
BLOCK = tarfile.BLOCKSIZE
PACKED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
"""{first bytes of what is compressed: what unpacks it}."""
NO_LABEL = "in a sample without a label (KEY.cls, or KEY.json with a field cls, label or class)"
SEVERAL = "in a sample of several images or signals"
NAMED_TWICE = "named as a member before it"
NO_DATA = "no image and no signal by their suffix"
ELSEWHERE = "a link or a sparse file, so its bytes are elsewhere"
CUT_OFF = "cut off or damaged: the members behind are missing"


def list_webdataset(
    place: str, data: DataConfig, machine: MachineConfig, *, seed: int, is_new: bool = False
) -> Listing:
    """List the samples of the shards in a folder, or of those that a pattern names.

    Args:
        data: `group_pattern` is used.
        is_new: True if a trained net is to be tried on the shards: see `make_listing`.

    Raises:
        UserError: there is no shard, one cannot be read, or `make_listing` raises it.
    """
    found = find_shards(place, (".tar",), kind="webdataset", is_new=is_new)
    cache = cache_folder(machine)
    rows, members, left_out = [], {}, dict(found.left_out)
    with ThreadPoolExecutor(threads_of(machine)) as pool, Bar("list shards", len(found.shards)) as bar:
        for shard, samples in zip(found.shards, pool.map(lambda s: _samples(s, cache), found.shards), strict=True):
            for sample in samples:
                path = os.path.join(shard.path, sample.name)
                if sample.reason:
                    left_out[path] = sample.reason
                    continue
                members[path] = Member(str(shard.path), sample.start, sample.length, sample.length)
                rank = rank_by_suffix(path)
                rows.append(Row(os.path.join(shard.name, sample.name), path, sample.label, shard.split, rank))
            bar.advance()
    if not rows:
        reason = next(iter(left_out.items()), (place, "it is empty"))
        raise UserError(f"webdataset:{place} has no sample with a label: {reason[0]} is {reason[1]}")
    return shards_listing(found, rows, data, seed=seed, left_out=left_out, is_new=is_new, storage=Archive(members))


class _Sample(NamedTuple):
    """A member that is an example, or another member and the reason why it is none."""

    name: str
    start: int
    length: int
    label: str
    reason: str = ""


def _samples(shard: Shard, cache: Path | None) -> list[_Sample]:
    """Return the samples of a shard: from the cache, if the shard is as it was."""
    with reading(shard.path):
        state = state_of(os.stat(shard.path))
    key = hashlib.sha256(repr((RULES, os.path.abspath(shard.path), state)).encode(errors="surrogateescape")).hexdigest()
    kept = None if cache is None else cache / "shards" / f"{key[:24]}.npz"
    stored = None if kept is None else load_arrays(kept)
    if stored is not None and stored.keys() == {"texts", "places"}:
        texts = json.loads(stored["texts"].tobytes())
        return [
            _Sample(name, *place, *rest) for (name, *rest), place in zip(texts, stored["places"].tolist(), strict=True)
        ]
    samples = list(_read_samples(shard.path))
    if kept is not None:
        texts = json.dumps([(each.name, each.label, each.reason) for each in samples]).encode()
        places = np.array([(each.start, each.length) for each in samples], np.int64).reshape(-1, 2)
        keep_arrays(kept, texts=np.frombuffer(texts, np.uint8), places=places)
    return samples


def _read_samples(shard: Path) -> Iterator[_Sample]:
    """Read the headers of a shard, and the labels.

    Raises:
        UserError: it cannot be read, is compressed or no tar archive, or has a member of a forbidden name.
    """
    keys: dict[str, dict[str, tarfile.TarInfo]] = {}
    with reading(shard), shard.open("rb") as file:
        head = file.read(BLOCK)
        if unpack := next((tool for start, tool in PACKED.items() if head.startswith(start)), None):
            raise UserError(f"{shard} is compressed, so nothing in it can be read at a place: run {unpack} on it")
        for name, info in _members(shard):
            if not name:
                yield _Sample("", 0, 0, "", CUT_OFF)
                continue
            folder, own = os.path.split(name)
            key, _, suffix = own.partition(".")
            sample = keys.setdefault(os.path.join(folder, key), {})
            if is_hidden(own):
                yield _Sample(name, 0, 0, "", HIDDEN)
            elif info is None:
                yield _Sample(name, 0, 0, "", ELSEWHERE)
            elif suffix in sample:
                yield _Sample(f"{name} (again)", 0, 0, "", NAMED_TWICE)
            else:
                sample[suffix] = info
        for key, sample in keys.items():
            label = next((text for text in (_label(file, sample, kind) for kind in (LABEL, "json")) if text), "")
            data = [suffix for suffix in sample if rank_by_suffix(f"{key}.{suffix}") is not None]
            reason = SEVERAL if len(data) > 1 else "" if label else NO_LABEL
            for suffix, info in sample.items():
                if suffix in data:
                    yield _Sample(f"{key}.{suffix}", info.offset_data, info.size, label, reason)
                elif suffix not in (LABEL, "json", "txt"):
                    yield _Sample(f"{key}.{suffix}", 0, 0, "", NO_DATA)


def _members(shard: Path) -> Iterator[tuple[str, tarfile.TarInfo | None]]:
    """Yield every member of a tar archive that is no folder: its name, and the header of its bytes.

    A hard link has the bytes of the member that it names; the header is None if they are elsewhere. At the end the name
    is empty if the archive is cut off or damaged.
    """
    placed: dict[str, tarfile.TarInfo] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            try:
                while (info := archive.next()) is not None:
                    if info.isdir():
                        continue
                    place = placed.get(info.linkname) if info.islnk() else info
                    if place is not None and (not place.isreg() or place.issparse()):
                        place = None
                    if place is not None:
                        placed[info.name] = place
                    yield os.path.join(*parts_of(shard, info.name)), place
                is_whole = _ends_at(shard, archive.offset)
            except tarfile.TarError:
                is_whole = False
            if not is_whole:
                yield "", None
    except tarfile.TarError as error:
        raise UserError(f"{shard} is no tar archive that can be read ({error}): write it again") from error


def _ends_at(shard: Path, place: int) -> bool:
    """Return whether a tar archive ends at a place, as it should: with a block of zeros."""
    with shard.open("rb") as file:
        file.seek(place)
        return file.read(BLOCK) == bytes(BLOCK)


def _label(file: BinaryIO, sample: dict[str, tarfile.TarInfo], kind: str) -> str:
    """Return the label that a member of a sample gives; empty if it gives none."""
    info = sample.get(kind)
    if info is None or info.size > MOST_LABEL_BYTES:
        return ""
    file.seek(info.offset_data)
    content = file.read(info.size)
    try:
        text = content.decode()
        if kind == LABEL:
            return text.strip()
        values = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    found = next((values[field] for field in FIELDS if field in values), "") if isinstance(values, dict) else ""
    return str(found).strip() if isinstance(found, (int, str)) and not isinstance(found, bool) else ""
