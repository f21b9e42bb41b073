"""Whether the other processes live: each gives a sign every few seconds, and whoever gives none is lost.

JAX would notice too, in a hundred lines, by abort: at once where process 0 is gone, in which its coordinator is, later
where another is. Here one line names the lost process, and this one ends with exit code 1: without the others no step
can be taken. Nothing is lost but the steps since the last checkpoint.
"""

import atexit
import itertools
import os
import socket
import sys
import threading
import time
from typing import Any

from fcn_jax.system.console import complain, console

SECONDS_BETWEEN_SIGNS = 2.0
SECONDS_TO_LOSE = 15.0
"""Without a sign until a process is lost."""

_ends = threading.Event()
_heard: dict[int, float] = {}
"""When each of several processes last gave a sign."""


def watch(client: Any, address: str, process_id: int, num_processes: int) -> None:
    """Give signs and heed those of the others, for as long as this process lives.

    Args:
        client: of JAX's coordinator, in which signs stand.
        address: host:port of the coordinator.
    """
    _heard.update(dict.fromkeys(range(num_processes), time.monotonic()))
    atexit.register(end_together)
    threading.Thread(target=_exchange_signs, args=(client, process_id), name="signs", daemon=True).start()
    threading.Thread(target=_end_when_one_is_lost, name="lifeline", daemon=True).start()
    if process_id:
        threading.Thread(target=_end_with_the_coordinator, args=(address,), name="coordinator", daemon=True).start()


def end_together() -> None:
    """From now on nobody is lost: all end."""
    _ends.set()


def wait_for_the_lost() -> None:
    """Return once all other processes have given signs for a while; where one is lost, the line says so that ends this.

    What a computation, or a file that all write, says when another process is gone names nobody.
    """
    asked = time.monotonic()
    heard_later = asked + 2 * SECONDS_BETWEEN_SIGNS  # What is heard before may have been said before.
    heed_until = heard_later + 2 * SECONDS_BETWEEN_SIGNS
    while _heard and not _ends.is_set():
        if min(_heard.values()) > heard_later and time.monotonic() > heed_until:
            return
        time.sleep(SECONDS_BETWEEN_SIGNS / 10)


def _exchange_signs(client: Any, process_id: int) -> None:
    """Note when each process last gave a sign; of none, once the coordinator in process 0 is gone."""
    last: dict[str, str] = {}
    for number in itertools.count():
        try:
            client.key_value_set(f"fcn_jax_signs/{process_id}", str(number), allow_overwrite=True)
            signs = dict(client.key_value_dir_get("fcn_jax_signs/"))
        except RuntimeError:  # What XLA's errors are.
            return
        for key, sign in signs.items():
            if last.get(key) != sign:
                _heard[int(key.rpartition("/")[2])] = time.monotonic()
        last = signs
        if _ends.wait(SECONDS_BETWEEN_SIGNS):
            return


def _end_when_one_is_lost() -> None:
    looked = time.monotonic()
    while not _ends.wait(SECONDS_BETWEEN_SIGNS):
        now = time.monotonic()
        if now - looked > SECONDS_TO_LOSE / 2:  # This process itself stood still, as a machine that is moved does.
            _heard.update(dict.fromkeys(_heard, now))
        looked = now
        lost = [number for number, when in _heard.items() if now - when > SECONDS_TO_LOSE]
        if lost:
            _end(lost[0], f"no sign of it for {SECONDS_TO_LOSE:.0f} s")


def _end_with_the_coordinator(address: str) -> None:
    """Hold a connection that breaks as soon as process 0 is gone; JAX's abort comes a moment later."""
    host, _, port = address.rpartition(":")
    while not _ends.is_set():
        try:
            with socket.create_connection((host.strip("[]"), int(port))) as connection:
                while connection.recv(4096):  # It is closed every few minutes, as we never speak.
                    pass
        except ConnectionRefusedError:
            _end(0, "its port is closed")
            return
        except OSError:
            _ends.wait(SECONDS_BETWEEN_SIGNS / 100)


def _end(lost: int, reason: str) -> None:
    """End this process, unless it ends by itself."""
    if _ends.is_set():
        return
    complain(f"process {lost} is lost: {reason}; to go on from the last checkpoint, start all processes again")
    console.show_cursor(show=True)
    sys.stderr.flush()
    os._exit(1)
