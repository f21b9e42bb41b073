"""A request to stop that reaches one of several processes stops all of them, after the same step."""

import jax
from jax.experimental.multihost_utils import reached_preemption_sync_point

from fcn_jax.train.stopping import StopRequest


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


def of_all(stop: StopRequest) -> StopRequest:
    """A request to this process, or, where there are several, to any of them: JAX then hears SIGTERM in its place."""
    return JointStopRequest() if jax.process_count() > 1 else stop
