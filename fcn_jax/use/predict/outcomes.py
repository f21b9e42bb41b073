"""What a net says of files, written as JSON lines or as a CSV table."""

import csv
import json
from collections.abc import Sequence
from typing import IO, Any

from fcn_jax.use.inference.recipe import SIDES
from fcn_jax.use.predict.predict import Outcome

FORMATS = ("json", "csv")
MOST_LABELS = 5


class JsonLines:
    """An object a file."""

    def __init__(self, out: IO[str], label_names: Sequence[str], *, rank: int):
        self._out, self._label_names, self._rank = out, label_names, rank

    def write(self, outcomes: Sequence[Outcome]) -> None:
        self._out.writelines(json.dumps(self.row(outcome)) + "\n" for outcome in outcomes)
        self._out.flush()

    def row(self, outcome: Outcome) -> dict[str, Any]:
        if outcome.error:
            return {"path": outcome.path, "error": outcome.error}
        top = best_labels(outcome, self._label_names)
        return {
            "path": outcome.path,
            "label": top[0][0],
            "probability": top[0][1],
            "top5": [{"label": label, "probability": probability} for label, probability in top],
            "logits": outcome.logits,
            **dict(zip(SIDES[self._rank], outcome.size, strict=True)),
        }


class CsvTable:
    """A row a file: the best labels side by side, then a logit a column."""

    def __init__(self, out: IO[str], label_names: Sequence[str], *, rank: int):
        self._out, self._label_names, self._rank = out, label_names, rank
        self._table = csv.writer(out, lineterminator="\n")
        tops = ["label", "probability"]
        for place in range(2, min(MOST_LABELS, len(label_names)) + 1):
            tops += [f"label_{place}", f"probability_{place}"]
        self._columns = ["path", "error", *SIDES[rank], *tops, *(f"logit_{name}" for name in label_names)]
        self._table.writerow(self._columns)

    def write(self, outcomes: Sequence[Outcome]) -> None:
        self._table.writerows(self.row(outcome) for outcome in outcomes)
        self._out.flush()

    def row(self, outcome: Outcome) -> list[Any]:
        path = outcome.path.encode(errors="backslashreplace").decode()  # Its bytes may be no text.
        if outcome.error:
            return [path, outcome.error, *[""] * (len(self._columns) - 2)]
        top = [cell for best in best_labels(outcome, self._label_names) for cell in best]
        return [path, "", *outcome.size, *top, *outcome.logits]


def best_labels(outcome: Outcome, label_names: Sequence[str]) -> list[tuple[str, float]]:
    """(label, probability) of the most probable classes."""
    return [(label_names[label], outcome.probabilities[label]) for label in outcome.ranking[:MOST_LABELS]]


def outcome_writer(form: str, out: IO[str], label_names: Sequence[str], *, rank: int) -> JsonLines | CsvTable:
    """What writes outcomes in a format."""
    match form:
        case "json":
            return JsonLines(out, label_names, rank=rank)
        case "csv":
            return CsvTable(out, label_names, rank=rank)
        case _:
            raise AssertionError(form)


def check_format(form: str) -> None:
    """
    Raises:
        ValueError: there is no such format.
    """
    if form not in FORMATS:
        raise ValueError(f"--format={form} is none of: {', '.join(FORMATS)}")
