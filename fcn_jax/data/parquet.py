"""Parquet files that hold encoded images or sounds, in the layout of Hugging Face's data sets.

A file has a column of examples, struct{bytes, path} or bytes, and a column of labels. Parquet cannot be read at random
places. So the bytes of the examples are copied once, as they are, into a file in the cache, which is read in place.
"""

import atexit
import contextlib
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int

from fcn_jax.config import DataConfig, MachineConfig, UserError
from fcn_jax.data.archives import Archive, Member
from fcn_jax.data.files import NO_FORMAT, rank_of
from fcn_jax.data.listing import Listing, Row
from fcn_jax.data.shards import find_shards, shards_listing
from fcn_jax.data.storage import state_of
from fcn_jax.system.cache import cache_folder, keep_arrays, load_arrays
from fcn_jax.system.console import Bar, say
from fcn_jax.system.disk import reading, writing

if TYPE_CHECKING:
    from pyarrow import parquet

RULES = 2
"""Raise it when a file is understood by another rule: what was copied by an older rule is not used."""
ROWS = 256
"""Rows that are read at once."""
NO_LABEL, NO_BYTES = "without a label", "without bytes: only their path is stored"


def list_parquet(place: str, data: DataConfig, machine: MachineConfig, *, seed: int, is_new: bool = False) -> Listing:
    """List the rows of the Parquet files in a folder, or of those that a pattern names.

    Args:
        data: `group_pattern` is used.
        machine: `cache_dir` holds the copies; if it is empty, a temporary folder does.
        is_new: True if a trained net is to be tried on the data: see `make_listing`.

    Raises:
        UserError: there is no such file, one cannot be read or has other columns, or `make_listing` raises it.
    """
    found = find_shards(place, (".parquet",), kind="parquet", is_new=is_new)
    cache = cache_folder(machine)
    folder = _temporary_folder() if cache is None else cache / "parquet"
    members, texts = {}, []
    with Bar("copy Parquet", len(found.shards)) as bar:
        for shard in found.shards:
            copy = _copied(shard.path, folder)
            for row, (name, label) in enumerate(copy.texts):
                path = os.path.join(shard.path, name)
                start, length = copy.places[row].tolist()
                members[path] = Member(str(copy.path), start, length, length)
                texts.append((shard, name, path, label))
            bar.advance()
    storage, rows, left_out = Archive(members), [], dict(found.left_out)
    for shard, name, path, label in texts:
        has_bytes = members[path].length > 0
        rank = rank_of(path, storage.read_head) if has_bytes else None
        if rank is None or label is None:
            left_out[path] = NO_LABEL if label is None else NO_FORMAT if has_bytes else NO_BYTES
        else:
            rows.append(Row(os.path.join(shard.name, name), path, label, shard.split, rank))
    if not rows:
        reason = next(iter(left_out.items()), (place, "it is empty"))
        raise UserError(f"parquet:{place} has no row with an example and a label: {reason[0]} is {reason[1]}")
    return shards_listing(found, rows, data, seed=seed, left_out=left_out, is_new=is_new, storage=storage)


