"""Files -> what a net says of each, in the order of the files, in bounded memory however many there are.

Threads read and decode some files ahead. What shares a canvas is batched: a full batch runs at once, another as soon
as its oldest file has let `WINDOW` others pass. Batches are computed while further files are read.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.types import filler_block
from fcn_jax.use.inference.classifier import DECIMALS, Answer, Classifier
from fcn_jax.use.inference.programs import Program, Programs, TooLargeError
from fcn_jax.use.inference.reading import read_ahead
from fcn_jax.use.inference.recipe import Example

WINDOW = 4096
MOST_RUNNING = 2
"""Batches beside the reading of further files."""


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


class _Batch:
    """Files that share a canvas, until there are enough of them."""

    def __init__(self, program: Program[Answer], canvas: tuple[int, ...], channels: int):
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
        self._classifier, self._programs = classifier, Programs(classifier)
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
