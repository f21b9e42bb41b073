"""The metrics of a run: they are written to metrics.jsonl, which is authoritative, and copied to TensorBoard."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore

from fcn_jax.core.step import ZERO, Sums, TrainState
from fcn_jax.data.loader import Loader, Step
from fcn_jax.system.disk import parse_json, reading, write_atomically, writing
from fcn_jax.system.processes import gather


class MetricsWriter:
    """A writer of one line for each log step and each evaluation; use it as a context manager.

    TensorBoard's events are written in the calling thread. With tensorboardX's own thread, a full disk would end that
    thread, and the run would wait for it for ever.

    Args:
        workdir: workdir of the run.
        step: updates done when the run goes on. Later lines and those of the test are deleted, so that each step is
            logged once.
    """

    def __init__(self, workdir: Path, *, step: int):
        self.workdir = workdir
        self._path, self._validated = workdir / "metrics.jsonl", set()
        if self._path.exists():
            kept = [row for row in read_metrics(self._path) if row["step"] <= step and row["kind"] != "test"]
            write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in kept))
            self._validated = {row["step"] for row in kept if row["kind"] == "validation"}
        self._events_path = workdir / "tensorboard"
        with writing(self._events_path):
            self._events_path.mkdir(exist_ok=True)
            self._events = EventsWriter(str(self._events_path / "events"), f".{step}")
        self._add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))  # Hides later steps.

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_) -> None:
        with writing(self._events_path):
            self._events.close()

    def has_validation(self, step: int) -> bool:
        """Return whether the validation after that step is already logged."""
        return step in self._validated

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Write one line.

        Args:
            step: number of updates done.
            kind: `train`, `validation` or `test`.
        """
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        if kind == "validation":
            self._validated.add(step)
        scalars = [Summary.Value(tag=f"{kind}/{name}", simple_value=value) for name, value in values.items()]
        self._add_event(Event(step=step, summary=Summary(value=scalars)))

    def _add_event(self, event: Event) -> None:
        event.wall_time = time.time()
        with writing(self._events_path):
            self._events.write_event(event)
            self._events.flush()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics.jsonl, up to the first damaged one: a kill may cut off the last line."""
    rows = []
    with reading(path):
        text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        try:
            rows.append(parse_json(line))
        except ValueError:
            break
    return rows


class NotFiniteError(ArithmeticError):
    """A step whose loss or updated state is not finite.

    Args:
        step: number of the step, from 1.
        what: description of what is not finite.
    """

    def __init__(self, step: int, what: str):
        super().__init__(f"{what} at step {step}")
        self.step, self.what = step, what


def check_losses(sums: Sequence[Sums], *, last: int) -> None:
    """Check that the losses of consecutive steps are finite.

    Args:
        sums: sums of each step, the last of which is step `last`.

    Raises:
        NotFiniteError: a loss is not finite; the error names the first such step.
    """
    for step, of_step in enumerate(sums, start=last - len(sums) + 1):
        if not math.isfinite(of_step.loss):
            raise NotFiniteError(step, f"the loss is {of_step.loss}")


def check_state(state: TrainState, *, step: int) -> None:
    """Check that the state after a step is finite; the loss would show an error only one step later.

    Raises:
        NotFiniteError: a parameter or statistic is not finite; the error names the first one.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path((state.params, state.stats)):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(np.asarray(leaf)).all():
            name = "/".join(str(key.key) for key in path[1:])
            raise NotFiniteError(step, f"{name} is not finite after the update")


class SpeedNames(NamedTuple):
    """The names of the speeds of a run: in metrics.jsonl and summary.json, and in words."""

    examples: str
    positions: str
    """Millions of true positions a second."""
    examples_in_words: str
    positions_in_words: str


SPEED_NAMES = {
    1: SpeedNames("examples_per_second", "true_megasamples_per_second", "examples/s", "true Msamples/s"),
    2: SpeedNames("images_per_second", "true_megapixels_per_second", "images/s", "true Mpx/s"),
}
"""{rank: names} for signals (1) and images (2). A sample of a signal is one moment of it, with all its channels."""


def speed_names_in(values: Mapping[str, Any]) -> SpeedNames | None:
    """Return the names that the speeds have in a reading or summary; None if it has no speeds."""
    return next((names for names in SPEED_NAMES.values() if names.examples in values), None)


@dataclass
class Clock:
    """Totals of a run, kept over resumes in its checkpoints."""

    train_seconds: float = 0.0
    """Seconds from the first step to the last, including validation and saving, but not compilation."""
    step_seconds: float = 0.0
    """Seconds spent in training steps, waiting for input included."""
    input_seconds: float = 0.0
    """Seconds spent waiting for input."""
    idle_seconds: float = 0.0
    """Seconds in which the devices had finished a step, and had not been sent the next one."""
    examples: int = 0
    true_positions: int = 0

    def speed(self, rank: int, *, since: "Clock | None" = None) -> dict[str, float]:
        """Return the speeds and the shares of time spent waiting, since `since` or over the whole run.

        Args:
            rank: 1 for signals, 2 for images.
        """
        since, names = since or Clock(), SPEED_NAMES[rank]
        seconds = max(self.step_seconds - since.step_seconds, 1e-9)
        return {
            names.examples: (self.examples - since.examples) / seconds,
            names.positions: (self.true_positions - since.true_positions) / seconds / 1e6,
            "input_wait": (self.input_seconds - since.input_seconds) / seconds,
            "device_idle": (self.idle_seconds - since.idle_seconds) / seconds,
        }