def _temporary_folder() -> Path:
    """Make a folder that is removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="fcn_jax_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class _Copy(NamedTuple):
    """The examples of a Parquet file, one after the other in a file."""

    path: Path
    texts: list[tuple[str, str | None]]
    """Name and label of every row."""
    places: Int[np.ndarray, "n 2"]
    """Where the bytes of every row begin, and their number."""


def _copied(file: Path, folder: Path) -> _Copy:
    """Return the copy of a Parquet file; make it if it is not there, or if the file changed."""
    with reading(file):
        state = state_of(os.stat(file))
    key = hashlib.sha256(repr((RULES, os.path.abspath(file), state)).encode(errors="surrogateescape")).hexdigest()[:24]
    path, index = folder / f"{key}.bytes", folder / f"{key}.npz"
    stored = load_arrays(index)
    if stored is not None and stored.keys() == {"texts", "places"} and path.is_file():
        copy = _Copy(path, json.loads(stored["texts"].tobytes()), stored["places"])
        if path.stat().st_size == copy.places[:, 1].sum():
            return copy
        path.unlink(missing_ok=True)
    copy = _copy(file, path)
    texts = np.frombuffer(json.dumps(copy.texts).encode(), np.uint8)
    keep_arrays(index, texts=texts, places=copy.places)
    return copy


def _copy(file: Path, path: Path) -> _Copy:
    """Copy the examples of a Parquet file.

    Raises:
        UserError: it cannot be read, or the copy cannot be written.
    """
    texts, lengths = [], []
    temporary = path.with_name(f".{secrets.token_hex(8)}.new")
    with reading(file):
        rows = _rows(file)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as out:
                    for name, label, content in rows:
                        out.write(content)
                        texts.append((name, label))
                        lengths.append(len(content))
                with contextlib.suppress(FileExistsError):  # Another process was faster, and may read it already.
                    os.link(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
    ends = np.cumsum(lengths, dtype=np.int64)
    say(f"{file}: {len(texts):,} rows copied to {path} ({sum(lengths) / 2**20:,.1f} MiB)")
    return _Copy(path, texts, np.stack([ends - lengths, np.array(lengths, np.int64)], axis=1).reshape(-1, 2))


def _rows(file: Path) -> Iterator[tuple[str, str | None, bytes]]:
    """Yield (name, label, bytes) of every row."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as opened:
            columns = _Columns.of(file, opened)
            number = 0
            for batch in opened.iter_batches(ROWS, columns=[columns.example, columns.label]):
                examples, labels = (batch.column(name).to_pylist() for name in (columns.example, columns.label))
                for example, label in zip(examples, labels, strict=True):
                    fields = (example or {}) if columns.is_struct else {"bytes": example}
                    content, path = fields.get("bytes"), fields.get("path")
                    own = os.path.basename(path or "").replace("\0", "")
                    yield f"{number:07d}{f'-{own}' if own else ''}", columns.text(label), content or b""
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(f"{file} cannot be read as Parquet: {' '.join(str(error).split())}") from error


class _Columns(NamedTuple):
    """The columns of a Parquet file that are used."""

    example: str
    label: str
    is_struct: bool
    """Whether an example is struct{bytes, path}."""
    class_names: tuple[str, ...]
    """The names of whole-number labels; (): the numbers are the names."""

    @classmethod
    def of(cls, file: Path, opened: "parquet.ParquetFile") -> "_Columns":
        """Find the columns: by their names or, if only one has the type, by their types.

        Raises:
            UserError: there is no such column, or there are several.
        """
        schema = opened.schema_arrow
        kinds = {name: schema.field(name).type for name in dict.fromkeys(schema.names) if schema.names.count(name) == 1}
        features = _features(schema.metadata or {})
        named = {name for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
        examples = [name for name, kind in kinds.items() if _is_bytes(kind) or _is_struct(kind)]
        labels = [name for name, kind in kinds.items() if _is_label(kind)]
        example = _chosen(examples, ("image", "img", "audio"))
        label = _chosen([name for name in labels if name in named] or labels, ("label", "labels"))
        if example is None or label is None:
            told = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
            raise UserError(
                f"{file} has the columns {told[:400]}, but it needs one of encoded images (struct<bytes, path>, or "
                "binary) and one of labels (whole numbers or text): name them image and label"
            )
        names = features.get(label, {}).get("names") or ()
        return cls(example, label, _is_struct(kinds[example]), tuple(map(str, names)))

    def text(self, label: Any) -> str | None:
        """Return the name of a class; None if a row has none, which Hugging Face writes as -1."""
        if label is None or label in ("", -1):
            return None
        if self.class_names and isinstance(label, int):
            return self.class_names[label] if 0 <= label < len(self.class_names) else None
        return str(label)


def _chosen(names: list[str], first: tuple[str, ...]) -> str | None:
    """Return the only name, or the first of some that are preferred; None if that leaves several or none."""
    return names[0] if len(names) == 1 else next((name for name in first if name in names), None)


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind)


def _is_struct(kind: Any) -> bool:
    from pyarrow import types

    return types.is_struct(kind) and any(field.name == "bytes" and _is_bytes(field.type) for field in kind)


def _is_label(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind)


def _features(metadata: dict[bytes, bytes]) -> dict[str, dict]:
    """Return {column: feature} as Hugging Face's library keeps them; nothing if there are none, or they are damaged."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
