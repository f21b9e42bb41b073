"""A watchdog that prints what a run waits for when it waits long: input, the device or the disk.

The watchdog never ends a run, since a slow disk may recover: the person who reads the line decides. It writes the
traceback of every thread to a file. It uses monotonic time, so changing the system clock has no effect.
"""

import faulthandler
import threading
import time
from pathlib import Path

from fcn_jax.system.console import say

LOOKS_PER_WAIT = 4


class Watchdog:
    """A thread that watches the run; use it as a context manager.

    Args:
        seconds: seconds of waiting for one thing before the first line; each later line comes after twice as long.
            0: the watchdog is off.
        log: file for the tracebacks of all threads.
    """

    def __init__(self, seconds: float, log: Path):
        self._seconds, self._log = seconds, log
        self._place = ("the first step", time.monotonic())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        if self._seconds:
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        if self._seconds:
            self._thread.join()

    def waits_for(self, what: str) -> None:
        """Note that the run has gone on and now waits for `what`."""
        self._place = (what, time.monotonic())

    def _look_on(self) -> None:
        told, bound = self._place, self._seconds
        while not self._ended.wait(self._seconds / LOOKS_PER_WAIT):
            place = self._place
            if place is not told:
                told, bound = place, self._seconds
            what, since = place
            waited = time.monotonic() - since
            if waited >= bound:
                bound *= 2
                self._tell(f"waiting for {what}: {waited:.0f} s so far")

    def _tell(self, line: str) -> None:
        try:
            with self._log.open("a", encoding="utf-8") as file:
                print(line, file=file, flush=True)
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as error:  # The run may be waiting because the disk cannot be written.
            say(f"{line} ({self._log} cannot be written: {error.strerror})")
        else:
            say(f"{line}; {self._log} shows what every thread is doing")
