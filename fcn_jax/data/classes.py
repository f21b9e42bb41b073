"""The classes of a data set and of a net: their order, and the matching of one to the other by name."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

MOST_NAMES = 5
"""Most class names that a message shows."""


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names in order: by number if all are whole numbers, else as text.

    So a net with published weights has class 2 before class 10.
    """
    distinct = set(names)
    # Python reads at most 4,300 digits as a number.
    if all(re.fullmatch(r"-?[0-9]{1,4000}", name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def first_names(names: Sequence[str]) -> str:
    """Return the first few names as text."""
    return ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")


def places_of(names: Sequence[str], known: Sequence[str]) -> Int[np.ndarray, " k"]:
    """Return the place of each name among the known names; -1 for an unknown name."""
    place = {name: number for number, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in names], np.int64)


def compare_classes(found: Sequence[str], known: Sequence[str]) -> str:
    """Say which classes of some data a net does not know, and which of its classes the data lacks; empty if neither."""
    extra = [name for name in found if name not in set(known)]
    missing = [name for name in known if name not in set(found)]
    parts = []
    if extra:
        parts.append(f"the net does not know {_counted(extra)} of the data ({first_names(extra)})")
    if missing:
        parts.append(f"the data lacks {_counted(missing)} of the net ({first_names(missing)})")
    return "; ".join(parts)


def _counted(names: Sequence[str]) -> str:
    return "1 class" if len(names) == 1 else f"{len(names):,} classes"
