"""Orbax's manager of checkpoints, but for two of its habits that a run cannot live with."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import orbax.checkpoint as ocp


class CheckpointManager(ocp.CheckpointManager):
    """Leaves it to the loop to ask whether the run has to stop, and is quiet where a checkpoint is damaged."""

    def reached_preemption(self, step: int) -> bool:
        """Never: JAX has processes agree on the next count, whosever it is, and the loop counts otherwise.

        A count of Orbax's, which are steps, would be past for the loop, which then would never stop.
        """
        del step
        return False

    def restore(self, *arguments: Any, **options: Any) -> Any:
        with _patient_loops():
            return super().restore(*arguments, **options)


class _PatientLoop(asyncio.SelectorEventLoop):
    """Where one read fails, Orbax closes its loop while others are on their way, and these would print tracebacks."""

    def close(self):
        if not self.is_closed() and (left := asyncio.all_tasks(self)):
            self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        super().close()


class _PatientLoops(asyncio.DefaultEventLoopPolicy):
    _loop_factory = _PatientLoop


@contextlib.contextmanager
def _patient_loops() -> Iterator[None]:
    """Inside, what is run runs in such loops."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_PatientLoops())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)
