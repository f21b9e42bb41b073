"""What a run achieves and what it costs: sums of the metrics since the last reading, seconds, examples, waiting."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import jax

from fcn_jax.cluster import gather
from fcn_jax.data.loader import Loader, Step
from fcn_jax.train.metrics import ZERO, Sums
from fcn_jax.train.not_finite import check_losses


@dataclass
class Clock:
    """Totals of a run, kept over resumes in its checkpoints."""

    train_seconds: float = 0.0
    """From the first step to the last, validation and saving included, compilation not."""
    step_seconds: float = 0.0
    """Of the training steps alone, waiting for input included."""
    input_seconds: float = 0.0
    """Of waiting for input."""
    examples: int = 0
    true_positions: int = 0

    def speed(self, since: "Clock | None" = None) -> dict[str, float]:
        """Throughput and the share of time spent waiting for input, from an earlier reading on."""
        since = since or Clock()
        seconds = max(self.step_seconds - since.step_seconds, 1e-9)
        return {
            "images_per_second": (self.examples - since.examples) / seconds,
            "true_megapixels_per_second": (self.true_positions - since.true_positions) / seconds / 1e6,
            "input_wait": (self.input_seconds - since.input_seconds) / seconds,
        }


class Meter:
    """Measures the steps of a loop, over all processes.

    Args:
        clock: totals so far, brought up to date at every reading.
        loader: whose waiting is counted.
    """

    def __init__(self, clock: Clock, loader: Loader):
        self.clock = clock
        self._loader = loader
        self._pending: list[Sums] = []
        self._then = time.perf_counter()
        self._last = replace(clock)
        self._examples = self._true_positions = 0

    def add(self, step: Step, sums: Sums) -> None:
        """Count a step that was just sent to the device.

        Waits for the step before it: the host stays one step ahead, no more, so that waiting for the loader is time
        the device lacked input.
        """
        if self._pending:
            jax.block_until_ready(self._pending[-1])
        self._pending.append(sums)
        self._examples += step.num_examples
        self._true_positions += step.true_positions

    def read(self, number: int) -> dict[str, float]:
        """Loss, accuracy and speed since the last reading.

        Args:
            number: of the last step, for the error.

        Raises:
            NotFiniteError: the first step whose loss is not finite.
        """
        sums = jax.device_get(self._pending)
        self._pending.clear()
        check_losses(sums, last=number)
        means = sum(sums, start=ZERO).means()
        self._add_to_clock(self._tick())
        speed = self.clock.speed(since=self._last)
        self._last = replace(self.clock)
        return {**means, **speed}

    def _add_to_clock(self, seconds: float) -> None:
        """What all processes have read, and the time of the slowest."""
        own = (self._examples, self._true_positions, seconds, self._loader.seconds_waited)
        examples, true_positions, seconds_of_each, waited = zip(*gather(own), strict=True)
        self.clock.examples += sum(examples)
        self.clock.true_positions += sum(true_positions)
        self.clock.step_seconds += max(seconds_of_each)
        self.clock.input_seconds += max(waited)
        self._examples = self._true_positions = 0
        self._loader.seconds_waited = 0.0

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave what happens inside out of the steps' time; read before."""
        yield
        self._tick()

    def _tick(self) -> float:
        """Seconds since the last tick, which count as training."""
        now = time.perf_counter()
        seconds, self._then = now - self._then, now
        self.clock.train_seconds += seconds
        return seconds


def describe(reading: dict[str, float]) -> str:
    """A reading for people."""
    return (
        f"loss {reading['loss']:.4f}  accuracy {reading['accuracy']:.4f}  "
        f"{reading['images_per_second']:,.0f} images/s  "
        f"{reading['true_megapixels_per_second']:.2f} true Mpx/s  input wait {reading['input_wait']:.1%}"
    )
