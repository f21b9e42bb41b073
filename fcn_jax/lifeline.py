"""Whether the other processes live: each gives a sign every few seconds, and whoever gives none is lost.

JAX would notice too, later, in a hundred lines, by abort. Here one line names the lost process, and this one ends with
exit code 1: without the others no step can be taken. Nothing is lost but the steps since the last checkpoint.
"""

import atexit
import itertools
import os
import sys
import threading
import time
from typing import Any

from fcn_jax.console import complain, console

SECONDS_BETWEEN_SIGNS = 2.0
SECONDS_TO_LOSE = 15.0
"""Without a sign until a process is lost."""
LIFELINE = "lifeline"

_ends = threading.Event()


def watch(client: Any, process_id: int, num_processes: int) -> None:
    """Give signs and heed those of the others, for as long as this process lives.

    Args:
        client: of JAX's coordinator, in which signs stand.
    """
    heard = dict.fromkeys(range(num_processes), time.monotonic())
    atexit.register(_ends.set)
    threading.Thread(target=_exchange_signs, args=(client, process_id, heard), name="signs", daemon=True).start()
    threading.Thread(target=_end_when_one_is_lost, args=(heard,), name=LIFELINE, daemon=True).start()


def wait_for_the_lost() -> None:
    """What a computation says when another process is gone names nobody; the line that does ends this process."""
    if any(thread.name == LIFELINE for thread in threading.enumerate()):
        time.sleep(SECONDS_TO_LOSE + 5 * SECONDS_BETWEEN_SIGNS)


def _exchange_signs(client: Any, process_id: int, heard: dict[int, float]) -> None:
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
                heard[int(key.rpartition("/")[2])] = time.monotonic()
        last = signs
        if _ends.wait(SECONDS_BETWEEN_SIGNS):
            return


def _end_when_one_is_lost(heard: dict[int, float]) -> None:
    while not _ends.wait(SECONDS_BETWEEN_SIGNS):
        lost = [number for number, when in heard.items() if time.monotonic() - when > SECONDS_TO_LOSE]
        if lost and not _ends.is_set():
            console.show_cursor(show=True)
            complain(
                f"process {lost[0]} is lost: no sign of it for {SECONDS_TO_LOSE:.0f} s; to go on from the last "
                "checkpoint, start all processes again"
            )
            sys.stderr.flush()
            os._exit(1)
