"""Prediction of files: an outcome for each, in the order of the files. Memory is bounded for any number of files.

Threads read and decode some files ahead. Files with the same canvas form a batch. A full batch runs at once; a partial
batch runs when its first file has waited for `WINDOW` other files. Batches are computed while further files are read.
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
from jaxtyping import Float

from fcn_jax.config import UserError
from fcn_jax.core.block import filler_block
from fcn_jax.core.losses import probabilities_of
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.inference.averaging import averaged
from fcn_jax.inference.classifier import DECIMALS, NOT_FINITE, Answer, Classifier
from fcn_jax.inference.inputs import SIDES, Example, Recipe, read_ahead
from fcn_jax.inference.programs import CanvasProgram, CanvasPrograms, TooLargeError
from fcn_jax.system.console import as_line
from fcn_jax.system.processes import gather

FORMATS = ("json", "csv")
MOST_LABELS = 5


@dataclass
class Outcome:
    """The result for a file: an error, or an answer once its batch has run."""

    path: str
    size: tuple[int, ...] = ()
    """Size of the file as decoded."""
    error: str = ""
    probabilities: list[float] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    ranking: list[int] = field(default_factory=list)
    """All classes, the most probable first."""

    @property
    def is_known(self) -> bool:
        return bool(self.error or self.logits)

    def fill(self, probabilities: list[float], logits: list[float], ranking: list[int]) -> None:
        self.probabilities, self.logits, self.ranking = probabilities, logits, ranking


@runtime_checkable
class TextFile(Protocol):
    """A file to which text is written."""

    def write(self, text: str, /) -> object: ...

    def writelines(self, lines: Iterable[str], /) -> object: ...

    def flush(self) -> object: ...


class JsonLines:
    """Writer of JSON lines: one object for each file."""

    def __init__(self, out: TextFile, label_names: Sequence[str], *, rank: int, labels: str = "one"):
        self._out, self._label_names, self._rank, self._labels = out, label_names, rank, labels

    def write(self, outcomes: Sequence[Outcome]) -> None:
        self._out.writelines(json.dumps(self.row(outcome)) + "\n" for outcome in outcomes)
        self._out.flush()

    def row(self, outcome: Outcome) -> dict[str, Any]:
        if outcome.error:
            return {"path": outcome.path, "error": outcome.error}
        top = best_labels(outcome, self._label_names)
        if self._labels == "several":
            said: dict[str, Any] = {"labels": _as_objects(found_labels(outcome, self._label_names))}
        else:
            said = {"label": top[0][0], "probability": top[0][1]}
        return {
            "path": outcome.path,
            **said,
            "top5": _as_objects(top),
            "logits": outcome.logits,
            **dict(zip(SIDES[self._rank], outcome.size, strict=True)),
        }


def _as_objects(labels: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"label": label, "probability": probability} for label, probability in labels]


class CsvTable:
    """Writer of a CSV table: one row for each file, with the best labels and then a column for each logit.

    Where a file may have several labels, the column `labels` holds those that it has, as in `cat;dog`.
    """

    def __init__(self, out: TextFile, label_names: Sequence[str], *, rank: int, labels: str = "one"):
        self._out, self._label_names, self._rank, self._labels = out, label_names, rank, labels
        self._table = csv.writer(out, lineterminator="\n")
        tops = [*["labels"] * (labels == "several"), "label", "probability"]
        for place in range(2, min(MOST_LABELS, len(label_names)) + 1):
            tops += [f"label_{place}", f"probability_{place}"]
        self._columns = ["path", "error", *SIDES[rank], *tops, *(f"logit_{as_line(name)}" for name in label_names)]
        self._table.writerow(self._columns)

    def write(self, outcomes: Sequence[Outcome]) -> None:
        self._table.writerows(self.row(outcome) for outcome in outcomes)
        self._out.flush()

    def row(self, outcome: Outcome) -> list[Any]:
        path = as_line(outcome.path)
        if outcome.error:
            return [path, as_line(outcome.error), *[""] * (len(self._columns) - 2)]
        top = [
            cell
            for label, probability in best_labels(outcome, self._label_names)
            for cell in (as_line(label), probability)
        ]
        found = ";".join(as_line(label) for label, _ in found_labels(outcome, self._label_names))
        return [path, "", *outcome.size, *[found] * (self._labels == "several"), *top, *outcome.logits]


def best_labels(outcome: Outcome, label_names: Sequence[str]) -> list[tuple[str, float]]:
    """Return (label, probability) of the most probable classes."""
    return [(label_names[label], outcome.probabilities[label]) for label in outcome.ranking[:MOST_LABELS]]


def found_labels(outcome: Outcome, label_names: Sequence[str]) -> list[tuple[str, float]]:
    """Return (label, probability) of the classes with a probability above 0.5, the most probable first."""
    found = [label for label in outcome.ranking if outcome.probabilities[label] > 0.5]
    return [(label_names[label], outcome.probabilities[label]) for label in found]


def outcome_writer(
    form: str, out: TextFile, label_names: Sequence[str], *, rank: int, labels: str = "one"
) -> JsonLines | CsvTable:
    """Return a writer of outcomes in a format.

    Args:
        labels: what the net's labels are: see `DataConfig.labels`.
    """
    match form:
        case "json":
            return JsonLines(out, label_names, rank=rank, labels=labels)
        case "csv":
            return CsvTable(out, label_names, rank=rank, labels=labels)
        case _:
            raise AssertionError(form)


def check_format(form: str) -> None:
    """Check that a format exists.

    Raises:
        UserError: there is no such format.
    """
    if form not in FORMATS:
        raise UserError(f"--format={form} is none of: {', '.join(FORMATS)}")


WINDOW = 4096
"""Files that may wait for an outcome before a partial batch runs."""
MOST_RUNNING = 2
"""Most batches that are computed while further files are read."""


class _Views:
    """The answers to several views of a file; the last of them makes the outcome."""

    def __init__(self, outcome: Outcome, number: int, classifier: Classifier[Answer]):
        self.outcome, self.number, self._classifier = outcome, number, classifier
        self._logits: list[np.ndarray | None] = [None] * number

    def add(self, number: int, logits: np.ndarray) -> None:
        """Take the logits of a view."""
        self._logits[number] = logits
        known = [each for each in self._logits if each is not None]
        if len(known) == len(self._logits):
            labels, temperature = self._classifier.labels, self._classifier.temperature
            mean = averaged(known, labels)
            self.outcome.fill(*_as_lists(np.asarray(probabilities_of(mean / np.float32(temperature), labels)), mean))


def _as_lists(probabilities: Float[np.ndarray, "*n k"], logits: Float[np.ndarray, "*n k"]) -> tuple[list, list, list]:
    """Return probabilities, logits and the ranking of the classes, of one example or of a batch."""
    rounded = (values.astype(np.float64).round(DECIMALS).tolist() for values in (probabilities, logits))
    return *rounded, np.argsort(-logits, axis=-1, kind="stable").tolist()


class _Batch:
    """Views of files with the same canvas, collected until the batch is full."""

    def __init__(self, program: CanvasProgram[Answer], canvas: tuple[int, ...], recipe: Recipe):
        self._program = program
        self._views: list[tuple[_Views, int]] = []
        self._block = filler_block(program.rows, canvas, recipe.channels, recipe.value_type)

    @property
    def is_full(self) -> bool:
        return len(self._views) == self._program.rows

    def begins_with(self, outcome: Outcome) -> bool:
        return self._views[0][0].outcome is outcome

    def add(self, views: _Views, number: int, values: np.ndarray) -> None:
        row, size = len(self._views), values.shape[:-1]
        self._block.image[(row, *(slice(side) for side in size))] = values
        self._block.size[row] = size
        self._views.append((views, number))

    def run(self) -> None:
        """Start the computation; it continues in the background."""
        self._answer = self._program.run(self._block.image, self._block.size)

    def finish(self) -> None:
        """Wait for the computation and fill in the outcomes."""
        answer = jax.device_get(self._answer)
        rows = zip(*_as_lists(*answer), strict=True)
        for (views, number), row, logits in zip(self._views, rows, answer.logits, strict=False):
            if not np.isfinite(logits).all():
                views.outcome.error = NOT_FINITE
            elif views.number == 1:
                views.outcome.fill(*row)
            else:
                views.add(number, logits)


class _Batches:
    """The batches that wait for more files, one for each canvas, and the batches that are being computed."""

    def __init__(self, classifier: Classifier[Answer]):
        self._classifier, self._programs = classifier, CanvasPrograms(classifier)
        self._filling: dict[tuple[int, ...], _Batch] = {}
        self._running: deque[_Batch] = deque()

    def add(self, outcome: Outcome, example: Example) -> None:
        """Put every view of a file into the batch of its canvas; run a batch if it is full."""
        classifier = self._classifier
        canvases = [classifier.ladder.canvas(view.shape[:-1]) for view in example.views]
        try:
            programs = [self._programs[canvas] for canvas in canvases]
        except TooLargeError as error:
            outcome.error = str(error)
            return
        views = _Views(outcome, len(canvases), classifier)
        for number, (canvas, program) in enumerate(zip(canvases, programs, strict=True)):
            if canvas not in self._filling:
                self._filling[canvas] = _Batch(program, canvas, classifier.recipe)
            self._filling[canvas].add(views, number, example.views[number])
            if self._filling[canvas].is_full:
                self._run(canvas)

    def answer(self, outcome: Outcome) -> None:
        """Compute an outcome now, even if its batch is not full."""
        for canvas in [canvas for canvas, batch in self._filling.items() if batch.begins_with(outcome)]:
            self._run(canvas)
        while not outcome.is_known:
            self._running.popleft().finish()

    def _run(self, canvas: tuple[int, ...]) -> None:
        batch = self._filling.pop(canvas)
        batch.run()
        self._running.append(batch)
        if len(self._running) > MOST_RUNNING:
            self._running.popleft().finish()


def predict(classifier: Classifier[Answer], paths: Sequence[str]) -> Iterator[list[Outcome]]:
    """Yield the outcomes of files, in the order of the files, as soon as they are known."""
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
    """Remove the known outcomes at the front, and return them."""
    known = []
    while waiting and waiting[0].is_known:
        known.append(waiting.popleft())
    return known


SHARED_WINDOW = 1024
"""Number of files that a process predicts between two exchanges."""


def predict_together(classifier: Classifier[Answer], paths: Sequence[str]) -> Iterator[list[Outcome]]:
    """Yield the outcomes of files, in the order of the files, and share the work among all processes.

    The processes predict windows of files in turn and then exchange the outcomes, so that each yields all of them.
    """
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
