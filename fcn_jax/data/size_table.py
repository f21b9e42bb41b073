"""A data set of which only the sizes are known: a CSV of height,width,count, or of length,count.

The sizes are enough to plan buckets and steps and to compile programs, before the data itself is at hand. Every split
is the same table.
"""

import csv
from pathlib import Path
from typing import NoReturn

import numpy as np
from jaxtyping import Int

from fcn_jax.config import UserError
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.source import Source

MOST_DIGITS = 100
MOST_SHOWN = 80
"""Most characters of a wrong line that a message shows."""
HEADERS = (["height", "width", "count"], ["length", "count"])
MOST_EXAMPLES = 100_000_000
"""Most examples of a table: each takes 12 bytes of memory."""


class SizeTable(Source):
    """A source that has only sizes: each row of the table stands for `count` examples of its size.

    Args:
        num_classes: number of classes that the examples would have.
        label_kind: what a label would be: see `DataConfig.labels`.

    Raises:
        UserError: the table cannot be read, or stands for more than MOST_EXAMPLES examples.
    """

    def __init__(self, path: Path, *, num_classes: int, label_kind: str = "one"):
        sizes, counts = read_size_table(path)
        if counts.sum() > MOST_EXAMPLES:
            raise UserError(
                f"{path} stands for {counts.sum():,} examples, but at most {MOST_EXAMPLES:,} can be planned: divide "
                "its counts by a common number"
            )
        self.sizes = np.repeat(sizes.astype(np.int32), counts, axis=0)
        self.labels = np.zeros(len(self.sizes), np.int32)
        self.label_kind = label_kind
        if label_kind != "one":
            self.labels = np.broadcast_to(np.zeros(num_classes, np.float32), (len(self.sizes), num_classes))
        self.label_names = tuple(map(str, range(num_classes)))
        self.bad: dict[str, str] = {}
        self.origin = f"every split is the table {path}"

    def __len__(self) -> int:
        return len(self.sizes)

    def read(self, index: int) -> NoReturn:
        raise BadExampleError("a table of sizes has nothing to read, so it is for plan and compile alone")

    def name(self, index: int) -> str:
        return f"#{index}"


def read_size_table(path: Path) -> tuple[Int[np.ndarray, "n r"], Int[np.ndarray, " n"]]:
    """Return the sizes and how often each occurs.

    Raises:
        UserError: the file cannot be read, or a line has the wrong form; the message shows the first such line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"the sizes in {path} cannot be read ({error})") from error
    if header not in HEADERS:
        raise UserError(
            f"{path} begins with {','.join(header)[:MOST_SHOWN]!r}, but it must begin with height,width,count"
        )
    numbers = []
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header) or not all(_is_count(cell.strip()) for cell in row):
            raise UserError(
                f"{path}, line {line} is {','.join(row)[:MOST_SHOWN]!r}, but it must be whole numbers above 0"
            )
        numbers.append([int(cell) for cell in row])
    if not numbers:
        raise UserError(f"{path} holds no sizes below its header")
    table = np.array(numbers, np.int64)
    return table[:, :-1], table[:, -1]


def _is_count(text: str) -> bool:
    """Return whether a text is a whole number from 1 to 2³¹ - 1."""
    return text.isdecimal() and len(text) < MOST_DIGITS and 0 < int(text) < 2**31
