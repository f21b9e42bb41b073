"""The `report` command: one HTML page about a run, made from the files of its workdir alone.

Warnings and the result come first, then the curves, then buckets, programs and config.
"""

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from fcn_jax.config import Config
from fcn_jax.config_fields import changes_result, flatten
from fcn_jax.core.geometry import format_size
from fcn_jax.inference.statistics import Proportion
from fcn_jax.nets.heads import AVERAGES
from fcn_jax.reports.findings import find_cost, find_learning
from fcn_jax.reports.html import Picture, Table, document, figure
from fcn_jax.reports.run_files import BadExample, EvaluationRecord, ProgramRecord, RunFiles, Summary, read_run
from fcn_jax.reports.run_plots import draw_curves
from fcn_jax.system.disk import write_atomically

CONFIG_FILE = "again.py"
"""Heads of the nets for which `cam` can draw maps."""


def changed_fields(config: Config) -> dict[str, tuple[object, object]]:
    """Return the fields that differ from their default: {field: (value, default of its family of nets)}."""
    default = flatten(Config(model=type(config.model)()))
    return {path: (value, default[path]) for path, value in flatten(config).items() if value != default[path]}


def launch_file(config: Config) -> str:
    """Return the text of a file for --config that gives this config; fields that describe the machine are left out."""
    changed = {path: value for path, (value, _) in changed_fields(config).items() if changes_result(path)}
    lines = [f"    config.{path} = {value!r}\n" for path, value in changed.items()]
    family = type(config.model).__name__
    return (
        f"from fcn_jax.config import Config\nfrom {type(config.model).__module__} import {family}\n\n\n"
        f"def get_config(argument: str = '') -> Config:\n    config = Config(model={family}())\n"
        f"{''.join(lines)}    return config\n"
    )


def commands_to_repeat(files: RunFiles) -> str:
    """Return commands that check out the same code and train the same config in a new workdir."""
    commit = files.summary.git_commit.removesuffix("-dirty") if files.summary else ""
    checkout = f"git checkout {commit}\n" if commit else ""
    again = Path(f"{files.workdir}-again")
    return f"{checkout}python -m fcn_jax train --config={CONFIG_FILE} {_workdir(again)}"


def commands_to_use(files: RunFiles) -> str:
    """Return commands that use the newest checkpoint; empty if there is none."""
    if not files.checkpoints:
        return ""
    workdir = _workdir(files.workdir)
    page = shlex.quote(f"--out={files.workdir / 'test'}")
    commands = [f"evaluate {workdir} --split=test {page}", f"predict {workdir} PATH..."]
    if files.config is not None and files.config.model.head in AVERAGES:
        commands.append(f"cam {workdir} --out=maps PATH...")
    commands.append(f"export {workdir} --out=net.bin")
    return "\n".join(f"python -m fcn_jax {command}" for command in commands)


def _workdir(workdir: Path) -> str:
    return shlex.quote(f"--workdir={workdir}")


MOST_BAD_EXAMPLES = 20


def percent_with_interval(evaluation: EvaluationRecord | Summary) -> str:
    """An accuracy and the 95% interval of what it estimates."""
    low, high = Proportion(round(evaluation.accuracy * evaluation.count), evaluation.count).interval
    return f"{evaluation.accuracy:.2%} (95% interval {low:.2%} to {high:.2%})"


def numbers_table(files: RunFiles) -> Table:
    """Return the figures of a run: its result first, then its cost."""
    rows = _result_rows(files) + _cost_rows(files)
    if files.num_starts > 1:
        rows.append(("started", f"{files.num_starts} times; the seconds of compiling are those of the last start"))
    if files.checkpoints:
        rows.append(("checkpoints", f"after step {', '.join(f'{step:,}' for step in files.checkpoints)}"))
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
        rows += _label_rows("test", files.metrics.tests)
    validations = files.metrics.validations
    if validations:
        last, best = validations[-1], max(validations, key=lambda row: row.accuracy)
        rows.append(("validation accuracy", f"{percent_with_interval(last)} over {last.count:,} examples"))
        rows.append(("best validation accuracy", f"{best.accuracy:.2%} after step {best.step:,}"))
        rows.append(("validation loss", f"{last.loss:.4f}"))
        rows += _label_rows("validation", validations)
    return rows


