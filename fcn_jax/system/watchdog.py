"""Says where a run waits when it waits for long: for input, for the device, for the disk.

It ends nothing, since a slow disk may come back; who reads the line decides. Where every thread stands is written to
a file. Time is monotonic: setting the clock says nothing about waiting.
"""

import faulthandler
import threading
import time
from pathlib import Path

from fcn_jax.system.console import say

LOOKS_PER_WAIT = 4


class Watchdog:
    """A thread that looks on; use it as a context manager.

    Args:
        seconds: of waiting in one place before it says so, then after twice as long, and so on; 0: never.
        log: file for where every thread stands.
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
        """The run goes on, and from now on waits for this."""
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
                self._tell(f"waiting for {what} since {waited:.0f} s")

    def _tell(self, line: str) -> None:
        try:
            with self._log.open("a") as file:
                print(line, file=file, flush=True)
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as error:  # A disk that takes nothing is a likely reason to wait.
            say(f"{line} ({self._log} cannot be written: {error.strerror})")
        else:
            say(f"{line}; {self._log} says where every thread stands")
