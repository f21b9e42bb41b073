"""Output for the person in front of the program: progress, tables, one line for an error.

On a terminal a live bar; elsewhere plain lines, at most one every few seconds. Everything goes to standard error, so
that results alone stand on standard output.
"""

import io
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

SECONDS_BETWEEN_LINES = 5.0

WIDTH_OF_PLAIN_TEXT = 160
console = Console(
    stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else WIDTH_OF_PLAIN_TEXT
)


def say(line: str) -> None:
    """One plain line."""
    console.print(line, markup=False)


def hush() -> None:
    """Say nothing from now on, except through `complain`: another process speaks."""
    console.quiet = True


def complain(line: str) -> None:
    """Print one plain line, even if another process speaks."""
    quiet, console.quiet = console.quiet, False
    say(line)
    console.quiet = quiet


def silence_closed_output() -> None:
    """Drop what Python still writes to standard output: its reader, such as `head`, has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


USELESS = (
    "was created with group size",  # array_record says it of the groups that keep the embedded data small.
    "has no dataset_info.json",  # TFDS says it of a data set that it is about to prepare.
)


@contextmanager
def hushing_tfds() -> Iterator[None]:
    """Hide what TFDS and its helpers say without use, such as a banner where TensorFlow is missing."""
    logging.getLogger("absl").addFilter(_is_useful)  # For good: array_record says more later.
    with redirect_stdout(io.StringIO()):
        yield


def _is_useful(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in USELESS)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows of text: a name, then numbers, then a text that may be long."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        is_number = 0 < number < len(columns) - 1
        table.add_column(column, justify="right" if is_number else "left", no_wrap=number < len(columns) - 1)
    for row in rows:
        table.add_row(*row)
    console.print(table, soft_wrap=False)


class _BarAboveItsNote(Progress):
    """The note has a line of its own, so that a narrow terminal keeps the bar and the time remaining."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["note"]:
                yield Text(task.fields["note"], style="dim", no_wrap=True, overflow="ellipsis")


class Bar:
    """Progress of a loop with a known number of rounds, as a context manager.

    Args:
        title: what the loop does.
        total: rounds.
        done: rounds already done, when a run is resumed; the time remaining counts from there.
    """

    def __init__(self, title: str, total: int, *, done: int = 0):
        self._title, self._total, self._done = title, total, done
        self._live = console.is_terminal and not console.quiet
        self._last_line = time.monotonic()
        self._began, self._began_at = time.monotonic(), done
        self._progress = _BarAboveItsNote(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> "Bar":
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._progress.stop()

    def advance(self, rounds: int = 1) -> None:
        """So many rounds more."""
        self._done += rounds
        self._progress.update(self._task, completed=self._done)

    def note(self, note: str) -> None:
        """Say something about the rounds so far."""
        self._progress.update(self._task, note=note)
        now = time.monotonic()
        if not self._live and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            eta = (now - self._began) / max(1, self._done - self._began_at) * (self._total - self._done)
            say(f"{self._title} {self._done}/{self._total}  {note}  eta {eta:.0f} s")

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave what happens inside out of the time remaining."""
        paused = time.monotonic()
        yield
        self._began += time.monotonic() - paused
