"""Progress and the summary name what is counted: images and their pixels, or examples of signals and their samples."""

import jax
import pytest

from fcn_jax.core.step import Sums
from fcn_jax.data.loader import Loader, Step
from fcn_jax.train import log
from fcn_jax.train.log import Clock, Meter, describe, format_summary

OF_CLOCK = Clock(
    train_seconds=9.0, step_seconds=4.0, input_seconds=1.0, idle_seconds=0.25, examples=2000, true_positions=6_000_000
)
REST = {
    "loss": 0.1, "accuracy": 0.9, "count": 10, "train_seconds": 9.0, "fill": 0.9, "compile_count": 2,
    "compile_seconds": 3.0,
}  # fmt: skip
WORDS = {
    1: (500, "examples/s", 1.5, "true Msamples/s", "images_per_second"),
    2: (500, "images/s", 1.5, "true Mpx/s", "examples_per_second"),
}


@pytest.mark.parametrize("rank", WORDS)
def test_the_words_are_those_of_the_data(rank):
    examples, of_examples, positions, of_positions, foreign = WORDS[rank]
    speed = OF_CLOCK.speed(rank)
    assert foreign not in speed
    line = describe({**REST, **speed})
    assert f"  {examples} {of_examples}  {positions:.2f} {of_positions}  input wait 25.0%" in line
    assert f"trained in 9.0 s  at {examples} {of_examples}, 25.0% of it waiting" in format_summary({**REST, **speed})


def test_a_speed_is_that_since_another_reading():
    since = Clock(step_seconds=3.0, input_seconds=1.0, idle_seconds=0.0, examples=1000, true_positions=5_000_000)
    assert OF_CLOCK.speed(2, since=since) == {
        "images_per_second": 1000, "true_megapixels_per_second": 1.0, "input_wait": 0.0, "device_idle": 0.25,
    }  # fmt: skip


class FakeLoader(Loader):
    def __init__(self):
        self.seconds_waited = 0.0


def test_devices_are_idle_from_the_end_of_a_step_to_the_next_and_not_in_a_pause(monkeypatch):
    now = 0.0
    monkeypatch.setattr(log.time, "perf_counter", lambda: now)
    monkeypatch.setattr(log, "_when_ready", lambda sums: sums.loss)  # Here, the time at which a step is finished.
    monkeypatch.setattr(jax, "device_get", lambda sums: [Sums(1.0, 1.0, 1.0, 1.0) for _ in sums])
    meter, step = Meter(Clock(), FakeLoader(), rank=2), Step(0, 0, (), 1, 1)
    now = 1.0
    meter.add(step, Sums(2.0, 1.0, 1.0, 1.0))
    now = 2.5  # The input was late: half a second.
    meter.add(step, Sums(4.0, 1.0, 1.0, 1.0))
    now = 3.0  # It was sent before the device was done.
    meter.add(step, Sums(5.0, 1.0, 1.0, 1.0))
    now = 5.25
    meter.read(3)
    assert (meter.clock.idle_seconds, meter.clock.step_seconds) == (0.5, 5.25)
    with meter.pause():
        now = 9.0
    meter.add(step, Sums(9.5, 1.0, 1.0, 1.0))
    now = 9.75
    meter.add(step, Sums(10.0, 1.0, 1.0, 1.0))
    meter.read(5)
    assert meter.clock.idle_seconds == 0.75
    assert meter.clock.speed(2)["device_idle"] == 0.75 / 6.0
