"""The table of an ablation, as rows of text, in Markdown and in HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from experiments.results import Results
from experiments.words import arm_text, difference_text, probability


@dataclass(frozen=True)
class Table:
    """A head and rows of text; the first column names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        lines = [self.columns, ("---", *["---:"] * (len(self.columns) - 1)), *self.rows]
        escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        return "".join(f"| {' | '.join(line)} |\n" for line in escaped)

    def to_html(self) -> str:
        head = "".join(f'<th scope="col">{escape(column)}</th>' for column in self.columns)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_html_row, self.rows))}</tbody></table>"


def _html_row(cells: Sequence[str]) -> str:
    rest = "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])
    return f'<tr><th scope="row">{escape(cells[0])}</th>{rest}</tr>'


def results_table(results: Results) -> Table:
    """An arm a row: the first metric with its difference to the baseline, then the others."""
    first, *others = results.ablation.metrics
    baseline = results.ablation.arms[0].name
    columns = ("arm", first.name, "n", f"difference to {baseline} [95 %]", "p", *(metric.name for metric in others))
    rows = []
    for arm in results.arms:
        difference = results.difference(arm, baseline, first)
        compared = (
            ("baseline", "") if arm == baseline else (difference_text(first, difference), probability(difference))
        )
        n = str(len(results.values(arm, first)))
        rows.append((arm, arm_text(results, arm, first), n, *compared, *(arm_text(results, arm, m) for m in others)))
    return Table(columns, tuple(rows))
