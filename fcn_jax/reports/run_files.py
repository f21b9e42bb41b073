"""The files of a workdir, read for its report. A damaged or missing file is named, and the others are still used.

Reading needs no data, no checkpoint and no device. A run may still write while its files are read.
"""

import dataclasses
import fcntl
import typing
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fcn_jax.config import Config, UserError
from fcn_jax.core.buckets import BucketPlan
from fcn_jax.nets.families import config_from_json
from fcn_jax.reports.size_and_class import SizeAndClass
from fcn_jax.system.disk import parse_json
from fcn_jax.train.log import SPEED_NAMES, SpeedNames, speed_names_in

Record = TypeVar("Record")


@dataclass(frozen=True)
class ReadingRecord:
    """A log step of training: means over the steps since the log step before."""

    step: int
    epoch: float
    loss: float
    accuracy: float
    examples_per_second: float
    megapositions_per_second: float
    """Millions of true pixels (of images) or samples (of signals)."""
    input_wait: float
    device_idle: float


@dataclass(frozen=True)
class EvaluationRecord:
    """An evaluation of a whole split after a training step."""

    step: int
    loss: float
    accuracy: float
    """Where examples may have several labels, the share of those whose labels are all right."""
    count: int
    mean_average_precision: float | None = None
    """None if examples have one label each, or none has any."""
    micro_f1: float | None = None


@dataclass(frozen=True)
class ProgramRecord:
    """A row of compile.json."""

    program: str
    blocks: str
    seconds: float
    peak_mib: float
    gflop: float

    def __post_init__(self):
        if not self.rows:
            raise UserError(f"{self.program} has no blocks")

    @property
    def rows(self) -> dict[str, int]:
        """The rows of all blocks of a canvas: {canvas: rows}. Micro-steps have several blocks of it."""
        found: Counter[str] = Counter()
        for block in filter(None, self.blocks.split("  ")):
            rows, _, canvas = block.partition(" × ")
            found[canvas] += int(rows)
        return dict(found)


@dataclass(frozen=True)
class Mix:
    """How far the mix of sizes in a step is from the data's: mean total variation distances, from 0 to 1."""

    variation: float
    variation_of_farthest_program: float
    variation_of_shuffled_steps: float


@dataclass(frozen=True)
class Summary:
    """The content of summary.json."""

    loss: float
    accuracy: float
    count: int
    examples_per_second: float
    megapositions_per_second: float
    """Millions of true pixels (of images) or samples (of signals)."""
    input_wait: float
    device_idle: float
    plan_fill: float
    filler_share: float
    fill: float
    train_seconds: float
    parameters: int
    compile_seconds: float
    versions: dict[str, str]
    device: str
    git_commit: str
    """Empty if it is not known."""
    size_tells: SizeAndClass | None
    """None if it is not known."""
    mix: Mix | None
    """None if it is not known."""


@dataclass(frozen=True)
class BadExample:
    """A line of bad_examples.jsonl."""

    split: str
    name: str
    reason: str


