"""The file runs.jsonl: one line per finished run, written whole or not at all, even if several processes write.

Appending and reading hold a lock. A damaged line is reported and moved to runs.damaged in the same folder. A process
claims a run by a lock on a file that is named by the run's key. The system releases the lock when the process ends in
any way, so no two processes make the same run at once, and a dead process holds no run.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from experiments.ablation import Row
from fcn_jax.config import UserError
from fcn_jax.system.console import say
from fcn_jax.system.disk import write_atomically

FIELDS = {
    "ablation": str,
    "arm": str,
    "seed": int,
    "form": str,
    "key": str,
    "code": str,
    "config": dict,
    "summary": dict,
    "validation": list,
    "evaluations": dict,
}
"""The fields that every line must have, with their types."""


class Runs:
    """The finished runs of an ablation in one form.

    Args:
        directory: the folder of runs.jsonl. It is made when something is written.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.path = directory / "runs.jsonl"

    def read(self) -> list[Row]:
        """Return all rows, in the order they were written. If a run has two rows, the first one counts.

        Damaged lines are reported, and moved to runs.damaged.
        """
        if not self.path.exists():
            return []
        with self._locked():
            rows, kept, damaged = {}, [], []
            for number, line in enumerate(self.path.read_bytes().decode(errors="replace").splitlines(), start=1):
                try:
                    row = parse_row(line)
                except ValueError as error:
                    say(f"{self.path}:{number}: {error}: moved to runs.damaged, and its run counts as missing")
                    damaged.append(line)
                    continue
                kept.append(line)
                rows.setdefault(row["key"], row)
            if damaged:
                with (self.directory / "runs.damaged").open("a", encoding="utf-8") as file:
                    file.writelines(f"{line}\n" for line in damaged)
                write_atomically(self.path, "".join(f"{line}\n" for line in kept))
        return list(rows.values())

    def append(self, row: Row) -> None:
        """Append one row. It is on the disk when this returns."""
        line = json.dumps(row)
        parse_row(line)
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._locked():
            whole = not self.path.exists() or self.path.read_bytes().endswith(b"\n") or not self.path.stat().st_size
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{'' if whole else chr(10)}{line}\n")
                file.flush()
                os.fsync(file.fileno())

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Claim the run of a key for this process. Yields False if another living process is making it."""
        claims = self.directory / ".claims"
        claims.mkdir(parents=True, exist_ok=True)
        path = claims / key
        with path.open("w", encoding="utf-8") as file:
            if not _holds(file, path):
                yield False
                return
            try:
                yield True
            finally:
                path.unlink(missing_ok=True)

    def in_progress(self) -> int:
        """Return the number of runs that living processes are making."""
        count = 0
        for path in (self.directory / ".claims").glob("*"):
            with path.open(encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    count += 1
        return count

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.directory / ".lock").open("w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _holds(file: IO, path: Path) -> bool:
    """Try to lock the file; return whether this process holds the lock and the file is still the one at the path."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def parse_row(line: str) -> Row:
    """Return the row that a line holds.

    Raises:
        UserError: the line is no row.
    """
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"no JSON ({error.msg} at character {error.pos})") from error
    if not isinstance(row, dict):
        raise UserError("no JSON object")
    for name, kind in FIELDS.items():
        if not isinstance(row.get(name), kind):
            raise UserError(f"{name!r} is {'missing' if name not in row else 'not of type ' + kind.__name__}")
    return row
