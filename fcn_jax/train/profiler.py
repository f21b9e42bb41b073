"""A profile of some steps of a run, which TensorBoard and xprof show: what the host and the devices did, and when."""

from pathlib import Path

import jax

from fcn_jax.system.console import say

SKIPPED, PROFILED = 5, 5
"""Steps that are left out first, while buffers fill, and steps that are profiled."""


class Profiler:
    """Profiles steps `SKIPPED` + 1 to `SKIPPED` + `PROFILED` since the start of a run; use it as a context manager.

    Args:
        folder: folder for the profile; None: there is none.
    """

    def __init__(self, folder: Path | None):
        self._folder, self._steps, self._is_on = folder, 0, False

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def after_step(self) -> None:
        """Count a step that was sent to the device."""
        self._steps += 1
        if self._folder is not None and self._steps == SKIPPED:
            jax.profiler.start_trace(self._folder)
            self._is_on = True
        elif self._steps == SKIPPED + PROFILED:
            self._stop()

    def _stop(self) -> None:
        if self._is_on:
            self._is_on = False
            jax.effects_barrier()
            jax.profiler.stop_trace()
            say(f"a profile of {self._steps - SKIPPED} steps is in {self._folder}: tensorboard --logdir={self._folder}")
