"""Files -> what a net says of each, in the order of the files, in bounded memory however many there are.

Threads read and decode some files ahead. What shares a canvas is batched: a full batch runs at once, another as soon
as its oldest file has let `WINDOW` others pass. Batches are computed while further files are read.
"""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from fcn_jax.config import UserError
from fcn_jax.core.block import filler_block
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.inference.classifier import DECIMALS, Answer, Classifier
from fcn_jax.inference.inputs import SIDES, Example, read_ahead
from fcn_jax.inference.programs import CanvasProgram, CanvasPrograms, TooLargeError
from fcn_jax.system.processes import gather

FORMATS = ("json", "csv")
MOST_LABELS = 5


@dataclass
class Outcome:
    """What became of a file: an answer, once its batch has run, or an error."""

    path: str
    size: tuple[int, ...] = ()
    """As it was decoded."""
    error: str = ""
    probabilities: list[float] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    ranking: list[int] = field(default_factory=list)
    """Classes, the most probable first."""

    @property
    def is_known(self) -> bool:
        return bool(self.error or self.logits)


@runtime_checkable
class TextFile(Protocol):
    """A file that text is written to."""

    def write(self, text: str, /) -> object: ...

    def writelines(self, lines: Iterable[str], /) -> object: ...

    def flush(self) -> object: ...


class JsonLines:
    """An object a file."""

    def __init__(self, out: TextFile, label_names: Sequence[str], *, rank: int):
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

    def __init__(self, out: TextFile, label_names: Sequence[str], *, rank: int):
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


def outcome_writer(form: str, out: TextFile, label_names: Sequence[str], *, rank: int) -> JsonLines | CsvTable:
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
        UserError: there is no such format.
    """
    if form not in FORMATS:
        raise UserError(f"--format={form} is none of: {', '.join(FORMATS)}")


WINDOW = 4096
MOST_RUNNING = 2
"""Batches beside the reading of further files."""


class _Batch:
    """Files that share a canvas, until there are enough of them."""

    def __init__(self, program: CanvasProgram[Answer], canvas: tuple[int, ...], channels: int):
        self._program, self._outcomes = program, []
        self._block = filler_block(program.rows, canvas, channels)

    @property
    def is_full(self) -> bool:
        return len(self._outcomes) == self._program.rows

    def begins_with(self, outcome: Outcome) -> bool:
        return self._outcomes[0] is outcome

    def add(self, outcome: Outcome, values: np.ndarray) -> None:
        row, size = len(self._outcomes), values.shape[:-1]
        self._block.image[(row, *(slice(side) for side in size))] = values
        self._block.size[row] = size
        self._outcomes.append(outcome)

    def run(self) -> None:
        """Begin to compute, which goes on beside what follows."""
        self._answer = self._program.run(self._block.image, self._block.size)

    def finish(self) -> None:
        """Let every outcome be known."""
        answer = jax.device_get(self._answer)
        probabilities, logits = (values.astype(np.float64).round(DECIMALS).tolist() for values in answer)
        rankings = np.argsort(-answer.logits, axis=1, kind="stable").tolist()
        for row, outcome in enumerate(self._outcomes):
            outcome.probabilities, outcome.logits = probabilities[row], logits[row]
            outcome.ranking = rankings[row]


class _Batches:
    """One for every canvas that files are waiting for, and those that are being computed."""

    def __init__(self, classifier: Classifier[Answer]):
        self._classifier, self._programs = classifier, CanvasPrograms(classifier)
        self._filling: dict[tuple[int, ...], _Batch] = {}
        self._running: deque[_Batch] = deque()

    def add(self, outcome: Outcome, example: Example) -> None:
        """Put a file into the batch of its canvas, and run it if it is full then."""
        canvas = self._classifier.ladder.canvas(example.values.shape[:-1])
        if canvas not in self._filling:
            try:
                program = self._programs[canvas]
            except TooLargeError as error:
                outcome.error = str(error)
                return
            self._filling[canvas] = _Batch(program, canvas, self._classifier.recipe.channels)
        self._filling[canvas].add(outcome, example.values)
        if self._filling[canvas].is_full:
            self._run(canvas)

    def answer(self, outcome: Outcome) -> None:
        """Let an outcome be known, full or not as its batch may be."""
        for canvas, batch in self._filling.items():
            if batch.begins_with(outcome):
                self._run(canvas)
                break
        while not outcome.is_known:
            self._running.popleft().finish()

    def _run(self, canvas: tuple[int, ...]) -> None:
        batch = self._filling.pop(canvas)
        batch.run()
        self._running.append(batch)
        if len(self._running) > MOST_RUNNING:
            self._running.popleft().finish()


def predict(classifier: Classifier[Answer], paths: Sequence[str]) -> Iterator[list[Outcome]]:
    """What a net says of files, in their order, as soon as it is known."""
    batches, waiting = _Batches(classifier), deque[Outcome]()
    for chunk in read_ahead(classifier.recipe, paths, num_threads=classifier.num_threads):
        for path, example in chunk:
            outcome = Outcome(path)
            waiting.append(outcome)
            if isinstance(example, BadExampleError):
                outcome.error = str(example)
            else:
                outcome.size = example.size
                batches.add(outcome, example)
        while len(waiting) >= WINDOW and not waiting[0].is_known:
            batches.answer(waiting[0])
        yield _known(waiting)
    while waiting:
        batches.answer(waiting[0])
        yield _known(waiting)


def _known(waiting: deque[Outcome]) -> list[Outcome]:
    """Take what is known from the front."""
    known = []
    while waiting and waiting[0].is_known:
        known.append(waiting.popleft())
    return known


SHARED_WINDOW = 1024
"""Files of a process between two exchanges."""


def predict_together(classifier: Classifier[Answer], paths: Sequence[str]) -> Iterator[list[Outcome]]:
    """What a net says of files, in their order, as soon as it is known; a process by itself exchanges nothing."""
    number, count = jax.process_index(), jax.process_count()
    if count == 1:
        yield from predict(classifier, paths)
        return
    windows = [paths[start : start + SHARED_WINDOW] for start in range(0, len(paths), SHARED_WINDOW)]
    own = list(chain.from_iterable(windows[number::count]))
    outcomes = chain.from_iterable(predict(classifier, own))
    for _ in range(0, len(windows), count):
        for found in gather([asdict(outcome) for outcome in islice(outcomes, SHARED_WINDOW)]):
            yield [Outcome(**{**outcome, "size": tuple(outcome["size"])}) for outcome in found]
