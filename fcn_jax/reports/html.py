"""HTML pages, with their tables and pictures. A page is one file, loads nothing else and fits the width of a phone."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from fcn_jax.system.console import as_line

DOTS_PER_INCH = 110
STYLE = """
:root { color-scheme: light dark; --line: #8886; --note: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.6rem; text-align: right; white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; }
th:first-child, th.text, td.text { text-align: left; }
th:first-child { white-space: normal; min-width: 7rem; }
td.text { white-space: normal; overflow-wrap: anywhere; min-width: 10rem; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; background: white; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 0.5rem 1rem; }
.cards figure { margin: 0; overflow-wrap: anywhere; }
figcaption, .small { font-size: 0.85rem; opacity: 0.8; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--note); padding: 0.6rem; font-size: 0.85rem; }
.note { background: var(--note); border-left: 4px solid var(--line); padding: 0.4rem 0.8rem; margin: 0.8rem 0; }
.stale, .warning { border-left-color: #c33; }
"""


@dataclass(frozen=True)
class Table:
    """A table of text: a header and rows. The first cell of a row is its name."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: frozenset[int] = frozenset()
    """Columns, counted from 0, that hold text and not numbers: aligned left, with line breaks."""

    def to_markdown(self) -> str:
        numbers = range(1, len(self.columns))
        lines = [self.columns, ("---", *("---" if i in self.texts else "---:" for i in numbers)), *self.rows]
        escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        return "".join(f"| {' | '.join(line)} |\n" for line in escaped)

    def to_html(self) -> str:
        head = "".join(f'<th scope="col"{self._kind(i)}>{_line(column)}</th>' for i, column in enumerate(self.columns))
        body = "".join(map(self._html_row, self.rows))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _html_row(self, cells: Sequence[str]) -> str:
        rest = "".join(f"<td{self._kind(i)}>{_line(cell)}</td>" for i, cell in enumerate(cells[1:], start=1))
        return f'<tr><th scope="row">{_line(cells[0])}</th>{rest}</tr>'

    def _kind(self, column: int) -> str:
        return ' class="text"' if column in self.texts else ""


@dataclass(frozen=True)
class Picture:
    """A plot as a PNG file."""

    name: str
    """Name of the file, without its ending."""
    caption: str
    text: str
    """The content of the picture in words, for readers who cannot see it."""
    png: bytes


def _line(text: str) -> str:
    """Return text as one line of HTML."""
    return escape(as_line(text))


def document(title: str, *parts: str) -> str:
    """Return a whole HTML document. The parts are HTML; empty parts are left out."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{_line(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"
    )


def figure(picture: Picture) -> str:
    """Return the HTML of a picture with its caption; the picture's data is inside."""
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{_line(picture.text)}">'
        f"<figcaption>{_line(picture.caption)}</figcaption></figure>"
    )


def png_of(drawing: Figure) -> bytes:
    """Return a figure as a PNG file; the same figure always gives the same bytes."""
    with io.BytesIO() as file, mpl.rc_context({"font.size": 11}):
        drawing.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        return file.getvalue()
