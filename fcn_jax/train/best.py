"""The best state of a run by a metric of its validations, kept in `best/` of the workdir beside the newest states.

It is saved before its validation is logged. So a run that breaks in between validates there again, and nothing is lost.
A run with `train.patience` ends when so many epochs have brought nothing better.
"""

import math
from pathlib import Path
from typing import Any

from fcn_jax.config import Config, UserError
from fcn_jax.core.step import TrainState
from fcn_jax.system.console import say
from fcn_jax.train.checkpoint import BEST, Checkpoints

LOWER_IS_BETTER = ("loss",)
POSITION = "best"
"""The key of a checkpoint's position that holds metric, value and epoch."""


class Best:
    """The best state so far; use it as a context manager. Without `checkpoint.best` in the config it does nothing.

    Attributes:
        value, epoch: the metric's best value, and the epoch whose end it was measured at; None before the first.
    """

    def __init__(self, workdir: Path, config: Config):
        self.metric, self._patience = config.checkpoint.best, config.train.patience
        self._every = config.train.evaluate_every_epochs
        self.value: float | None = None
        self.epoch: float | None = None
        self._checkpoints = Checkpoints(workdir / BEST, keep=1) if self.metric else None

    def __enter__(self) -> "Best":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._checkpoints is not None:
            self._checkpoints.__exit__(*error)

    def restore(self, target: TrainState) -> TrainState | None:
        """Restore the best state, its value and its epoch; return None if there is none, or if it is damaged."""
        if self._checkpoints is None:
            return None
        try:
            restored = self._checkpoints.restore_newest(target)
        except UserError as error:
            say(f"WARNING: {error}; until then the best of the validations that follow counts")
            return None
        if restored is None:
            return None
        found = restored.position[POSITION]
        self.value, self.epoch = found["value"], found["epoch"]
        return restored.state

    def forget(self) -> None:
        """Delete what an earlier run kept, since a run begins anew."""
        if self._checkpoints is not None:
            self._checkpoints.delete_all()

    def consider(self, step: int, epoch: float, means: dict[str, float], state: TrainState, position: Any) -> bool:
        """Keep a state that was just validated if it is better than all before; return whether it is.

        Args:
            means: {metric: value} of the validation.
            position: the position that a checkpoint of this step has.
        """
        is_known = self.epoch is not None and epoch <= self.epoch  # The run went back to a checkpoint before the best.
        if self._checkpoints is None or is_known or not self._is_better(means.get(self.metric, math.nan)):
            return False
        self.value, self.epoch = means[self.metric], epoch
        found = {"metric": self.metric, "value": self.value, "epoch": self.epoch}
        self._checkpoints.save(step, state, {**position, POSITION: found})
        return True

    def _is_better(self, value: float) -> bool:
        if self.value is None:
            return value == value  # A value that is not a number is no best one.
        return value < self.value if self.metric in LOWER_IS_BETTER else value > self.value

    def is_over(self, epoch: float) -> bool:
        """Return whether the validations up to an epoch have brought nothing better for `train.patience` epochs."""
        if not self._patience or self.epoch is None:
            return False
        return epoch // self._every * self._every - self.epoch >= self._patience

    def describe(self) -> str:
        """Return a line that says which state is the best; empty if there is none."""
        if self.epoch is None or self.value is None:
            return ""
        return f"best validation {self.metric} {self.value:.4f}, after epoch {self.epoch:g}"

    def summary(self) -> dict[str, Any]:
        """Return what summary.json says of the best state."""
        return {} if self.epoch is None else {f"best_{self.metric}": self.value, "best_epoch": self.epoch}