def _label_rows(split: str, evaluations: Sequence[EvaluationRecord]) -> list[tuple[str, str]]:
    """Return the figures of several labels in the last evaluation, if it has them."""
    if not evaluations or evaluations[-1].mean_average_precision is None:
        return []
    last, f1 = evaluations[-1], evaluations[-1].micro_f1
    best = max(row.mean_average_precision or 0.0 for row in evaluations)
    of_best = f", the best was {best:.2%}" if len(evaluations) > 1 else ""
    return [
        (f"{split} mean average precision", f"{last.mean_average_precision:.2%}{of_best}"),
        (f"{split} micro F1 at probability 0.5", "–" if f1 is None else f"{f1:.2%}"),
        ("accuracy", "the share of the examples whose labels are all right"),
    ]


def _cost_rows(files: RunFiles) -> list[tuple[str, str]]:
    rows, summary = [], files.summary
    positions, examples = files.speed_names.positions_in_words, files.speed_names.examples_in_words
    if files.is_finished and summary:
        speed = f"{summary.examples_per_second:,.0f} {examples}, {summary.megapositions_per_second:.3g} {positions}"
        rows.append(("parameters", f"{summary.parameters:,}"))
        rows.append(("training", f"{summary.train_seconds:,.1f} s, including validation and saving"))
        waits = f"{summary.input_wait:.1%} of the time was spent waiting for input"
        rows.append(("throughput", f"{speed}; {waits}, and for {summary.device_idle:.1%} the devices were idle"))
        rows.append(
            ("fill", f"{summary.fill:.3f} (plan fill {summary.plan_fill:.3f}, filler share {summary.filler_share:.3f})")
        )
        if summary.mix:
            rows.append(
                (
                    "mix of sizes in a step against the data's (total variation distance)",
                    f"{summary.mix.variation:.3f}, farthest program {summary.mix.variation_of_farthest_program:.3f}; "
                    f"shuffled steps of the same size {summary.mix.variation_of_shuffled_steps:.3f}",
                )
            )
    elif files.metrics.readings:
        last = files.metrics.readings[-1]
        rows.append(("training accuracy, last log step", f"{last.accuracy:.2%}"))
        rows.append(("training loss, last log step", f"{last.loss:.4f}"))
        rows.append(
            (
                "throughput, last log step",
                f"{last.examples_per_second:,.0f} {examples}, {last.input_wait:.1%} of the time waiting for input",
            )
        )
    if files.programs:
        seconds, peak = _seconds_and_peak(files.programs)
        rows.append(
            ("compiling", f"{len(files.programs)} programs in {seconds:.1f} s; peak memory {peak:,.0f} MiB per device")
        )
    if files.config:
        rows.append(("seed", str(files.config.seed)))
    return rows


def _seconds_and_peak(programs: list[ProgramRecord]) -> tuple[float, float]:
    return sum(program.seconds for program in programs), max(program.peak_mib for program in programs)


def buckets_table(files: RunFiles) -> Table | None:
    """Return a row for each bucket of the last stage: its positions, and its rows in a training step."""
    if files.plan is None:
        return None
    columns = _rows_of_steps(files.programs)
    rows = []
    for shape in files.plan.shapes:
        canvas = format_size(shape)
        rows.append((canvas, f"{math.prod(shape):,}", *(str(rows.get(canvas, "–")) for rows in columns.values())))
    return Table(("bucket", "pixels" if files.rank == 2 else "samples", *columns), tuple(rows))