def record(kind: type[Record], values: Any, *, what: str) -> Record:
    """Return a record made of parsed JSON.

    Args:
        what: the name of the record in errors.

    Raises:
        UserError: the values are no object, or a field is missing or has another type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{what} is no JSON object")
    found = {}
    optional = {item.name for item in dataclasses.fields(kind) if item.default is not dataclasses.MISSING}  # pyright: ignore[reportArgumentType]
    for name, hint in typing.get_type_hints(kind).items():
        if name not in values and name in optional:
            continue
        if name not in values:
            raise UserError(f"{what} has no {name}")
        value = values[name]
        accepted = (int, float) if hint is float else dict if typing.get_origin(hint) is dict else hint
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise UserError(f"{what} has {value!r} as {name}")
        found[name] = value
    return kind(**found)


def read_programs(path: Path) -> list[ProgramRecord]:
    """Read compile.json."""
    rows = parse_json(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list):
        raise UserError("it is no JSON list")
    return [record(ProgramRecord, row, what=f"row {number}") for number, row in enumerate(rows, start=1)]


def read_summary(path: Path) -> Summary:
    """Read summary.json."""
    values = parse_json(path.read_text(encoding="utf-8"))
    if isinstance(values, dict):
        values = with_speeds(values) | {"git_commit": values.get("git_commit") or "", "size_tells": None, "mix": None}
        if "size_accuracy" in values:
            values["size_tells"] = record(SizeAndClass, values, what="it")
        if "variation" in values:
            values["mix"] = record(Mix, values, what="it")
    return record(Summary, values, what="it")


def with_speeds(values: dict[str, Any]) -> dict[str, Any]:
    """Return a reading or a summary whose speeds have the same names for images and for signals."""
    names = speed_names_in(values)
    if names is None or names.positions not in values:
        return values
    speeds = {
        "examples_per_second": values[names.examples],
        "megapositions_per_second": values[names.positions],
    }
    return values | speeds


Value = TypeVar("Value")
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Metrics:
    """The lines of metrics.jsonl, by kind."""

    readings: list[ReadingRecord] = field(default_factory=list)
    validations: list[EvaluationRecord] = field(default_factory=list)
    tests: list[EvaluationRecord] = field(default_factory=list)


@dataclass(frozen=True)
class RunFiles:
    """The content of a workdir, as far as it could be read."""

    workdir: Path
    config: Config | None
    plan: BucketPlan | None
    plan_png: bytes
    programs: list[ProgramRecord]
    metrics: Metrics
    summary: Summary | None
    bad: list[BadExample]
    checkpoints: list[int]
    """Steps of the checkpoints that are kept."""
    num_starts: int
    """Number of times that training was started or resumed; 0: not known."""
    is_live: bool
    """True if a process on this machine is training in this workdir."""
    written: datetime | None
    """Time (UTC) of the last log line."""
    problems: list[str]
    """One sentence for every file that is missing or damaged."""

    @property
    def is_finished(self) -> bool:
        """Return whether the run has a result.

        A run that was started again from step 0 still has the summary of the run before it, but no test evaluation.
        """
        return self.summary is not None and (bool(self.metrics.tests) or not self.metrics.readings)

    @property
    def rank(self) -> int:
        """1 for signals, 2 for images."""
        return len(self.plan.shapes[0]) if self.plan else 2

    @property
    def speed_names(self) -> SpeedNames:
        return SPEED_NAMES[self.rank]


def read_run(workdir: Path) -> RunFiles:
    """Read the files of a workdir.

    Raises:
        UserError: there is no run, or none of its files can be shown.
    """
    if not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is no folder: give the workdir of a run")
    is_live = _is_live(workdir)
    reader = _Reader(workdir, expects_all=not is_live)
    config = reader.read("config.json", lambda path: config_from_json(parse_json(path.read_text(encoding="utf-8"))))
    plan = reader.read("plan.json", lambda path: BucketPlan.from_json(path.read_text(encoding="utf-8")))
    files = RunFiles(
        workdir=workdir,
        config=config,
        plan=plan,
        plan_png=reader.read("plan.png", _read_png) or b"",
        programs=reader.read("compile.json", read_programs) or [],
        metrics=reader.read_metrics(),
        summary=reader.read("summary.json", read_summary, may_be_missing=True),
        bad=reader.read_bad_examples(),
        checkpoints=sorted(int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()),
        num_starts=len(list((workdir / "tensorboard").glob("events.out.tfevents.*"))),
        is_live=is_live,
        written=_written(workdir / "metrics.jsonl"),
        problems=reader.problems,
    )
    if not (config or plan or files.programs or files.metrics.readings or files.summary):
        raise UserError(f"--workdir={workdir} holds no run that can be shown: {' '.join(files.problems)}")
    return files


class _Reader:
    """Reader of the files of a workdir, which collects the problems that it finds.

    Args:
        expects_all: whether a missing file is a problem.
    """

    def __init__(self, workdir: Path, *, expects_all: bool):
        self.problems: list[str] = []
        self._workdir, self._expects_all = workdir, expects_all

    def read(self, name: str, parse: Callable[[Path], Value], *, may_be_missing: bool = False) -> Value | None:
        """Return the parsed file; None if it is missing, cannot be read, or `parse` raises a ValueError."""
        try:
            return parse(self._workdir / name)
        except FileNotFoundError:
            if self._expects_all and not may_be_missing:
                self.problems.append(f"{name} is missing.")
        except (OSError, ValueError) as error:
            self.problems.append(f"{name} cannot be used ({' '.join(str(error).split())}).")
        return None

    def read_metrics(self) -> Metrics:
        """Read metrics.jsonl; leave out damaged lines."""
        metrics = Metrics()

        def add(row: Any, what: str) -> None:
            match row.get("kind") if isinstance(row, dict) else None:
                case "train":
                    metrics.readings.append(record(ReadingRecord, with_speeds(row), what=what))
                case "validation":
                    metrics.validations.append(record(EvaluationRecord, row, what=what))
                case "test":
                    metrics.tests.append(record(EvaluationRecord, row, what=what))
                case kind:
                    raise UserError(f"{what} has the unknown kind {kind!r}")

        self._read_lines("metrics.jsonl", add)
        return metrics

    def read_bad_examples(self) -> list[BadExample]:
        """Read bad_examples.jsonl, which may be missing; leave out damaged lines."""
        bad: list[BadExample] = []
        self._read_lines(
            "bad_examples.jsonl",
            lambda row, what: bad.append(record(BadExample, row, what=what)),
            may_be_missing=True,
        )
        return bad

    def _read_lines(self, name: str, add: Callable[[Any, str], None], *, may_be_missing: bool = False) -> None:
        """Pass every line to `add`.

        A last line without a line end is left out: the run was killed while writing it, or is writing it now.
        """
        text = self.read(
            name, partial(Path.read_text, encoding="utf-8", errors="replace"), may_be_missing=may_be_missing
        )
        damaged = []
        for number, line in enumerate((text or "").split("\n")[:-1], start=1):
            try:
                row = parse_json(line)
            except ValueError as error:
                damaged.append(f"line {number}: {error}")
                continue
            try:
                add(row, f"line {number}")
            except ValueError as error:
                damaged.append(str(error))
        if damaged:
            lines = "1 damaged line" if len(damaged) == 1 else f"{len(damaged):,} damaged lines"
            self.problems.append(f"Left out of {name}: {lines} ({damaged[0]}).")


def _is_live(workdir: Path) -> bool:
    """Return whether a process on this machine holds the workdir's lock."""
    try:
        with (workdir / ".lock").open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _read_png(path: Path) -> bytes:
    data = path.read_bytes()
    if not data.startswith(PNG):
        raise UserError("it is no PNG file")
    return data


def _written(path: Path) -> datetime | None:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC) if path.exists() else None
