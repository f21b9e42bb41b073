"""A request to stop that reaches one of several processes stops all of them, after the same step."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.experimental.multihost_utils import reached_preemption_sync_point

from fcn_jax.train.stopping import StopRequest, stop_on_sigterm


class JointStopRequest(StopRequest):
    """Of several processes: JAX hears SIGTERM in each and has them agree on one of the times that all ask."""

    def __init__(self):
        super().__init__()
        self._asked, self._agreed = 0, False

    @property
    def requested(self) -> bool:
        if not self._agreed:
            self._asked += 1
            self._agreed = reached_preemption_sync_point(self._asked)
        return self._agreed


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """What SIGTERM makes, to this process or to any that it works with; for the main thread."""
    if jax.process_count() > 1:
        yield JointStopRequest()
    else:
        with stop_on_sigterm() as stop:
            yield stop