class Meter:
    """A meter of the steps of a loop, over all processes.

    Args:
        clock: totals so far; every reading updates them.
        loader: the loader whose waiting time is counted.
        rank: 1 for signals, 2 for images.
    """

    def __init__(self, clock: Clock, loader: Loader, *, rank: int):
        self.clock, self._rank = clock, rank
        self._loader = loader
        self._pending: list[Sums] = []
        self._then = time.perf_counter()
        self._last = replace(clock)
        self._examples = self._true_positions = 0
        self._watcher = ThreadPoolExecutor(1, thread_name_prefix="meter")
        self._sent: Future[float] | None = None
        """The time at which the step that was sent last will be finished."""
        self._idle = 0.0

    def add(self, step: Step, sums: Sums) -> None:
        """Count a step that was just sent to the device, and wait for the step before it.

        So the host is at most one step ahead, and the time spent waiting for the loader is time in which the device
        lacks input.
        """
        now = time.perf_counter()
        if self._sent is not None:
            self._idle += max(0.0, now - self._sent.result())
        self._sent = self._watcher.submit(_when_ready, sums)
        self._pending.append(sums)
        self._examples += step.num_examples
        self._true_positions += step.true_positions

    def read(self, number: int) -> dict[str, float]:
        """Return loss, accuracy and speed since the last reading.

        Args:
            number: number of the last step, for the error message.

        Raises:
            NotFiniteError: a loss is not finite; the error names the first such step.
        """
        sums = jax.device_get(self._pending)
        self._pending.clear()
        check_losses(sums, last=number)
        means = sum(sums, start=ZERO).means()
        self._add_to_clock(self._tick())
        speed = self.clock.speed(self._rank, since=self._last)
        self._last = replace(self.clock)
        return {**means, **speed}

    def _add_to_clock(self, seconds: float) -> None:
        """Add the examples and positions of all processes, and the times of the slowest process."""
        own = (self._examples, self._true_positions, seconds, self._loader.seconds_waited, self._idle)
        examples, true_positions, seconds_of_each, waited, idle = zip(*gather(own), strict=True)
        self.clock.examples += sum(examples)
        self.clock.true_positions += sum(true_positions)
        self.clock.step_seconds += max(seconds_of_each)
        self.clock.input_seconds += max(waited)
        self.clock.idle_seconds += max(idle)
        self._examples, self._true_positions, self._idle = 0, 0, 0.0
        self._loader.seconds_waited = 0.0

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave the time spent inside out of `step_seconds`; call `read` just before."""
        yield
        self._tick()
        self._sent = None  # What the devices did meanwhile is no step.

    @contextmanager
    def leave_out(self) -> Iterator[None]:
        """Leave the time spent inside out of all totals."""
        began = time.perf_counter()
        yield
        self._then += time.perf_counter() - began
        self._sent = None

    def _tick(self) -> float:
        """Return the seconds since the last tick and add them to `train_seconds`."""
        now = time.perf_counter()
        seconds, self._then = now - self._then, now
        self.clock.train_seconds += seconds
        return seconds


def _when_ready(sums: Sums) -> float:
    """Wait until the devices have computed a step; return the time on the clock of `time.perf_counter`."""
    jax.block_until_ready(sums)
    return time.perf_counter()


MORE_METRICS = {"mean_average_precision": "mean average precision", "micro_f1": "micro F1"}
"""The metrics of several labels, and their names in words."""


def describe_means(means: Mapping[str, float]) -> str:
    """Return the result of an evaluation as text."""
    more = "".join(f"  {words} {means[name]:.4f}" for name, words in MORE_METRICS.items() if name in means)
    return f"accuracy {means['accuracy']:.4f}  loss {means['loss']:.4f}{more}"


def describe(reading: dict[str, float]) -> str:
    """Return a reading as one line of text."""
    names = speed_names_in(reading)
    assert names is not None
    return (
        f"loss {reading['loss']:.4f}  accuracy {reading['accuracy']:.4f}  "
        f"{reading[names.examples]:,.0f} {names.examples_in_words}  "
        f"{reading[names.positions]:.2f} {names.positions_in_words}  input wait {reading['input_wait']:.1%}"
    )


def format_summary(summary: dict[str, Any]) -> str:
    """Return the summary of a run as text."""
    names = speed_names_in(summary)
    assert names is not None
    return (
        f"test {describe_means(summary)}  over {summary['count']:,} examples\n"
        f"trained in {summary['train_seconds']:.1f} s  at {summary[names.examples]:,.0f} {names.examples_in_words}, "
        f"{summary['input_wait']:.1%} of it waiting for input, fill {summary['fill']:.3f}; "
        f"{summary['compile_count']} programs compiled in {summary['compile_seconds']:.1f} s"
    )
