"""Watch what a process does: where it writes, whether it unpickles, how much memory it takes.

Python's audit events tell of writes and of unpickling before they happen. They know nothing of what compiled
libraries write; so what lies beside the folder is compared too.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.mkdir": 0,
    "os.rename": 1,
    "os.remove": 0,
    "os.rmdir": 0,
    "os.symlink": 1,
    "os.link": 1,
    "os.truncate": 0,
}
"""Events, and which of their arguments is the path that changes."""
HARMLESS = ("/dev/", "/proc/")
"""Nothing is kept there."""


class _Watch:
    """State that the one audit hook of this process looks at; hooks cannot be taken back."""

    installed = False
    allowed: tuple[str, ...] | None = None
    forbidden: list[str]


@contextlib.contextmanager
def watching(*allowed: Path) -> Iterator[list[str]]:
    """Collect what happens that may not: a write outside of these folders, something unpickled."""
    if not _Watch.installed:
        sys.addaudithook(_look)
        _Watch.installed = True
    beside = {path.name for path in allowed[0].parent.iterdir()}
    _Watch.forbidden, _Watch.allowed = [], tuple(str(path) for path in allowed)
    found = _Watch.forbidden
    try:
        yield found
    finally:
        _Watch.allowed = None
        found += [f"{path} appeared" for path in allowed[0].parent.iterdir() if path.name not in beside]


def _look(event: str, arguments: tuple) -> None:
    if _Watch.allowed is None:
        return
    if event == "open":
        path, mode, flags = arguments
        if flags & WRITES or (mode and set(mode) & set("wax+")):
            _check(path)
    elif event in CHANGES:
        _check(arguments[CHANGES[event]])
    elif event == "pickle.find_class":
        _Watch.forbidden.append(f"it unpickles {arguments}")


def _check(path: object) -> None:
    """Note a write outside."""
    assert _Watch.allowed is not None
    if isinstance(path, int):
        return
    whole = os.path.abspath(os.fsdecode(path))  # pyright: ignore
    if not f"{whole}{os.sep}".startswith((*HARMLESS, *(f"{folder}{os.sep}" for folder in _Watch.allowed))):
        _Watch.forbidden.append(f"it writes {whole}")


def reset_peak() -> float:
    """Let the peak of resident memory begin anew, on Linux; return what is resident now, in MiB.

    The process may have done much before: what the tests' other programs hold is none of the attempt's.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status_mib("VmRSS")


def peak_mib() -> float:
    """Return the largest resident memory since then, in MiB; 0 where the system does not tell."""
    return _status_mib("VmHWM")


def _status_mib(field: str) -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    return 0.0
