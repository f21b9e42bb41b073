"""One wrong command line with its files, run in this process, and what became of it.

It runs in a folder of its own, made before and removed after. What may happen: an exit code of 0, 1 or 2 with lines
for people. What may not: a traceback, a hang, gigabytes, a file written elsewhere, something unpickled.
"""

import contextlib
import io
import os
import re
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bad_input.watch import peak_mib, reset_peak, watching

SECONDS = 30.0
"""Seconds of the processor that an attempt may take; a busy machine is no failure."""
SECONDS_TO_WAIT = 300.0
"""Seconds of the clock that an attempt may take."""
MIB = 1536.0
"""Memory that an attempt may add; with what the imports take this is about 2 GiB."""
ROOT = Path(__file__).parents[2]
WRITTEN_HERE = (ROOT / "experiments/results", ROOT / "configs/__pycache__")
"""Locks, and what Python compiles."""
CONFIG_MODULE = "config_config"
"""As which ml_collections imports --config: what the one before has defined would still be there."""
NAMED_PIPE = object()
"""Stands in place of a file's content."""
FOLDER = object()


@dataclass(frozen=True)
class LinkTo:
    """Stands in place of a file's content."""

    target: str


@dataclass(frozen=True)
class Attempt:
    """A command line, and the files that lie in the folder it runs in."""

    arguments: tuple[str, ...]
    files: Mapping[str, bytes | object] = field(default_factory=dict)
    """Contents by path: bytes, NAMED_PIPE, FOLDER or LinkTo."""
    program: str = "fcn_jax"
    """Or experiments."""
    listed: bytes = b""
    """Standard input."""
    inputs: int = 1
    """Wrong things in it."""

    def __repr__(self) -> str:
        return f"python -m {self.program} {' '.join(map(repr, self.arguments))}, files {sorted(self.files)}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of an attempt."""

    code: int | None
    """None: it did not end by itself."""
    said: str
    """Text on standard error."""
    printed: str
    seconds: float
    """Seconds of the processor."""
    mib: float
    """Memory that the attempt added at its peak."""
    failure: str
    """The failures that happened; empty: none."""

    @property
    def bad_lines(self) -> int:
        """Files that got a line with an error, instead of an answer."""
        return len(re.findall(r'^\{"path": .*"error": ', self.printed, re.MULTILINE))


class TooLongError(BaseException):
    """The attempt hangs; no `except Exception` holds it."""


Entry = Callable[[list[str]], int]


def run_here(attempt: Attempt, folder: Path) -> Outcome:
    """Run an attempt in this process, in `folder`, which must not be there and will not be there after.

    What may be written beside it: the cache of compiled programs in the home directory, and WRITTEN_HERE.
    """
    lay_out(attempt, folder)
    stdin = io.TextIOWrapper(io.BytesIO(attempt.listed), encoding="utf-8")
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stderr = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    before, code, failure = os.getcwd(), None, ""
    sys.modules.pop(CONFIG_MODULE, None)
    cache = Path.home() / ".cache" / "fcn_jax"
    began = time.process_time()
    resident = reset_peak()
    os.chdir(folder)
    try:
        with (
            watching(folder, cache, *WRITTEN_HERE) as forbidden,
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            _stdin(stdin),
            _no_longer_than(SECONDS_TO_WAIT),
        ):
            code = entry_of(attempt.program)(list(attempt.arguments))
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 0 if stopped.code is None else 1
    except TooLongError:
        failure = f"it hangs for more than {SECONDS_TO_WAIT:.0f} s"
    except BaseException as error:  # Whatever it is, the person would see a traceback.
        failure = f"traceback: {type(error).__name__}: {' '.join(str(error).split())[:300]} {_where(error)}"
    finally:
        os.chdir(before)
    seconds, mib = time.process_time() - began, peak_mib() - resident
    shutil.rmtree(folder)
    said, printed = _text(stderr), _text(stdout)
    return Outcome(
        code, said, printed, seconds, mib, failure or (forbidden or [""])[0] or failure_of(code, said, seconds, mib)
    )


def entry_of(program: str) -> Entry:
    """The program's own entry function, for arguments without its name."""
    if program == "experiments":
        from experiments.__main__ import main as experiments_main

        return experiments_main
    from fcn_jax.cli import main

    return lambda arguments: main([program, *arguments])


def failure_of(code: int | None, said: str, seconds: float, mib: float) -> str:
    """Return the failures that happened, if any."""
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if "Traceback (most recent call last)" in said:
        return "it says a traceback"
    if code == 2 and not said.strip():
        return "exit code 2, and not a word why"
    if seconds > SECONDS:
        return f"it takes {seconds:.0f} s"
    if mib > MIB:
        return f"it needs {mib:,.0f} MiB more"
    return ""


def lay_out(attempt: Attempt, folder: Path) -> None:
    """The files of an attempt, in a new folder."""
    folder.mkdir()
    for name, content in attempt.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, LinkTo):
            path.symlink_to(content.target)
        elif content is NAMED_PIPE:
            os.mkfifo(path)
        else:
            assert content is FOLDER
            path.mkdir(exist_ok=True)


def read_tree(top: Path) -> dict[str, bytes]:
    """The files below a folder as `Attempt.files` takes them."""
    return {
        str(path.relative_to(top.parent)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if stat.S_ISREG(path.lstat().st_mode)
    }


@contextlib.contextmanager
def _stdin(stream: io.TextIOWrapper) -> Iterator[None]:
    before, sys.stdin = sys.stdin, stream
    try:
        yield
    finally:
        sys.stdin = before


@contextlib.contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    def stop(*_) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _where(error: BaseException) -> str:
    """The last place in this checkout that an error came through."""
    place, traceback = "", error.__traceback__
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if "site-packages" not in name and "bad_input" not in name and name.endswith(".py"):
            place = f"({Path(name).name}:{traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode(errors="backslashreplace")
