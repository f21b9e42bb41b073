"""Runs whose steps are recorded, and that are stopped on their way, for what resumes them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fcn_jax.commands.train import train
from fcn_jax.config import Config
from fcn_jax.data.loader import Step
from fcn_jax.train.log import Meter


@contextmanager
def recorded(*, steps: float = math.inf) -> Iterator[list[Step]]:
    """All steps that are sent to the device inside; that many are done, and the next is interrupted."""
    add, seen = Meter.add, []

    def add_until(self, step, sums):
        seen.append(step)
        if len(seen) > steps:
            raise KeyboardInterrupt
        add(self, step, sums)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Meter, "add", add_until)
        yield seen


def train_until(config: Config, workdir: Path, *, steps: int) -> list[Step]:
    """Train that many steps and be interrupted in the next; returns all that were sent to the device."""
    with recorded(steps=steps) as seen, pytest.raises(KeyboardInterrupt):
        train(config, workdir)
    return seen
