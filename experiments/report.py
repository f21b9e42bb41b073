"""The reports of ablations: table.md, the plots and index.html of each, and an index of all.

Everything is made from runs.jsonl alone.
"""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from experiments.ablation import Ablation
from experiments.page import commands, how_to_read, notices, page, provenance, what_changed, what_was_run
from experiments.plan import code_version
from experiments.plots import draw
from experiments.pytorch_page import ROWS, write_page
from experiments.results import Results, select
from experiments.runs import Runs
from experiments.tables import changes_table, expectations_table, results_table
from experiments.words import answer
from fcn_jax.config import UserError
from fcn_jax.reports.html import document
from fcn_jax.system.disk import write_atomically, write_bytes

RESULTS = Path(__file__).parent / "results"


def directory_of(ablation: Ablation, *, full: bool, root: Path = RESULTS) -> Path:
    """Return the folder of an ablation's results. The full form has a folder of its own inside it."""
    return root / ablation.name / "full" if full else root / ablation.name


def results_of(ablation: Ablation, *, full: bool, root: Path = RESULTS) -> Results:
    rows = Runs(directory_of(ablation, full=full, root=root)).read()
    return select(ablation, ablation.form(full=full), rows, code_version())


def write_report(ablation: Ablation, *, full: bool, root: Path = RESULTS) -> Results:
    """Write table.md, the plots and index.html of an ablation, and return its results.

    Raises:
        UserError: the ablation has no finished run.
    """
    directory, results = directory_of(ablation, full=full, root=root), results_of(ablation, full=full, root=root)
    if not results.rows:
        raise UserError(
            f"{ablation.name} has no finished run in {directory / 'runs.jsonl'}: make them with "
            f"{commands(ablation, results.form).splitlines()[0]}"
        )
    pictures = draw(results)
    for picture in pictures:
        write_bytes(directory / f"{picture.name}.png", picture.png)
    for old in {*directory.glob(f"{ablation.name}_*.png")} - {directory / f"{each.name}.png" for each in pictures}:
        old.unlink()
    write_atomically(directory / "table.md", markdown(results))
    write_atomically(directory / "index.html", page(results, pictures))
    if (directory / ROWS).exists():
        write_page(directory, results)
    return results


def markdown(results: Results) -> str:
    """Return question, answer, claims and table as Markdown."""
    ablation = results.ablation
    warnings = "".join(f"> {line}\n\n" for line in notices(results))
    command = "".join(f"    {line}\n" for line in commands(ablation, results.form).splitlines())
    return (
        f"# {ablation.name}\n\n{ablation.question}\n\n{warnings}{answer(results)}\n\n"
        f"{expectations_table(results).to_markdown()}\n{results_table(results).to_markdown()}\n"
        f"{how_to_read(results)}\n\n{_changes(results)}{what_was_run(results)}\n\n"
        f"{command}\n"
        f"{provenance(results)}\n"
    )


def _changes(results: Results) -> str:
    table = changes_table(results)
    return "" if table is None else f"{table.to_markdown()}\n{what_changed(results)}\n\n"


def write_index(ablations: Iterable[Ablation], *, full: bool, root: Path = RESULTS) -> Path:
    """Write a page with question, answer and state of every ablation, and links to their pages; return its path."""
    parts = []
    for ablation in ablations:
        results = results_of(ablation, full=full, root=root)
        name = f"{ablation.name}/full" if full else ablation.name
        link = f'<a href="{name}/index.html">{escape(ablation.name)}</a>' if results.rows else escape(ablation.name)
        parts.append(
            f"<h2>{link}</h2><p>{escape(ablation.question)}</p><p><strong>{escape(answer(results))}</strong></p>"
            f'<p class="small">{escape(state(results))}</p>'
        )
    root.mkdir(parents=True, exist_ok=True)
    path = root / ("full.html" if full else "index.html")
    write_atomically(path, document("Ablations of fcn_jax", "<h1>Ablations of fcn_jax</h1>", *parts))
    return path


def state(results: Results) -> str:
    """Say in a few words how many runs of an ablation are done."""
    total = results.ablation.num_runs(results.form)
    done = total - results.num_missing
    if not results.rows:
        return f"none of {total} runs"
    if results.are_stale:
        return f"stale: {done} of {total} runs, made by other code or with other configs"
    left_out = f", {results.num_left_out} stale ones left out" if results.num_left_out else ""
    return f"{'complete: ' if done == total else ''}{done} of {total} runs{left_out}"


def status_lines(ablations: Iterable[Ablation], *, full: bool) -> list[tuple[str, str, str]]:
    """(name, how far it is, question) of every ablation."""
    lines = []
    for ablation in ablations:
        live = Runs(directory_of(ablation, full=full)).in_progress()
        running = f", {live} running" if live else ""
        lines.append((ablation.name, state(results_of(ablation, full=full)) + running, ablation.question))
    return lines
