"""A run that is stopped on its way, for what resumes it."""

from pathlib import Path

import pytest

from fcn_jax.config import Config
from fcn_jax.data.loader import Step
from fcn_jax.train.loop import train
from fcn_jax.train.meter import Meter


def train_until(config: Config, workdir: Path, *, steps: int) -> list[Step]:
    """Train that many steps and be interrupted in the next; returns all that were sent to the device."""
    add, seen = Meter.add, []

    def add_until(self, step, sums):
        seen.append(step)
        if len(seen) > steps:
            raise KeyboardInterrupt
        add(self, step, sums)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Meter, "add", add_until)
        with pytest.raises(KeyboardInterrupt):
            train(config, workdir)
    return seen
