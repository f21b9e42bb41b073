"""The tables of a run's report."""

import json
import math

import numpy as np

from fcn_jax.config import Config
from fcn_jax.config_fields import flatten
from fcn_jax.geometry import format_size
from fcn_jax.page import Table
from fcn_jax.use.report.commands import changed_fields
from fcn_jax.use.report.files import RunFiles
from fcn_jax.use.report.records import BadExample, CompiledProgram, Evaluation, Summary

MOST_BAD_EXAMPLES = 20
NORMAL_QUANTILE = 1.96


def percent_with_interval(evaluation: Evaluation | Summary) -> str:
    """An accuracy and the 95% interval of what it estimates, by its score (Wilson 1927)."""
    squared = NORMAL_QUANTILE**2 / max(evaluation.count, 1)
    middle = (evaluation.accuracy + squared / 2) / (1 + squared)
    half = math.sqrt(evaluation.accuracy * (1 - evaluation.accuracy) * squared + squared**2 / 4) / (1 + squared)
    return f"{evaluation.accuracy:.2%} (95% interval {middle - half:.2%} to {middle + half:.2%})"


def numbers_table(files: RunFiles) -> Table:
    """The figures of a run, those of its result first."""
    rows = _result_rows(files) + _cost_rows(files)
    if files.num_starts > 1:
        rows.append(("started", f"{files.num_starts} times; seconds of compiling are those of the last"))
    if files.checkpoints:
        rows.append(("checkpoints", f"of steps {', '.join(f'{step:,}' for step in files.checkpoints)}"))
    if files.summary:
        rows.append(("device", files.summary.device))
        rows.append(("git commit", files.summary.git_commit or "not known"))
        rows.append(("versions", ", ".join(f"{name} {version}" for name, version in files.summary.versions.items())))
    return Table(("figure", "value"), tuple(rows), texts=frozenset({1}))


def _result_rows(files: RunFiles) -> list[tuple[str, str]]:
    rows = []
    if files.is_finished and files.summary:
        summary = files.summary
        rows.append(("test accuracy", f"{percent_with_interval(summary)} over {summary.count:,} examples"))
        rows.append(("test loss", f"{summary.loss:.4f}"))
    validations = files.metrics.validations
    if validations:
        last, best = validations[-1], max(validations, key=lambda row: row.accuracy)
        rows.append(("validation accuracy", f"{percent_with_interval(last)} over {last.count:,} examples"))
        rows.append(("best of all validations", f"{best.accuracy:.2%} after step {best.step:,}"))
        rows.append(("validation loss", f"{last.loss:.4f}"))
    return rows


def _cost_rows(files: RunFiles) -> list[tuple[str, str]]:
    rows, summary = [], files.summary
    pixels, unit = ("true Mpx/s", "images/s") if files.rank == 2 else ("million true positions/s", "signals/s")
    if files.is_finished and summary:
        speed = f"{summary.images_per_second:,.0f} {unit}, {summary.true_megapixels_per_second:.3g} {pixels}"
        rows.append(("parameters", f"{summary.parameters:,}"))
        rows.append(("training", f"{summary.train_seconds:,.1f} s, validation and saving included"))
        rows.append(("throughput", f"{speed}, {summary.input_wait:.1%} of the time waiting for input"))
        rows.append(
            ("fill", f"{summary.fill:.3f} (plan fill {summary.plan_fill:.3f}, filler {summary.filler_share:.3f})")
        )
    elif files.metrics.readings:
        last = files.metrics.readings[-1]
        rows.append(("training accuracy, last reading", f"{last.accuracy:.2%}"))
        rows.append(("training loss, last reading", f"{last.loss:.4f}"))
        rows.append(
            ("throughput, last reading", f"{last.images_per_second:,.0f} {unit}, {last.input_wait:.1%} waiting")
        )
    if files.programs:
        seconds, peak = _seconds_and_peak(files.programs)
        rows.append(
            ("compiling", f"{len(files.programs)} programs in {seconds:.1f} s, at most {peak:,.0f} MiB a device")
        )
    if files.config:
        rows.append(("seed", str(files.config.seed)))
    return rows


def _seconds_and_peak(programs: list[CompiledProgram]) -> tuple[float, float]:
    return sum(program.seconds for program in programs), max(program.peak_mib for program in programs)


def buckets_table(files: RunFiles) -> Table | None:
    """A row a bucket of the last stage: its positions, and its rows in a training step."""
    if files.plan is None:
        return None
    columns = _rows_of_steps(files.programs)
    rows = []
    for shape in files.plan.shapes:
        canvas = format_size(shape)
        rows.append((canvas, f"{math.prod(shape):,}", *(str(rows.get(canvas, "–")) for rows in columns.values())))
    return Table(("bucket", "pixels" if files.rank == 2 else "length", *columns), tuple(rows))


def _rows_of_steps(programs: list[CompiledProgram]) -> dict[str, dict[str, int]]:
    """{heading: {canvas: rows}} of the last stage's training; one heading where no two programs share a canvas."""
    trained = [program for program in programs if program.program.startswith("train")]
    stages = [program.program.partition(", ")[0] for program in trained if program.program.startswith("train stage ")]
    if stages:
        trained = [program for program in trained if program.program.partition(", ")[0] == stages[-1]]
    together = {canvas: rows for program in trained for canvas, rows in program.rows.items()}
    if len(together) == sum(len(program.rows) for program in trained):
        return {"rows in a step": together} if together else {}
    return {f"rows, turn {number}": program.rows for number, program in enumerate(trained, start=1)}


def programs_table(programs: list[CompiledProgram]) -> Table:
    """What compiling cost, and what a step will."""
    rows = [
        (row.program, f"{row.seconds:.1f}", f"{row.peak_mib:,.0f}", f"{row.gflop:,.3f}", row.blocks.replace("  ", ", "))
        for row in programs
    ]
    seconds, peak = _seconds_and_peak(programs)
    rows.append(("together, or the most", f"{seconds:.1f}", f"{peak:,.0f}", "", ""))
    return Table(("program", "seconds", "peak MiB", "GFLOP", "blocks: rows × canvas"), tuple(rows), frozenset({4}))


def evaluations_table(files: RunFiles) -> Table:
    """Every validation, and the reading of training before it."""
    readings = files.metrics.readings
    steps = np.array([reading.step for reading in readings])
    rows = []
    for row in files.metrics.validations:
        place = int(np.searchsorted(steps, row.step, side="right")) - 1
        trained = readings[place] if place >= 0 else None
        before = (f"{trained.epoch:.4g}", f"{trained.loss:.4f}", f"{trained.accuracy:.2%}") if trained else ("–",) * 3
        rows.append((f"{row.step:,}", *before, f"{row.loss:.4f}", f"{row.accuracy:.2%}"))
    columns = ("step", "epoch", "training loss", "training accuracy", "validation loss", "validation accuracy")
    return Table(columns, tuple(rows))


def bad_examples_table(bad: list[BadExample]) -> Table:
    """The first ones."""
    rows = tuple((example.split, example.name, example.reason) for example in bad[:MOST_BAD_EXAMPLES])
    return Table(("split", "name", "reason"), rows, texts=frozenset({1, 2}))


def changes_table(config: Config) -> Table:
    """The fields that differ from the defaults."""
    rows = [(path, json.dumps(value), json.dumps(usual)) for path, (value, usual) in changed_fields(config).items()]
    return Table(("field", "value", "default"), tuple(rows), texts=frozenset({1, 2}))


def whole_config(config: Config) -> str:
    """A line a field."""
    return "\n".join(f"{path} = {json.dumps(value)}" for path, value in flatten(config).items())
