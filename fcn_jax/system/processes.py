"""Several processes that run as one program: how they find each other, agree, and choose which one prints.

JAX joins the processes (`jax.distributed`) and computes over the devices of all. Everything that is not an array (an
error, a config, names of bad examples, answers) is exchanged as JSON through JAX's coordinator. All processes do the
same work in the same order. Only the first one writes files and prints messages. A single process pays nothing for
this.
"""

import itertools
import json
import os
import sys
import threading
import time
from collections import Counter
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
"""Seconds that all processes have to end, once the first one has ended."""
SECONDS_TO_LOSE = 20
"""Seconds without a heartbeat after which JAX treats a process as lost."""
WHO_IS_LOST = "; if one is lost, JAX ends all and says its number; if it says none, process 0 is lost"
LONGEST_WAIT_MS = 24 * 3600 * 1000
"""Longest wait for a living process, in milliseconds; a slow disk is no reason to give up."""

_exchanges = itertools.count()
_all_know = threading.Event()
"""An event that is set once all processes know of an error."""


def join_cluster(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the other processes of this command; a process that was started alone stays alone.

    Call this before JAX looks at a device.

    When a process is killed, or stopped for `SECONDS_TO_LOSE`, JAX aborts the others a few seconds later: many lines on
    standard error, and exit code 134 (SIGABRT). The number of the lost process stands below "The following tasks are
    unhealthy". JAX's coordinator is in process 0. If process 0 is lost, JAX aborts the others with "Failed to send RPC
    to coordination service" or "RPC: /xla.coordination.CoordinationService/Heartbeat", and names no process. No code of
    this package runs in an abort, so `WHO_IS_LOST` is printed beforehand. If all processes are stopped together for as
    long, they are lost too.

    Args:
        coordinator: host:port of the first process. Give all three arguments, or none to detect a launcher.

    Raises:
        UserError: some arguments are missing or wrong, or the other processes cannot be reached.
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
    except (RuntimeError, ValueError, OSError) as error:  # XLA's errors are RuntimeErrors.
        raise UserError(
            f"the other processes cannot be joined ({' '.join(str(error).split())}): start all of them, and give "
            "each --coordinator=HOST:PORT (of the first one, a free port), --num_processes=N and --process_id=I"
        ) from error
    _keep_standard_output()
    if not is_first():
        hush()


def wait_for_the_lost() -> None:
    """Give JAX time to abort, before this process prints an error that not all processes know of.

    If another process is lost, computations and shared files fail here too, with errors that do not name it. JAX's
    abort does.
    """
    if jax.distributed.is_initialized() and jax.process_count() > 1 and not _all_know.is_set():
        time.sleep(SECONDS_TO_LOSE + 5)


def _keep_standard_output() -> None:
    """Keep standard output for results: Gloo (JAX's collectives on CPU) would print its connections there."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def find_launcher(environment: Mapping[str, str]) -> str | None:
    """Return the name of the launcher that started several processes, as JAX detects it; None for a process alone."""

    def number(name: str) -> int:
        return int(environment[name]) if environment.get(name, "").isdigit() else 1

    workers = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES", "")
    if number("SLURM_STEP_NUM_TASKS") > 1 and "SLURM_PROCID" in environment:
        return "srun"
    if number("OMPI_COMM_WORLD_SIZE") > 1:
        return "mpirun"
    if "," in workers or number("MEGASCALE_NUM_SLICES") > 1:
        return "the TPU pod"
    # JAX sets the first variable where it finds TPU chips. The second means: do not ask the metadata server for hosts.
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
    """Return whether this is the process that writes files and prints messages."""
    return jax.process_index() == 0


def check_devices() -> None:
    """Check that every process has equally many devices: JAX, and so Orbax, gathers arrays only of such processes.

    Raises:
        UserError: they have not.
    """
    number = Counter(device.process_index for device in jax.devices())
    if len(set(number.values())) > 1:
        found = ", ".join(f"process {process} has {devices}" for process, devices in sorted(number.items()))
        raise UserError(
            f"all processes must have equally many devices, but {found}: let each see as many as the one with the "
            "fewest, with CUDA_VISIBLE_DEVICES for instance"
        )


def gather(value: Any) -> list[Any]:
    """Return the values of all processes, in the order of the processes; every process must call it.

    Args:
        value: any JSON value; with several processes, tuples come back as lists.
    """
    if jax.process_count() == 1:
        return [value]
    client = distributed.global_state.client
    if client is None:
        raise UserError(
            f"JAX sees {jax.process_count()} processes, but nobody joined them: give each --coordinator=HOST:PORT, "
            "--num_processes=N and --process_id=I"
        )
    # Once all processes have reached round n, all have read round n-1, so its values can be deleted.
    number = next(_exchanges)
    room, own = f"fcn_jax/{number}/", f"{jax.process_index():06}"
    client.key_value_set(room + own, json.dumps(value))
    client.wait_at_barrier(f"fcn_jax/{number}", LONGEST_WAIT_MS)
    if number:
        client.key_value_delete(f"fcn_jax/{number - 1}/{own}")
    return [json.loads(text) for _, text in sorted(client.key_value_dir_get(room))]


@contextmanager
def together() -> Iterator[None]:
    """End all processes if one of them fails inside; the processes wait for each other at the end.

    The first process prints a `UserError` of any process, once. Any other error is raised in its own process, and the
    others exit with code 1. Inside, do not put a call that waits for all processes after code that may fail in only
    some of them: the others would wait for ever.
    """
    error = None
    try:
        yield
    except (Exception, SystemExit) as raised:  # A nested `together` ends the others by SystemExit.
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
    """Enter a context in the first process only; the others get None. An error on entering ends all processes."""
    with ExitStack() as stack:
        entered = None
        with together():
            if is_first():
                entered = stack.enter_context(make())
        yield entered


SECONDS_TO_APPEAR = 60.0
"""Longest wait until a host sees what another host made: NFS caches for so long that a path does not exist."""


def check_shared(path: Path) -> None:
    """Check that every process sees a path, if any process does.

    Raises:
        UserError: a process does not see a path that another process sees.
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
