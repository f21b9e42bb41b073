"""A monitor that counts the compilations of steps and allows planned ones only.

Every planned compilation runs inside `compiling(job)`. So the listener knows in any thread which job it belongs to. A
step that JAX compiles by itself, because it met another shape, belongs to none.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import jax

IN_MICRO_STEPS = ("no_gradients", "add_gradients", "apply_gradients")
STEP_FUNCTIONS = ("train_step", *IN_MICRO_STEPS, "evaluate_step", "moments_step")

TRIAL = object()
"""In place of a job: nothing will run the program, which is compiled only to see whether it fits. It is not counted."""

_in_this_thread = threading.local()


@contextmanager
def compiling(job: object) -> Iterator[None]:
    """Tell the monitors that what this thread compiles inside is the program of a job, or a `TRIAL`."""
    _in_this_thread.job = job
    try:
        yield
    finally:
        _in_this_thread.job = None


class CompileMonitor:
    """A listener for the compilations of steps that JAX reports; once it is sealed, an unplanned one is an error."""

    def __init__(self):
        self._compiled: list[tuple[str, object]] = []
        self._planned: frozenset[int] | None = None

    @property
    def count(self) -> int:
        """Number of compilations so far."""
        return len(self._compiled)

    def seal(self, jobs: Sequence[object]) -> None:
        """Forbid all compilations but those of `jobs`, from now on; check that there was no other one so far."""
        self._planned = frozenset(map(id, jobs))
        for name, job in self._compiled:
            self._check(name, job)

    def check_complete(self) -> None:
        """Check that every planned program was compiled, and none of them twice."""
        planned = len(self._planned or ())
        assert self.count == planned, f"{self.count} compilations of {planned} programs"

    def __call__(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        name = str(kwargs.get("fun_name", ""))
        if event != "/jax/core/compile/backend_compile_duration" or not _is_step(name):
            return
        job = getattr(_in_this_thread, "job", None)
        if job is TRIAL:
            return
        self._compiled.append((name, job))
        self._check(name, job)

    def _check(self, name: str, job: object) -> None:
        assert self._planned is None or id(job) in self._planned, (
            f"{name} was compiled, but this was not planned: the programs of a run are all known before step 0"
        )


def _is_step(name: str) -> bool:
    return re.sub(r"^jit\((.*)\)$", r"\1", name) in STEP_FUNCTIONS


@contextmanager
def monitoring_compilation() -> Iterator[CompileMonitor]:
    """Yield a `CompileMonitor` that listens until the end of the block."""
    monitor = CompileMonitor()
    jax.monitoring.register_event_duration_secs_listener(monitor)
    try:
        yield monitor
    finally:
        jax.monitoring.unregister_event_duration_listener(monitor)
