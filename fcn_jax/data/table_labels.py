"""The label cells of a table that hold more than one class: several classes, or a share of each.

Several classes stand as `cat;dog` or `cat|dog`, one mark in the whole column; an empty cell says that the example has
none of the classes. Shares stand as `cat:0.7;dog:0.3` and add up to 1; a class alone has all of it.
"""

import math
from collections.abc import Callable, Sequence

from fcn_jax.config import UserError

MARKS = (";", "|")
"""What may stand between the classes of a cell."""
ROUNDING = 1e-3
"""How far the sum of shares may be from 1; they are divided by it."""
LARGEST_WEIGHT = 1e38
"""About the largest that float32 holds."""
Shares = tuple[tuple[str, float], ...]
"""The classes of an example, each with its target."""


def parse_labels(cells: Sequence[str], kind: str, *, where: Callable[[int], str]) -> list[Shares]:
    """Return the classes of every cell, each with its target: 1, or a share.

    Args:
        kind: `several` or `shares`.
        where: function that says in words where the cell of a number is.

    Raises:
        UserError: a cell has another form; the message names the first one.
    """
    mark = _mark(cells, where)
    parse = _several if kind == "several" else _shares
    found = []
    for number, cell in enumerate(cells):
        parts = [part.strip() for part in cell.split(mark)] if cell.strip() else []
        try:
            found.append(parse(parts))
        except ValueError as error:
            raise UserError(f"{where(number)}: label is {cell!r}, {error}") from error
    return found


def _mark(cells: Sequence[str], where: Callable[[int], str]) -> str:
    """Return the mark between the classes of all cells."""
    places = {mark: next((n for n, cell in enumerate(cells) if mark in cell), None) for mark in MARKS}
    found = {mark: place for mark, place in places.items() if place is not None}
    if len(found) > 1:
        said = " and ".join(f"{mark} ({where(place)})" for mark, place in found.items())
        raise UserError(
            f"the labels of a table are separated by ; or by |, but this one has both: {said}; use one of them"
        )
    return next(iter(found), MARKS[0])


def _several(parts: Sequence[str]) -> Shares:
    _check_names(parts)
    return tuple((name, 1.0) for name in parts)


def _shares(parts: Sequence[str]) -> Shares:
    if not parts:
        raise ValueError("but shares must add up to 1: write a class such as cat, or shares such as cat:0.7;dog:0.3")
    if len(parts) == 1 and ":" not in parts[0]:
        return ((parts[0], 1.0),)
    pairs = [(name.strip(), _share(text)) for name, _, text in (part.rpartition(":") for part in parts)]
    _check_names([name for name, _ in pairs])
    total = math.fsum(share for _, share in pairs)
    if not abs(total - 1) <= ROUNDING + 1e-9:
        raise ValueError(f"whose shares add up to {total:g}, but they must add up to 1")
    return tuple((name, share / total) for name, share in pairs)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ValueError(f"where {text.strip()!r} is no share from 0 to 1: write shares such as cat:0.7;dog:0.3")
    return share


def _check_names(names: Sequence[str]) -> None:
    if not all(names):
        raise ValueError("where a class has no name: remove the mark or the colon before which nothing stands")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"which names {twice} {names.count(twice)} times: name it once")


def parse_weight(cell: str, where: str) -> float:
    """Return the weight of an example in the loss.

    Raises:
        UserError: it is no number of 0 or more.
    """
    try:
        weight = float(cell)
    except ValueError:
        weight = math.nan
    if not 0 <= weight <= LARGEST_WEIGHT:
        raise UserError(
            f"{where}: weight is {cell!r}, but it must be a number of 0 or more, and at most {LARGEST_WEIGHT:.0e}; it "
            "weighs the example's loss"
        )
    return weight
