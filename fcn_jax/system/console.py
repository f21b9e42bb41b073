"""Messages for the person who runs the program: progress, tables, one line for an error.

Progress is a live bar on a terminal. Elsewhere it is plain lines, at most one every few seconds. All messages go to
standard error, so that standard output holds only results. Whatever a name holds, it is one line and never an error.
"""

import io
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

SECONDS_BETWEEN_LINES = 5.0

WIDTH_OF_PLAIN_TEXT = 160
on_terminal = sys.stderr is not None and sys.stderr.isatty()  # It is None if it was closed before the start.
console = Console(
    stderr=True, highlight=False, emoji=False, soft_wrap=True, width=None if on_terminal else WIDTH_OF_PLAIN_TEXT
)

HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line breaks, marks that turn the direction of writing, and bytes of a name that are no text."""


def as_line(name: str) -> str:
    """Return a name as one line that can be printed, and written as UTF-8; `HIDDEN` characters are escaped."""
    return HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


def accept_any_text() -> None:
    """Make standard output and standard error escape what their encoding lacks, and discard all if they are closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Print one plain line, unless this process was silenced by `hush`."""
    console.print(as_line(line), markup=False)


def hush() -> None:
    """Silence this process from now on, except for `complain`; another process prints the messages."""
    console.quiet = True


def complain(line: str) -> None:
    """Print one plain line, even in a process that was silenced by `hush`."""
    quiet, console.quiet = console.quiet, False
    say(line)
    console.quiet = quiet


def silence_closed_output() -> None:
    """Discard all later output to standard output; call it once its reader, such as `head`, has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


USELESS = (
    "was created with group size",  # From array_record, about the group size that keeps the embedded data small.
    "has no dataset_info.json",  # From TFDS, about a data set that it is about to prepare.
)


@contextmanager
def hushing_tfds() -> Iterator[None]:
    """Hide useless messages of TFDS and its dependencies, such as the banner where TensorFlow is missing."""
    logging.getLogger("absl").addFilter(_is_useful)  # The filter stays: array_record logs again later.
    with redirect_stdout(io.StringIO()):
        yield


def _is_useful(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in USELESS)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns are a name, then numbers, then a text that may be long."""
    console.print(_table(title, columns, rows), soft_wrap=False)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(
        title=Text(as_line(title)) if title else None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    for number, column in enumerate(columns):
        is_number = 0 < number < len(columns) - 1
        table.add_column(
            column,
            justify="right" if is_number else "left",
            no_wrap=number < len(columns) - 1,
            min_width=max(cell_len(as_line(row[number])) for row in rows) if is_number and rows else None,
        )
    for row in rows:
        table.add_row(*(Text(as_line(cell)) for cell in row))
    return table


def _can_redraw() -> bool:
    """Return whether lines can be drawn over: on a terminal that is not dumb, and not in a file with colours."""
    return on_terminal and not console.is_dumb_terminal and not console.quiet


class _BarAboveItsNote(Progress):
    """A bar with its note on a line below, so that a narrow terminal still shows the bar and the time remaining."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["note"]:
                yield Text(task.fields["note"], style="dim", no_wrap=True, overflow="ellipsis")


class Bar:
    """Progress of a loop with a known number of rounds, as a context manager.

    Args:
        title: what the loop does.
        total: number of rounds.
        done: rounds already done when a run is resumed; the time remaining is estimated from the later ones.
    """

    def __init__(self, title: str, total: int, *, done: int = 0):
        self._title, self._total, self._done = as_line(title), total, done
        self._live = _can_redraw()
        self._last_line = time.monotonic()
        self._began, self._began_at = time.monotonic(), done
        self._progress = _BarAboveItsNote(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task(self._title, total=total, completed=done, note="")

    def __enter__(self) -> "Bar":
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._progress.stop()

    def advance(self, rounds: int = 1) -> None:
        """Count `rounds` more rounds as done."""
        self._done += rounds
        self._progress.update(self._task, completed=self._done)

    def note(self, note: str) -> None:
        """Show a note about the rounds so far, such as the loss."""
        self._progress.update(self._task, note=as_line(note))
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


class GrowingTable:
    """A table that fills row by row, as a context manager, with a bar and the time remaining below it.

    On a terminal it shows the last rows that fit, and vanishes at the end. Elsewhere there are plain lines, at most one
    every few seconds.

    Args:
        title: what makes the rows.
        total: number of rows.
        work: estimated work for all rows, in any unit; the time remaining follows it, not the number of rows.
    """

    def __init__(self, title: str, columns: Sequence[str], *, total: int, work: float):
        self._title, self._columns, self._total, self._work = as_line(title), columns, total, work
        self._rows: list[Sequence[str]] = []
        self._done, self._began = 0.0, time.monotonic()
        self._ends: float | None = None
        self._last_line = self._began
        self._live = _can_redraw()
        self._progress = _TableAboveItsBar(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            _Remaining(self),
            console=console,
            transient=True,
        )
        self._progress.table = self
        self._task = self._progress.add_task(self._title, total=work, count=f"0/{total}")

    def __enter__(self) -> "GrowingTable":
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._progress.stop()

    def add(self, row: Sequence[str], *, work: float) -> None:
        """Add a row, for which so much work was done."""
        self._rows.append(row)
        self._done += work
        now = time.monotonic()
        self._ends = now + (now - self._began) / self._done * max(0.0, self._work - self._done)
        count = f"{len(self._rows)}/{self._total}"
        self._progress.update(self._task, completed=self._done, count=count)
        if not self._live and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            say(f"{self._title} {count}  {row[0]}  {self.remaining()}")

    def remaining(self) -> str:
        """Return the estimated time remaining, as text."""
        return "eta ?" if self._ends is None else f"eta {max(0.0, self._ends - time.monotonic()):.0f} s"

    def as_table(self) -> Table:
        """Return the table of the last rows that fit on the screen."""
        return _table("", self._columns, self._rows[-max(1, console.height - 4) :])


class _TableAboveItsBar(Progress):
    table: "GrowingTable | None" = None

    def get_renderables(self) -> Iterator[RenderableType]:
        if self.table is not None:
            yield self.table.as_table()
        yield self.make_tasks_table(self.tasks)


class _Remaining(ProgressColumn):
    def __init__(self, table: GrowingTable):
        super().__init__()
        self._table = table

    def render(self, task: Task) -> Text:
        del task
        return Text(self._table.remaining(), style="progress.remaining")
