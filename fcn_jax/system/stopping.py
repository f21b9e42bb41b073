"""A request to stop, as a cluster sends it (SIGTERM) before it takes a machine away.

Where something would be lost, the loop asks after every step, saves and ends. Everywhere else the process ends at
once, even within a compilation, which no handler in Python can interrupt: a thread hears of the signal.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fcn_jax.system.console import console, say

RESUME = "resume with the same command"


class Stopped(Exception):
    """The run ended because it was asked to; the message says where it stands."""


class StopRequest:
    """A request to stop the run, which may or may not have arrived."""

    def __init__(self):
        self._arrived = False
        self._loop_asks = False
        self._lock = threading.Lock()

    @property
    def requested(self) -> bool:
        return self._arrived

    def arrive(self) -> None:
        """Note the request; end the process at once where no loop asks for it."""
        with self._lock:
            self._arrived = True
            if self._loop_asks:
                return
        console.show_cursor(show=True)
        say(f"stopped before the next step: {RESUME}")
        sys.stderr.flush()
        os._exit(0)

    @contextmanager
    def asked_by_loop(self) -> Iterator[None]:
        """Inside, a request waits until it is asked for."""
        with self._lock:
            self._loop_asks = True
        try:
            yield
        finally:
            with self._lock:
                self._loop_asks = False


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """A request that SIGTERM makes; for the main thread."""
    stop = StopRequest()
    hears, tells = socket.socketpair()
    tells.setblocking(False)
    earlier = signal.signal(signal.SIGTERM, lambda *_: None)  # Only signals with a handler are told.
    earlier_descriptor = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(hears, stop), name="stop on SIGTERM", daemon=True).start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(earlier_descriptor)
        signal.signal(signal.SIGTERM, earlier)
        tells.close()


def _listen(hears: socket.socket, stop: StopRequest) -> None:
    """Ends when the other end is closed."""
    with hears:
        while numbers := hears.recv(64):
            if signal.SIGTERM in numbers:
                stop.arrive()


class JointStopRequest(StopRequest):
    """A request to several processes: JAX hears SIGTERM in each and has them agree on one of the times that all ask."""

    def __init__(self):
        super().__init__()
        self._asked, self._agreed = 0, False

    @property
    def requested(self) -> bool:
        if not self._agreed:
            from jax.experimental.multihost_utils import reached_preemption_sync_point

            self._asked += 1
            self._agreed = reached_preemption_sync_point(self._asked)
        return self._agreed


def of_all(stop: StopRequest) -> StopRequest:
    """A request to this process, or, where there are several, to any of them: JAX then hears SIGTERM in its place."""
    import jax  # Not sooner: a process can be asked to stop while it imports JAX.

    return JointStopRequest() if jax.process_count() > 1 else stop