def _rows_of_steps(programs: list[ProgramRecord]) -> dict[str, dict[str, int]]:
    """Return the rows of training steps in the last stage: {heading: {canvas: rows}}.

    There is one heading if no two programs share a canvas, and otherwise one for each program.
    """
    trained = [program for program in programs if program.program.startswith("train")]
    stages = [program.program.partition(", ")[0] for program in trained if program.program.startswith("train stage ")]
    if stages:
        trained = [program for program in trained if program.program.partition(", ")[0] == stages[-1]]
    together = {canvas: rows for program in trained for canvas, rows in program.rows.items()}
    if len(together) == sum(len(program.rows) for program in trained):
        return {"rows in a step": together} if together else {}
    return {f"rows in a step, program {number}": program.rows for number, program in enumerate(trained, start=1)}


def programs_table(programs: list[ProgramRecord]) -> Table:
    """Return a row for each program: its compile time, peak memory, operations and blocks."""
    rows = [
        (row.program, f"{row.seconds:.1f}", f"{row.peak_mib:,.0f}", f"{row.gflop:,.3f}", row.blocks.replace("  ", ", "))
        for row in programs
    ]
    seconds, peak = _seconds_and_peak(programs)
    rows.append(("total seconds, highest peak", f"{seconds:.1f}", f"{peak:,.0f}", "", ""))
    return Table(
        ("program", "seconds to compile", "peak MiB", "GFLOP", "blocks: rows × canvas"), tuple(rows), frozenset({4})
    )


def evaluations_table(files: RunFiles) -> Table:
    """Return a row for each validation, with the last training reading before it."""
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
    """Return the first bad examples, at most MOST_BAD_EXAMPLES."""
    rows = tuple((example.split, example.name, example.reason) for example in bad[:MOST_BAD_EXAMPLES])
    return Table(("split", "name", "reason"), rows, texts=frozenset({1, 2}))


def changes_table(config: Config) -> Table:
    """Return the fields that differ from the defaults, as a table."""
    rows = [(path, json.dumps(value), json.dumps(usual)) for path, (value, usual) in changed_fields(config).items()]
    return Table(("field", "value", "default"), tuple(rows), texts=frozenset({1, 2}))


def whole_config(config: Config) -> str:
    """Return all fields with their values, one on each line."""
    return "\n".join(f"{path} = {json.dumps(value)}" for path, value in flatten(config).items())


def write_report(workdir: Path) -> Path:
    """Write report.html of a run, and return its path.

    Raises:
        UserError: there is no run, none of its files can be shown, or the page cannot be written.
    """
    path = workdir / "report.html"
    write_atomically(path, page(read_run(workdir)))
    return path


def page(files: RunFiles) -> str:
    """Return the page of a run as HTML."""
    name = files.workdir.resolve().name
    return document(
        f"{name}: a run of fcn_jax",
        f"<h1>{escape(name)}</h1>",
        f"<p>{escape(_what(files))}</p>",
        f'<p class="note">{escape(status(files))}</p>',
        *(f'<p class="note warning">{escape(problem)}</p>' for problem in files.problems),
        f"<p><strong>{escape(headline(files))}</strong></p>",
        *_findings(files),
        "<h2>Numbers</h2>",
        _html(numbers_table(files)),
        *_curves(files),
        *_plan(files),
        *_programs(files),
        *_bad_examples(files),
        *_config(files),
        *_commands(files),
    )


def _what(files: RunFiles) -> str:
    """Return a sentence with net, data, schedule, epochs and seed."""
    if files.config is None:
        return "A run of fcn_jax."
    data, model, train = files.config.data, files.config.model, files.config.train
    return (
        f"{model.name} (norm {model.norm}, head {model.head}) on {data.source}, {files.config.schedule.kind} steps, "
        f"{train.epochs} epochs, seed {files.config.seed}."
    )


