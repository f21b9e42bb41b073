"""What the pages of an evaluation share: pictures of examples, numbers for JSON, tables and small print."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from fcn_jax.core.geometry import format_size
from fcn_jax.inference.evaluation import AnyEvaluation
from fcn_jax.inference.statistics import Proportion
from fcn_jax.reports.evaluation_plots import accuracy_by_scale, with_interval
from fcn_jax.reports.html import Picture, Table, figure
from fcn_jax.reports.pictures import png_of_example
from fcn_jax.system.machine import describe_versions


def picture_of(evaluation: AnyEvaluation, row: int, said: str) -> Picture:
    """Return the picture of an example, given by its row of the answers, with what is said of it."""
    answers, dataset = evaluation.answers, evaluation.dataset
    index, size = int(answers.index[row]), format_size(answers.size[row].tolist())
    where = f"{size if dataset.rank == 2 else f'length {size}'}, {evaluation.names[row]}"
    example = dataset.example(index)
    kind = "Image" if dataset.rank == 2 else "Signal"
    return Picture(f"mistake_{index}", f"{said}; {where}", f"{kind} of {said}: {where}", png_of_example(example))


def scales_table(evaluations: Sequence[AnyEvaluation], shown: AnyEvaluation) -> list[str]:
    """Return the parts of a page that compare the test scales; none if there is only one."""
    if len(evaluations) < 2:
        return []
    rows = tuple(
        (f"{each.scale:g}", with_interval(each.answers.accuracy), f"{each.answers.mean_loss:.4f}")
        for each in evaluations
    )
    picture = accuracy_by_scale([each.scale for each in evaluations], [each.answers.accuracy for each in evaluations])
    return [
        "<h2>Test scales</h2>",
        figure(picture),
        scrolling(Table(("test scale", "accuracy, % [95 % interval]", "loss"), rows)),
        small(f"The rest of this page is about test scale {shown.scale:g}."),
    ]


MOST_CLASSES_IN_SIGHT = 50
"""Classes beyond this number are folded away."""


def classes_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the parts of a page with a row for each class."""
    first, rest = rows[:MOST_CLASSES_IN_SIGHT], rows[MOST_CLASSES_IN_SIGHT:]
    more = f"<details><summary>{len(rest):,} more classes</summary>{scrolling(Table(columns, tuple(rest)))}</details>"
    return [scrolling(Table(columns, tuple(first))), more if rest else ""]


MOST_BAD = 100
"""Most bad examples that a page names."""


def interval_of(share: Proportion) -> list[float | None]:
    """Return the ends of the 95 % interval of a share."""
    return [or_none(end) for end in share.interval]


def or_none(value: float) -> float | None:
    """Return a value, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def bad_examples(bad: Mapping[str, str]) -> list[str]:
    """Return the parts of a page that name the examples that could not be read."""
    if not bad:
        return []
    rows = tuple(list(bad.items())[:MOST_BAD])
    more = f"{len(bad) - len(rows):,} more are listed in evaluation.json." if len(rows) < len(bad) else ""
    return [
        "<h2>Examples that could not be read</h2>",
        "<p>They count neither as right nor as wrong: the numbers above leave them out.</p>",
        scrolling(Table(("name", "reason"), rows)),
        small(more) if more else "",
    ]


def provenance() -> str:
    """Return the commit, the device and the versions that a page is made with."""
    described = describe_versions()
    versions = ", ".join(f"{name} {number}" for name, number in described["versions"].items())
    commit = described["git_commit"]
    return f"{f'Commit {commit}; ' if commit else ''}on {described['device']}; {versions}."


def scrolling(table: Table) -> str:
    return f'<div class="scroll">{table.to_html()}</div>'


def small(text: str) -> str:
    return f'<p class="small">{escape(text)}</p>'
