"""A request to stop: the signal SIGTERM, which a cluster sends before it takes a machine away.

The training loop checks for the request after every step, saves and ends, so that no work is lost. Everywhere else the
process ends at once, even within a compilation: a thread receives the signal, since no handler in Python can interrupt
a compilation.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fcn_jax.system.console import console, say

RESUME = "resume with the same command"


class Stopped(Exception):
    """The end of a run that was asked to stop; the message says which step it reached."""


class StopRequest:
    """A flag that is set once somebody asks the run to stop."""

    def __init__(self):
        self._arrived = False
        self._loop_asks = False
        self._lock = threading.Lock()

    @property
    def requested(self) -> bool:
        return self._arrived

    def arrive(self) -> None:
        """Note the request; end the process at once unless a loop checks for requests."""
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
        """Tell the request that a loop checks for it inside, so that it does not end the process."""
        with self._lock:
            self._loop_asks = True
        try:
            yield
        finally:
            with self._lock:
                self._loop_asks = False


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Yield a request that SIGTERM sets; call it in the main thread."""
    stop = StopRequest()
    hears, tells = socket.socketpair()
    tells.setblocking(False)
    earlier = signal.signal(signal.SIGTERM, lambda *_: None)  # Python passes on only signals that have a handler.
    earlier_descriptor = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(hears, stop), name="stop on SIGTERM", daemon=True).start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(earlier_descriptor)
        signal.signal(signal.SIGTERM, earlier)
        tells.close()


def _listen(hears: socket.socket, stop: StopRequest) -> None:
    """Set the request at each SIGTERM, until the other end of the socket is closed."""
    with hears:
        while numbers := hears.recv(64):
            if signal.SIGTERM in numbers:
                stop.arrive()


class JointStopRequest(StopRequest):
    """A request to several processes: JAX receives SIGTERM in any of them, and all stop at the same check."""

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
    """Return a request that covers all processes; if there are several, JAX receives SIGTERM in place of `stop`."""
    import jax  # Imported late: a process can be asked to stop while it imports JAX.

    return JointStopRequest() if jax.process_count() > 1 else stop


SECONDS_TO_LOOK_FOR_PARENT = 2.0


def leave_signals_to_parent() -> None:
    """Make a process that serves another one end when that one does, and not at a signal that both receive."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_TO_LOOK_FOR_PARENT)
        os._exit(0)

    threading.Thread(target=follow, daemon=True).start()
