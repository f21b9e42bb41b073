"""Steps, epochs and learning rates of a run come from its readings as its stages have them."""

import numpy as np
import pytest

from fcn_jax.config import TrainConfig
from fcn_jax.reports.run_files import ReadingRecord
from fcn_jax.reports.run_plots import Timeline


def readings(*points: tuple[int, float]) -> list[ReadingRecord]:
    """Make readings from pairs (step, epoch)."""
    return [ReadingRecord(step, epoch, 1.0, 0.5, 100.0, 1.0, 0.0, 0.0) for step, epoch in points]


STAGED = TrainConfig(epochs=4, stage_scales=(0.5, 1.0), warmup_epochs=1.0)
"""Two epochs of 4 steps, then two of 8."""


def test_epochs_lie_between_readings():
    time = Timeline(readings((4, 1.0), (8, 2.0), (12, 2.5)), STAGED)
    np.testing.assert_allclose(time.epochs_at([2, 8, 10]), [0.5, 2.0, 2.25])


@pytest.mark.parametrize(
    ("points", "config", "total"),
    [
        (((3, 0.75),), TrainConfig(epochs=5), 20),
        (((4, 1.0), (8, 2.0)), STAGED, None),
        (((4, 1.0), (8, 2.0), (12, 2.5)), STAGED, 24),
        (((4, 1.0), (8, 2.0), (24, 4.0)), STAGED, 24),
        (((24, 4.0),), None, None),
    ],
)
def test_all_steps_are_known_from_the_last_stage_on(points, config, total):
    time = Timeline(readings(*points), config)
    assert time.total_steps == total
    assert (time.learning_rates() is None) == (total is None)


def test_the_rate_rises_over_the_warm_up_and_ends_at_0():
    found = Timeline(readings((4, 1.0), (8, 2.0), (12, 2.5)), STAGED).learning_rates()
    assert found is not None
    epochs, rates = found
    assert (epochs[0], epochs[-1], rates[0], rates[-1]) == (0, 4, 0, 0)
    assert epochs[np.argmax(rates)] == STAGED.warmup_epochs
    assert rates.max() == pytest.approx(STAGED.learning_rate)
    assert rates[epochs == 0.5] == pytest.approx(STAGED.learning_rate / 2)
