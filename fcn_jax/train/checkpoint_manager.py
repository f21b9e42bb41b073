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
        with _forgiving_loops():
            return super().restore(*arguments, **options)


class _ForgivingLoop(asyncio.SelectorEventLoop):
    """Where one read fails, Orbax closes its loop while others are on their way; these say nothing when they arrive."""

    def call_soon_threadsafe(self, callback, *args, context=None):
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        except RuntimeError:  # It is closed.
            return asyncio.Handle(callback, args, self, context)

    def call_exception_handler(self, context):
        """Nor do those that fail after the first, which is the one that is told."""


class _ForgivingLoops(asyncio.DefaultEventLoopPolicy):
    _loop_factory = _ForgivingLoop


@contextlib.contextmanager
def _forgiving_loops() -> Iterator[None]:
    """Inside, what is run runs in such loops."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_ForgivingLoops())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)
