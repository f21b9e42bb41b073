"""The shards of a data set, files that hold many examples each, and the split that each belongs to.

A shard belongs to the split that the folder directly in DIR names, or else a word of its own name, such as
`train-00000-of-00004.parquet` and `imagenet-val-000003.tar`. If no shard names one, all are train.
"""

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fcn_jax.config import DataConfig, UserError
from fcn_jax.data.classes import first_names
from fcn_jax.data.files import FoundFile, walk
from fcn_jax.data.listing import Listing, Row, make_listing
from fcn_jax.data.splits import SPLITS, spelled_twice, split_named
from fcn_jax.data.storage import Storage
from fcn_jax.system.disk import expanded

BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST_OF_A_PATTERN = 1_000_000
"""Most names that the braces of a pattern may stand for."""


class Shard(NamedTuple):
    path: Path
    name: str
    """Its path below the root of the data set."""
    split: str


class Shards(NamedTuple):
    """The shards of a data set, sorted by name."""

    root: Path
    """The folder below which all of them lie."""
    shards: tuple[Shard, ...]
    origins: dict[str, str]
    """{split: where its examples come from}."""
    left_out: dict[str, str]
    """{path: reason} of the other files in the folder."""


def find_shards(place: str, suffixes: Sequence[str], *, kind: str, is_new: bool = False) -> Shards:
    """Find the shards in a folder, at any depth, or those that a pattern names.

    Args:
        place: a folder, a file, or a pattern such as `DIR/train-{000..146}.tar` or `DIR/*.tar`.
        suffixes: what the names of shards end with, in lower case.
        kind: the kind of the data set, for messages.
        is_new: True if a trained net is to be tried on the data, which then needs no train split.

    Raises:
        UserError: there is no shard, some name a split and others none, or one names two.
    """
    root = expanded(place)
    left_out: dict[str, str] = {}
    if root.is_dir():
        paths = []
        for file in walk(root):
            path = root.joinpath(*file.parts)
            if _is_shard(file, suffixes):
                paths.append(path)
            else:
                left_out[str(path)] = file.reason or f"no {suffixes[0]} file"
    else:
        paths = _matching(str(root))
        root = Path(os.path.commonpath([path.parent for path in paths])) if paths else root
    if not paths:
        raise UserError(
            f"{kind}:{place}: no {suffixes[0]} file lies there: give the folder that holds them, or a pattern"
        )
    names = [os.path.relpath(path, root) for path in sorted(paths)]
    splits = _splits(names, kind=kind, place=place)
    if "train" not in splits and not is_new:
        raise UserError(
            f"{kind}:{place} has shards of {', '.join(sorted(set(splits)))} but none of train: give the folder that "
            "holds them all, or name the shards of train so"
        )
    origins = {split: f"{splits.count(split):,} shards of {split} in {root}" for split in SPLITS if split in splits}
    shards = (Shard(root / name, name, split) for name, split in zip(names, splits, strict=True))
    return Shards(root, tuple(shards), origins, left_out)


def _is_shard(file: FoundFile, suffixes: Sequence[str]) -> bool:
    return not file.reason and file.parts[-1].lower().endswith(tuple(suffixes))


def _matching(pattern: str) -> list[Path]:
    """Return the files that a pattern names; a name of braces that is not there is an error.

    Raises:
        UserError: it is not there, or the braces stand for too many names.
    """
    paths = []
    for name in _without_braces(pattern):
        found = [path for path in glob.glob(name, recursive=True) if os.path.isfile(path)]
        if not found and name != pattern:
            raise UserError(f"{name} is named by the pattern {pattern}, but it is not there: correct the pattern")
        paths += found
    return list(dict.fromkeys(map(Path, paths)))


def _without_braces(pattern: str) -> list[str]:
    """Return the patterns that one with braces stands for: `{000..146}` for numbers, `{a,b}` for words."""
    patterns = [pattern]
    while any(map(BRACES.search, patterns)):
        patterns = [each for one in patterns for each in _first_brace_out(one)]
        if len(patterns) > MOST_OF_A_PATTERN:
            raise UserError(f"{pattern} stands for more than {MOST_OF_A_PATTERN:,} files: use * in place of braces")
    return patterns


def _first_brace_out(pattern: str) -> Iterable[str]:
    found = BRACES.search(pattern)
    if found is None:
        return [pattern]
    words = found[1].split(",")
    if numbers := RANGE.fullmatch(found[1]):
        first, last = numbers.groups()
        last_of_all = min(int(last), int(first) + MOST_OF_A_PATTERN)
        words = [str(number).zfill(len(first)) for number in range(int(first), last_of_all + 1)]
    return [pattern[: found.start()] + word + pattern[found.end() :] for word in words]


def _splits(names: Sequence[str], *, kind: str, place: str) -> list[str]:
    """Return the split of each shard."""
    words = [_split_words(name) for name in names]
    with_split = [name for name, found in zip(names, words, strict=True) if found]
    if not with_split:
        return ["train"] * len(names)
    for name, found in zip(names, words, strict=True):
        if len(set(map(split_named, found))) != 1:
            what = f"two splits ({', '.join(found)})" if found else f"no split, but others do ({with_split[0]})"
            raise UserError(
                f"{kind}:{place}: the shard {name} names {what}: put the shards into folders train, validation and "
                "test, or give a pattern"
            )
    if twice := spelled_twice(dict.fromkeys(word.lower() for found in words for word in found)):
        split, spellings = twice
        raise UserError(
            f"{kind}:{place}: shards name {split} in {len(spellings)} ways ({first_names(spellings)}): give a pattern "
            "that chooses one of them"
        )
    return [str(split_named(found[0])) for found in words]


def _split_words(name: str) -> list[str]:
    """Return the words that name a split: the folders above a shard, or else words of its own name."""
    *folders, own = name.split(os.sep)
    return [folder for folder in folders if split_named(folder)] or [
        word for word in re.split(r"[^A-Za-z]+", own) if split_named(word)
    ]


def shards_listing(
    found: Shards,
    rows: Sequence[Row],
    data: DataConfig,
    *,
    seed: int,
    left_out: Mapping[str, str],
    is_new: bool,
    storage: Storage,
) -> Listing:
    """Return the listing of the examples of some shards, with the splits that these name.

    Raises:
        UserError: `make_listing` raises it.
    """
    return make_listing(
        rows,
        root=str(found.root),
        origins=found.origins,
        seed=seed,
        group_pattern=data.group_pattern,
        left_out=left_out,
        is_new=is_new,
        storage=storage,
    )
