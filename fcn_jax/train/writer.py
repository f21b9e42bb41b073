"""What a run says of itself: metrics.jsonl is the truth, TensorBoard stands beside it."""

import json
import os
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore

from fcn_jax.disk import writing
from fcn_jax.json_text import parse_json


class MetricsWriter:
    """Appends a line a log step and an evaluation; use it as a context manager.

    TensorBoard's events are written here and now: with tensorboardX's thread, a full disk would end the thread and
    leave the run waiting for it.

    Args:
        workdir: of the run.
        step: where the run goes on; later lines and the final test are cut away, so that each step stands once.
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
        """Whether there is a line of the validation after that step."""
        return step in self._validated

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """One line.

        Args:
            step: updates done.
            kind: `train`, `validation` or `test`.
        """
        with writing(self._path), self._path.open("a") as file:
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
    """The lines of a metrics.jsonl; a last line cut off by a kill is left out."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(parse_json(line))
        except ValueError:
            break
    return rows


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """The file holds the old text or the new, whatever happens in between."""
    temporary = path.with_name(f".{path.name}.new")
    with writing(path):
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
