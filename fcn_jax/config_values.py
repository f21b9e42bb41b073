"""The values of a config's fields: their defaults, bounds and choices, and the error for one that breaks a rule."""

import math
from dataclasses import field
from typing import Any, TypeVar

Value = TypeVar("Value")


class UserError(ValueError):
    """An error that the user can correct; the message says what was found, which rule it breaks and what to do.

    The command line prints the message as one line and exits with code 2. Every other exception is a bug of this code:
    it ends with a traceback and exit code 1.
    """


def bounded(default: Value, low: int | float, high: int | float = math.inf) -> Value:
    """Make a field with a default and bounds; in a tuple, every number keeps the bounds."""
    made: Any = field(default=default, metadata={"bounds": (low, high)})
    return made


def chosen(*choices: Value) -> Value:
    """Make a field that takes one of a few words; the first is its default."""
    made: Any = field(default=choices[0], metadata={"choices": choices})
    return made


def check_length(path: str, value: tuple, number: int) -> None:
    """Check that there is one value for all, or one for each of `number` things."""
    if len(value) not in (1, number):
        raise UserError(f"{path} has {len(value)} values, but it must have 1 or {number}")
