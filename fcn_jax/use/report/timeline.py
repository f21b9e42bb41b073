"""Steps and epochs of a run, and its learning rate, from its config and its readings alone.

Every end of an epoch is read, and between two of them steps are even, so that interpolation is exact.
"""

from collections.abc import Sequence
from functools import cached_property

import jax
import numpy as np
from jaxtyping import Float, Int

from fcn_jax.config import TrainConfig
from fcn_jax.data.course import scale_of_epochs
from fcn_jax.train.optimizer import learning_rate_schedule
from fcn_jax.use.report.records import Reading

MOST_POINTS = 400


class Timeline:
    """The time of a run with at least one reading.

    Args:
        config: None: not known.
    """

    def __init__(self, readings: Sequence[Reading], config: TrainConfig | None):
        self._config = config
        self._steps = np.array([0, *(reading.step for reading in readings)], np.int64)
        self._epochs = np.array([0.0, *(reading.epoch for reading in readings)])

    def epochs_at(self, steps: Sequence[int]) -> Float[np.ndarray, " n"]:
        """Epochs behind some steps."""
        return np.interp(np.array(steps, np.int64), self._steps, self._epochs)

    @cached_property
    def stage_starts(self) -> list[int]:
        """The epochs after which the second stage and those behind it begin."""
        return [epochs.start for epochs, _ in scale_of_epochs(self._config)[1:]] if self._config else []

    @cached_property
    def total_steps(self) -> int | None:
        """Of the whole run; None while it cannot be known, since a later stage may have other steps an epoch."""
        last_stage = self.stage_starts[-1] if self.stage_starts else 0
        if self._config is None or self._epochs[-1] <= last_stage:
            return None
        done = self._steps[-1] - np.interp(last_stage, self._epochs, self._steps)
        steps_per_epoch = done / (self._epochs[-1] - last_stage)
        return round(self._steps[-1] + (self._config.epochs - self._epochs[-1]) * steps_per_epoch)

    def learning_rates(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]] | None:
        """(epochs, learning rates after them) of the whole run, or None while they cannot be known."""
        if self._config is None or self.total_steps is None:
            return None
        steps, epochs = self._whole(self.total_steps, self._config.epochs)
        warmup_steps = round(float(np.interp(self._config.warmup_epochs, epochs, steps)))
        rate = learning_rate_schedule(self._config, warmup_steps=warmup_steps, total_steps=self.total_steps)
        points = np.unique(np.linspace(0, self.total_steps, MOST_POINTS).round())
        # The accelerators of this machine may be busy with the very run that is reported.
        jax.config.update("jax_platforms", "cpu")
        return np.interp(points, steps, epochs), np.asarray(rate(points), np.float64)

    def _whole(self, total_steps: int, num_epochs: int) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """(steps, epochs) up to the end of the run."""
        return np.append(self._steps, total_steps), np.append(self._epochs, float(num_epochs))
