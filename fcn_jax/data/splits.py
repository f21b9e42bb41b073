"""The splits of a data set: their names in every usual spelling, their parts, and those that are taken out of train.

A split that is missing is taken out of train in whole groups. A hash of the seed and the group decides, so adding or
removing other files moves no example from one split to another. Labels have no say in it, be they one, several or
shares. So a split has about its share of every class by chance, and `describe_sources` names the classes that it lacks.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

from fcn_jax.config import DataConfig, UserError

SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing", "eval"),
}
"""{split: its spellings}, in lower case; case makes no difference."""
SPLITS = tuple(SPELLINGS)
TAKEN_OUT = "taken out of train"
"""The beginning of the origin of a split that is missing."""
CARVED_SHARE = 0.1
"""Share of train's groups that becomes validation, or test, if that split is missing."""


def split_named(name: str) -> str | None:
    """Return the split that a name means in any spelling: train, validation or test; None if it means none."""
    return next((split for split, spellings in SPELLINGS.items() if name.lower() in spellings), None)


def splits_named(name: str) -> tuple[str, ...] | None:
    """Return the splits that a name means, such as `validation` or `train+validation`; None if a part means none."""
    named = [split_named(part.strip()) for part in name.split("+")]
    return None if None in named else tuple(sorted({str(split) for split in named}, key=SPLITS.index))


def trained_on_too(data: DataConfig) -> dict[str, str]:
    """Return {split: what to say of it} of the splits for evaluation that training uses, as train+validation does.

    Splits that are given as parts, such as `train[:90%]`, are not compared.
    """
    trained = set(splits_named(data.train_split) or ())
    others = {"validation": data.validation_split, "test": data.test_split}
    return {
        name: f"the net is trained on {name} too, so what it does there says nothing of new examples"
        for name, split in others.items()
        if trained & set(splits_named(split) or ())
    }


def spelled_twice(names: Iterable[str]) -> tuple[str, list[str]] | None:
    """Return a split and the names that all mean it, if several do; None if no two names mean the same split."""
    meant: dict[str, list[str]] = {}
    for name in names:
        if split := split_named(name):
            meant.setdefault(split, []).append(name)
    return next(((split, found) for split, found in meant.items() if len(found) > 1), None)


def no_split(text: str) -> str:
    """Return what is said of a text that names no split."""
    return (
        f"split {text!r} is none of {', '.join(SPLITS)}, several of them such as train+validation, or a part such as "
        "train[:512]"
    )


def parse_part(text: str) -> tuple[str, slice]:
    """Return the name of a split and the part of its examples that a text means, such as `train[:512]`.

    Raises:
        UserError: the text has another form.
    """
    match = re.fullmatch(r"([^\[\]]+)(?:\[(\d*):(\d*)\])?", text)
    if not match:
        raise UserError(no_split(text))
    name, start, stop = match.groups()
    return name, slice(int(start or 0), int(stop) if stop else None)


def part_of(names: Sequence[bytes], part: slice) -> Int[np.ndarray, " n"]:
    """Return the positions of a part of some examples, ascending.

    Examples are sorted by class. Ordered by a hash of their names instead, a part holds examples of all classes.
    """
    digests = [hashlib.blake2b(name, digest_size=8).digest() for name in names]
    return np.sort(np.argsort(np.array(digests, "S8"), kind="stable")[part])


def carved(names: Sequence[str], missing: Sequence[str], *, seed: int, group_pattern: str) -> list[str]:
    """Return the split of every example of train: train, or one of the missing splits.

    Args:
        names: paths of the examples below the root of the data set.
        group_pattern: a regular expression; examples with the same match stay together.

    Raises:
        UserError: the pattern is no regular expression, or finds nothing in a name.
    """
    pattern = _compiled(group_pattern) if group_pattern else None
    splits = []
    for name in names:
        found = pattern.search(name) if pattern else None
        if pattern and not found:
            raise UserError(
                f"config.data.group_pattern={group_pattern} finds nothing in {name}: every path needs a group"
            )
        group = _group(found) if found else name
        if not group:
            raise UserError(f"config.data.group_pattern={group_pattern} finds an empty group in {name}: correct it")
        digest = hashlib.blake2b(f"{seed}:{group}".encode(errors="surrogateescape"), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64 / CARVED_SHARE
        splits.append(missing[int(place)] if place < len(missing) else "train")
    return splits


def groups_of(names: Iterable[str], group_pattern: str) -> Int[np.ndarray, " n"]:
    """Return a number for each name that is the same for names of one group; a name without a match is its own group.

    Raises:
        UserError: the pattern is no regular expression.
    """
    pattern = _compiled(group_pattern)
    numbers: dict[str, int] = {}
    groups = (_group(found) if (found := pattern.search(name)) else name for name in names)
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.int64)


def _compiled(group_pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(group_pattern)
    except re.error as error:
        raise UserError(
            f"config.data.group_pattern is {group_pattern!r}, which is no regular expression: {error}"
        ) from error


def _group(found: re.Match[str]) -> str:
    """Return what names the group: the first group of the pattern if it has any, else the whole match."""
    return found.group(1) if found.groups() else found.group()
