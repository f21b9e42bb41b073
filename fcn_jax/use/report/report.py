"""The `report` command: one page of a run, from the files of its workdir alone.

What needs a look comes first, then the curves, then what they rest on.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from fcn_jax.page import Picture, Table, document, figure
from fcn_jax.train.writer import write_atomically
from fcn_jax.use.report.commands import CONFIG_FILE, commands_to_repeat, commands_to_use, launch_file
from fcn_jax.use.report.cost import find_cost
from fcn_jax.use.report.curves import draw_curves
from fcn_jax.use.report.files import RunFiles, read_run
from fcn_jax.use.report.learning import find_learning
from fcn_jax.use.report.tables import (
    MOST_BAD_EXAMPLES,
    bad_examples_table,
    buckets_table,
    changes_table,
    evaluations_table,
    numbers_table,
    percent_with_interval,
    programs_table,
    whole_config,
)


def write_report(workdir: Path) -> Path:
    """Write report.html of a run; returns its path.

    Raises:
        ValueError: there is no run, nothing of it can be shown, or the page cannot be written.
    """
    path = workdir / "report.html"
    html = page(read_run(workdir))
    try:
        write_atomically(path, html)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}): copy the workdir to where it can") from error
    return path


def page(files: RunFiles) -> str:
    """The page of a run."""
    name = files.workdir.resolve().name
    return document(
        f"{name}: a run of fcn_jax",
        f"<h1>{escape(name)}</h1>",
        f"<p>{escape(_what(files))}</p>",
        f'<p class="note">{escape(status(files))}</p>',
        *(f'<p class="note warning">{escape(problem)}</p>' for problem in files.problems),
        f"<p><strong>{escape(headline(files))}</strong></p>",
        *_findings(files),
        "<h2>In numbers</h2>",
        _html(numbers_table(files)),
        *_curves(files),
        *_plan(files),
        *_programs(files),
        *_bad_examples(files),
        *_config(files),
        *_commands(files),
    )


def _what(files: RunFiles) -> str:
    """Data, net and seed."""
    if files.config is None:
        return "A run of fcn_jax."
    data, model, train = files.config.data, files.config.model, files.config.train
    return (
        f"{model.name} (norm {model.norm}, head {model.head}) on {data.source}, {files.config.schedule.kind} steps, "
        f"{train.epochs} epochs, seed {files.config.seed}."
    )


def status(files: RunFiles) -> str:
    """Finished, in progress or stopped, and where."""
    readings = files.metrics.readings
    where = "before its first reading"
    if readings:
        of = f" of {files.config.train.epochs}" if files.config else ""
        where = f"epoch {readings[-1].epoch:.4g}{of}, step {readings[-1].step:,}"
    when = f" Last written {files.written:%Y-%m-%d %H:%M:%S} UTC." if files.written else ""
    if files.is_live:
        return f"In progress: {where}.{when}"
    if files.is_finished:
        return f"Finished{f': {where}' if readings else ''}.{when}"
    resumes = f"from step {files.checkpoints[-1]:,}" if files.checkpoints else "from the beginning"
    return f"Stopped without a result: {where}. The same train command goes on {resumes}.{when}"


def headline(files: RunFiles) -> str:
    """The result, or the best that is known of it."""
    validations = files.metrics.validations
    if files.is_finished and files.summary:
        return f"Test accuracy {percent_with_interval(files.summary)}, loss {files.summary.loss:.4f}."
    if validations:
        return f"Validation accuracy so far {percent_with_interval(validations[-1])}, loss {validations[-1].loss:.4f}."
    return "Nothing has been evaluated yet."


def _findings(files: RunFiles) -> Iterator[str]:
    findings = find_learning(files) + find_cost(files)
    fine = [finding for finding in findings if not finding.is_warning]
    if len(findings) > len(fine):
        yield "<h2>Look at this</h2>"
    for finding in findings:
        if finding.is_warning:
            yield f'<p class="note warning">{escape(finding.text)}</p>'
    if fine:
        items = "".join(f"<li>{escape(finding.text)}</li>" for finding in fine)
        yield f"<details><summary>In order: {len(fine)} of {len(findings)} checks</summary><ul>{items}</ul></details>"


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
        yield f"<p>The first {MOST_BAD_EXAMPLES}; bad_examples.jsonl names all.</p>"
    yield _html(bad_examples_table(files.bad))


def _config(files: RunFiles) -> Iterator[str]:
    if files.config is None:
        return
    changes = changes_table(files.config)
    yield "<h2>Config</h2>"
    yield _html(changes) if changes.rows else "<p>All fields have their defaults.</p>"
    yield _folded("The whole config", f"<pre>{escape(whole_config(files.config))}</pre>")


def _commands(files: RunFiles) -> Iterator[str]:
    use = commands_to_use(files)
    if use:
        yield f"<h2>To use it</h2><pre>{escape(use)}</pre>"
    if files.config:
        yield f"<h2>To repeat it</h2><p>With this file as {CONFIG_FILE}:</p>"
        yield f"<pre>{escape(launch_file(files.config))}</pre>"
        yield f"<pre>{escape(commands_to_repeat(files))}</pre>"


def _folded(summary: str, html: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"


def _html(table: Table) -> str:
    return f'<div class="scroll">{table.to_html()}</div>'
