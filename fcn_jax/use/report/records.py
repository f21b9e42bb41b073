"""The records that a run writes into its workdir, as far as a report reads them.

Each is checked for the fields it needs and their types, further ones are ignored, so that a page is made of what is
there or says what is not. Losses may be NaN or infinite: that is worth reporting.
"""

import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fcn_jax.json_text import parse_json

Record = TypeVar("Record")


@dataclass(frozen=True)
class Reading:
    """A log step of training: means since the reading before."""

    step: int
    epoch: float
    loss: float
    accuracy: float
    images_per_second: float
    true_megapixels_per_second: float
    input_wait: float


@dataclass(frozen=True)
class Evaluation:
    """A whole split, evaluated after a step."""

    step: int
    loss: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class CompiledProgram:
    """A row of compile.json."""

    program: str
    blocks: str
    seconds: float
    peak_mib: float
    gflop: float

    def __post_init__(self):
        if not self.rows:
            raise ValueError(f"{self.program} has no blocks")

    @property
    def rows(self) -> dict[str, int]:
        """{canvas: rows} of its blocks."""
        pairs = (block.partition(" × ") for block in self.blocks.split("  "))
        return {canvas: int(rows) for rows, _, canvas in pairs}


@dataclass(frozen=True)
class Summary:
    """summary.json."""

    loss: float
    accuracy: float
    count: int
    images_per_second: float
    true_megapixels_per_second: float
    input_wait: float
    plan_fill: float
    filler_share: float
    fill: float
    train_seconds: float
    parameters: int
    compile_seconds: float
    versions: dict[str, str]
    device: str
    git_commit: str
    """Empty where it is not known."""


@dataclass(frozen=True)
class BadExample:
    """A line of bad_examples.jsonl."""

    split: str
    name: str
    reason: str


def record(kind: type[Record], values: Any, *, what: str) -> Record:
    """A record from parsed JSON.

    Args:
        what: it is, for the error.

    Raises:
        ValueError: it is no object, or the first field that is missing or of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{what} is no object")
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        if name not in values:
            raise ValueError(f"{what} has no {name}")
        value = values[name]
        accepted = (int, float) if hint is float else typing.get_origin(hint) or hint
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise ValueError(f"{what} has {value!r} as {name}")
        found[name] = value
    return kind(**found)


def read_programs(path: Path) -> list[CompiledProgram]:
    """compile.json."""
    rows = parse_json(path.read_text())
    if not isinstance(rows, list):
        raise ValueError("it is no list")
    return [record(CompiledProgram, row, what=f"row {number}") for number, row in enumerate(rows, start=1)]


def read_summary(path: Path) -> Summary:
    """summary.json."""
    values = parse_json(path.read_text())
    if isinstance(values, dict):
        values["git_commit"] = values.get("git_commit") or ""
    return record(Summary, values, what="it")