def status(files: RunFiles) -> str:
    """Return a sentence that says whether the run is finished, in progress or stopped, and how far it is."""
    readings = files.metrics.readings
    where = "before its first log step"
    if readings:
        of = f" of {files.config.train.epochs}" if files.config else ""
        where = f"epoch {readings[-1].epoch:.4g}{of}, step {readings[-1].step:,}"
    when = f" Last written {files.written:%Y-%m-%d %H:%M:%S} UTC." if files.written else ""
    if files.is_live:
        return f"In progress: {where}.{when}"
    if files.is_finished:
        return f"Finished{f': {where}' if readings else ''}.{when}"
    resumes = f"from step {files.checkpoints[-1]:,}" if files.checkpoints else "from the beginning"
    return f"Stopped without a result: {where}. The same train command continues it {resumes}.{when}"


def headline(files: RunFiles) -> str:
    """Return the test result, or the last validation while there is none."""
    validations = files.metrics.validations
    if files.is_finished and files.summary:
        return f"Test accuracy {percent_with_interval(files.summary)}, loss {files.summary.loss:.4f}."
    if validations:
        return f"Latest validation accuracy {percent_with_interval(validations[-1])}, loss {validations[-1].loss:.4f}."
    return "Nothing has been evaluated yet."


def _findings(files: RunFiles) -> Iterator[str]:
    findings = find_learning(files) + find_cost(files)
    fine = [finding for finding in findings if not finding.is_warning]
    if len(findings) > len(fine):
        yield "<h2>Warnings</h2>"
    for finding in findings:
        if finding.is_warning:
            yield f'<p class="note warning">{escape(finding.text)}</p>'
    if fine:
        items = "".join(f"<li>{escape(finding.text)}</li>" for finding in fine)
        yield f"<details><summary>{len(fine)} of {len(findings)} checks passed</summary><ul>{items}</ul></details>"


def _curves(files: RunFiles) -> Iterator[str]:
    pictures = draw_curves(files)
    if pictures:
        yield "<h2>Curves</h2>"
    yield from map(figure, pictures)
    if files.metrics.validations:
        yield _folded("Every validation", _html(evaluations_table(files)))


def _plan(files: RunFiles) -> Iterator[str]:
    table = buckets_table(files)
    if table is None:
        return
    stages = len(files.config.train.stage_scales) if files.config else 1
    yield f"<h2>Buckets{' of the last stage' if stages > 1 else ''}</h2>"
    yield _html(table)
    if files.plan_png:
        canvases = ", ".join(row[0] for row in table.rows)
        text = f"The sizes of the training examples, and the {len(table.rows)} buckets that hold them: {canvases}."
        yield figure(Picture("plan", "The sizes of the training examples, and the buckets.", text, files.plan_png))


def _programs(files: RunFiles) -> Iterator[str]:
    if files.programs:
        yield "<h2>Programs</h2>"
        yield _html(programs_table(files.programs))


def _bad_examples(files: RunFiles) -> Iterator[str]:
    if not files.bad:
        return
    yield f"<h2>Bad examples: {len(files.bad):,}</h2>"
    if len(files.bad) > MOST_BAD_EXAMPLES:
        yield f"<p>The first {MOST_BAD_EXAMPLES} are shown; bad_examples.jsonl lists all.</p>"
    yield _html(bad_examples_table(files.bad))


def _config(files: RunFiles) -> Iterator[str]:
    if files.config is None:
        return
    changes = changes_table(files.config)
    yield "<h2>Config</h2>"
    yield _html(changes) if changes.rows else "<p>All fields have their default values.</p>"
    yield _folded("The whole config", f"<pre>{escape(whole_config(files.config))}</pre>")


def _commands(files: RunFiles) -> Iterator[str]:
    use = commands_to_use(files)
    if use:
        yield f"<h2>How to use the trained net</h2><pre>{escape(use)}</pre>"
    if files.config:
        yield f"<h2>How to repeat the run</h2><p>Save this file as {CONFIG_FILE}, then run the commands below it:</p>"
        yield f"<pre>{escape(launch_file(files.config))}</pre>"
        yield f"<pre>{escape(commands_to_repeat(files))}</pre>"


def _folded(summary: str, html: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"


def _html(table: Table) -> str:
    return f'<div class="scroll">{table.to_html()}</div>'
