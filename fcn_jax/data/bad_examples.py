"""Examples that cannot be used.

An example found bad while the sizes are measured is left out of the plan. One that cannot be read later becomes a
filler row; the next epoch tries it again. Both kinds are named and counted, and too many of them stop the run.
"""

import json
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from fcn_jax.config import UserError
from fcn_jax.system.console import say
from fcn_jax.system.disk import parse_json, writing
from fcn_jax.system.processes import gather


class BadExampleError(UserError):
    """An example that cannot be used; the message is the reason."""


class BadExamples:
    """The bad examples of one split, as they are now: an example that could not be read, but later can, is bad no more.

    Args:
        split: name of the split.
        num_examples: number of examples in the split, good and bad.
        max_fraction: largest fraction of them that may be bad.
        left_out: {name: reason} of those that were found bad while they were measured; nothing reads them again.
    """

    def __init__(
        self, split: str, num_examples: int, *, max_fraction: float, left_out: Mapping[str, str] | None = None
    ):
        self._split, self._num_examples, self._max_fraction = split, num_examples, max_fraction
        self._left_out, self._unread = dict(left_out or {}), {}
        self._met: dict[str, str] = {}  # All that could ever not be read.
        self._unsaid: dict[str, str] = {}
        self._events: list[tuple[str, str]] = []
        self._written: set[str] = set()
        self._lock = threading.Lock()  # The loader's threads add to it.

    def __len__(self) -> int:
        return len(self._left_out) + len(self._unread)

    @property
    def unread(self) -> dict[str, str]:
        """{name: reason} of the examples that could not be read when they were read last."""
        with self._lock:
            return dict(self._unread)

    @property
    def reasons(self) -> dict[str, str]:
        """{name: reason} of all bad examples: those left out, then those that could not be read."""
        return {**self._left_out, **self.unread}

    @property
    def has_unread(self) -> bool:
        return bool(self._unread)

    def add(self, name: str, reason: str) -> None:
        """Note an example that could not be read; the same example in another epoch counts once."""
        with self._lock:
            self._events.append((name, reason))
            self._note(name, reason)

    def _note(self, name: str, reason: str) -> None:
        if name not in self._unread:
            self._unread[name] = self._unsaid[name] = reason
            self._met.setdefault(name, reason)

    def read_well(self, name: str) -> None:
        """Note that an example was read: it is bad no more."""
        with self._lock:
            if self._unread.pop(name, None) is not None:
                self._events.append((name, ""))

    def note(self, events: Iterable[tuple[str, str]]) -> None:
        """Note what another process of this host read: (name, reason; empty if it was read well)."""
        for name, reason in events:
            if reason:
                self.add(name, reason)
            else:
                self.read_well(name)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a process that reads for this one gets: no lock, and no events that this one tells itself."""
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_events")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _events=[])

    def take_events(self) -> list[tuple[str, str]]:
        """Return what happened since the last call, for other processes: (name, reason; empty if it was read well)."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def adopt(self, events: Sequence[Sequence[Sequence[str]]], *, own: int) -> None:
        """Take over what happened in all processes; where they disagree about an example in the end, it is bad.

        Args:
            own: number of this process, which noted its events when they happened.
        """
        in_the_end = [{event[0]: event[1] for event in one} for one in events]
        bad = {name for one in in_the_end for name, reason in one.items() if reason}
        with self._lock:
            for name, reason in (event for one in [*events[:own], *events[own + 1 :]] for event in one):
                if reason:
                    self._note(name, reason)
            for name in {name for one in in_the_end for name in one} - bad:
                self._unread.pop(name, None)
            for name in bad - self._unread.keys():
                self._unread[name] = self._met[name]

    def count_as_said(self, names: Iterable[str]) -> None:
        """Say nothing of these examples, until they are read well and fail again."""
        for name in names:
            self._unsaid.pop(name, None)

    def say_new(self) -> None:
        """Say in one line which examples could not be read since the last call, though they could before."""
        with self._lock:
            new, self._unsaid = self._unsaid, {}
        if new:
            say(f"{len(new):,} of {self._num_examples:,} examples of {self._split} could not be read: {first_of(new)}")

    def check(self) -> None:
        """Check that the config allows so many bad examples.

        Raises:
            UserError: there are more; the message names the first three.
        """
        if len(self) > self._max_fraction * self._num_examples:
            enough = math.ceil(1000 * len(self) / self._num_examples) / 1000
            raise UserError(
                f"{len(self):,} of the {self._num_examples:,} examples of {self._split} are bad, more than "
                f"config.data.max_bad_fraction={self._max_fraction} allows: {first_of(self.reasons)}; mend them, "
                f"take them out of the data, or train with --config.data.max_bad_fraction={enough:g}"
            )

    def write_new(self, path: Path) -> None:
        """Append the bad examples that the file does not name yet, one JSON line each."""
        with self._lock:
            reasons = {**self._left_out, **self._met}
        if reasons.keys() <= self._written:
            return
        if path.exists():
            self._written |= {
                parse_json(line)["name"] for line in path.read_text(encoding="utf-8").split("\n") if line.endswith("}")
            }
        with writing(path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            for name, reason in reasons.items():
                if name not in self._written:
                    row = {"split": self._split, "name": name, "reason": reason}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._written |= reasons.keys()


def first_of(reasons: Mapping[str, str]) -> str:
    """Return a text that names the first three bad examples with their reasons, and says how many more there are."""
    first = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:3])
    return f"{first}; and {len(reasons) - 3:,} more" if len(reasons) > 3 else first


def share(bad: BadExamples) -> None:
    """Let every process know which examples any process could not read, or could read again, since the last call."""
    events = gather(bad.take_events())
    if len(events) > 1:
        bad.adopt(events, own=jax.process_index())
