"""Silences what Orbax and TensorStore say of a checkpoint that fails: `checkpoint` says it in one line.

Each of their threads logs a traceback of its own, and callbacks find an event loop that is closed by then.
"""

import logging
import sys
from typing import Any

CLOSED = "Event loop is closed"


def hush_orbax() -> None:
    """For the rest of this process."""
    logging.getLogger("absl").addFilter(_is_of_others)
    sys.unraisablehook = _show_others


def _is_of_others(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _show_others(unraisable: Any) -> None:
    if str(unraisable.exc_value) != CLOSED:
        sys.__unraisablehook__(unraisable)
