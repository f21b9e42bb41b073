"""Several processes as one program: how they find each other, how they agree, which of them speaks.

JAX joins them (`jax.distributed`) and computes over the devices of all. What is no array (an error, a config, names of
bad examples, answers) is exchanged as JSON through the coordinator that JAX has. All of them do the same in the same
order; the first alone writes files and speaks. A single process needs no exchange.
"""

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax._src import distributed  # Its client has no public name; Orbax takes it from here too.

from fcn_jax.config import UserError
from fcn_jax.system.console import hush, say

Context = TypeVar("Context")

SECONDS_TO_END = 25
"""Seconds that all processes have to end, once the first has ended."""
SECONDS_TO_LOSE = 20
"""Without a sign of life until JAX takes a process for lost."""
WHO_IS_LOST = "; if one is lost, JAX ends all and says its number; if it says none, process 0 is lost"
LONGEST_WAIT_MS = 24 * 3600 * 1000
"""Milliseconds to wait for a process that lives, however slow its disk is."""

_exchanges = itertools.count()
_all_know = threading.Event()
"""Set once all processes know of an error."""


def join_cluster(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the other processes of this command; call it before a device is looked at. A plain process stays alone.

    When a process is killed, or stopped for `SECONDS_TO_LOSE`, JAX aborts the others a few seconds later: many lines on
    standard error, and exit code 134 (SIGABRT). Below "The following tasks are unhealthy" stands the number of the lost
    process. JAX's coordinator is in process 0: where that is lost, the others are aborted with "Failed to send RPC to
    coordination service" or "RPC: /xla.coordination.CoordinationService/Heartbeat" and no number. `WHO_IS_LOST` is said
    beforehand, because nothing of ours runs in an abort. All that stand still together for as long are lost, too.

    Args:
        coordinator: host:port of the first process. All three are given, or none: then a launcher is looked for.

    Raises:
        UserError: some are missing or make no sense, or the others cannot be reached.
    """
    given = (coordinator, num_processes, process_id)
    if given == (None, None, None):
        launcher = find_launcher(os.environ)
        if launcher is None:
            return
        say(f"joining the other processes that {launcher} started{WHO_IS_LOST}")
    elif coordinator is None or num_processes is None or process_id is None:
        raise UserError(
            "give all of --coordinator=HOST:PORT, --num_processes=N and --process_id=I, or none of them where srun, "
            "mpirun or a TPU pod starts the processes"
        )
    else:
        _check_flags(coordinator, num_processes, process_id)
        say(f"process {process_id} of {num_processes} joins the others at {coordinator}{WHO_IS_LOST}")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=SECONDS_TO_LOSE,
            shutdown_timeout_seconds=SECONDS_TO_END,
        )
    except (RuntimeError, ValueError, OSError) as error:  # RuntimeError is what XLA's errors are.
        raise UserError(
            f"the other processes cannot be joined ({' '.join(str(error).split())}): start all of them, and give "
            "each --coordinator=HOST:PORT (of the first one, a free port), --num_processes=N and --process_id=I"
        ) from error
    _keep_standard_output()
    if not is_first():
        hush()


def wait_for_the_lost() -> None:
    """Wait before an error is said that not all processes know of: give JAX the time to abort, should another be lost.

    What a computation, or a file that all write, says when another process is gone names nobody.
    """
    if jax.distributed.is_initialized() and jax.process_count() > 1 and not _all_know.is_set():
        time.sleep(SECONDS_TO_LOSE + 5)


def _keep_standard_output() -> None:
    """Results stand there, but Gloo (JAX's collectives on CPU) writes to it whom it is connected to."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def find_launcher(environment: Mapping[str, str]) -> str | None:
    """Return the launcher that started several processes, if JAX can detect it; None for a plain process."""

    def number(name: str) -> int:
        return int(environment[name]) if environment.get(name, "").isdigit() else 1

    workers = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES", "")
    if number("SLURM_STEP_NUM_TASKS") > 1 and "SLURM_PROCID" in environment:
        return "srun"
    if number("OMPI_COMM_WORLD_SIZE") > 1:
        return "mpirun"
    if "," in workers or number("MEGASCALE_NUM_SLICES") > 1:
        return "the TPU pod"
    # JAX sets the first where it finds TPU chips; the second says that no metadata server knows of other hosts.
    if environment.get("TPU_ML_PLATFORM") == "JAX" and "TPU_SKIP_MDS_QUERY" not in environment and not workers:
        return "the TPU pod"
    return None


def _check_flags(coordinator: str, num_processes: int, process_id: int) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator={coordinator} must be HOST:PORT, such as node1:12345")
    if num_processes < 1:
        raise UserError(f"--num_processes={num_processes} must be at least 1")
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id={process_id} must be between 0 and {num_processes - 1}, as --num_processes={num_processes}"
        )


def is_first() -> bool:
    """Return whether this is the process that writes and speaks."""
    return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
    """Collect the value of every process, in their order; all have to call it.

    Args:
        value: what JSON can hold; with several processes tuples come back as lists.
    """
    if jax.process_count() == 1:
        return [value]
    client = distributed.global_state.client
    if client is None:
        raise UserError(
            f"JAX sees {jax.process_count()} processes, but nobody joined them: give each --coordinator=HOST:PORT, "
            "--num_processes=N and --process_id=I"
        )
    # Once all stand before round n, all have read round n-1, so it can go.
    number = next(_exchanges)
    room, own = f"fcn_jax/{number}/", f"{jax.process_index():06}"
    client.key_value_set(room + own, json.dumps(value))
    client.wait_at_barrier(f"fcn_jax/{number}", LONGEST_WAIT_MS)
    if number:
        client.key_value_delete(f"fcn_jax/{number - 1}/{own}")
    return [json.loads(text) for _, text in sorted(client.key_value_dir_get(room))]


@contextmanager
def together() -> Iterator[None]:
    """End all processes if one of them fails inside; they wait for each other at the end.

    A `UserError` of one is said once, by the first process. Any other error is raised where it arose, and the others
    exit with code 1. Nothing that only some processes may fail at stands inside before something that waits for all.
    """
    error = None
    try:
        yield
    except (Exception, SystemExit) as raised:  # The latter is how this ends the others, should it stand inside itself.
        if jax.process_count() == 1:
            raise
        error = raised
    if jax.process_count() == 1:
        return
    is_users = isinstance(error, UserError)
    text = str(error) if is_users else f"{type(error).__name__}: {error}"
    found = gather(None if error is None else [is_users, text])
    failed = next((number for number, finding in enumerate(found) if finding is not None), None)
    if failed is None:
        return
    _all_know.set()
    if error is not None and (is_first() or not is_users):
        raise error
    first_is_users, text = found[failed]
    if not is_first():
        raise SystemExit(2 if first_is_users else 1) from error
    if first_is_users:
        raise UserError(f"process {failed}: {text}")
    say(f"process {failed} ended with an error, which it shows itself: {text}")
    raise SystemExit(1)


@contextmanager
def by_first(make: Callable[[], AbstractContextManager[Context]]) -> Iterator[Context | None]:
    """A context that the first process alone enters; the others get None. What it refuses on entering ends all."""
    with ExitStack() as stack:
        entered = None
        with together():
            if is_first():
                entered = stack.enter_context(make())
        yield entered


SECONDS_TO_APPEAR = 60.0
"""Seconds until other hosts see what one has made; NFS remembers for so long that nothing was there."""


def check_shared(path: Path) -> None:
    """
    Raises:
        UserError: some process does not see what another has.
    """
    exists = any(gather(path.exists()))
    give_up = time.monotonic() + SECONDS_TO_APPEAR
    with together():
        while exists and not path.exists():
            if time.monotonic() > give_up:
                raise UserError(
                    f"there is no {path}, which another process has: --workdir must lie on a file system that all "
                    "hosts share"
                )
            time.sleep(0.1)
