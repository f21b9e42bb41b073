"""The rows of a table of paths and labels: CSV, TSV (tabs between the cells) or Parquet, read strictly.

A cell keeps its value: blanks, leading zeros and words such as NA stay. A row whose number of cells is not the header's
is an error, and so is a quote that does not end its cell, because such a row means something else than it says. Bytes
that are no UTF-8 stay, as `os.fsdecode` keeps them in paths. A Parquet value of any type becomes its text. Columns
other than path, label, split and weight are ignored.
"""

import re
import stat
from collections.abc import Callable, Iterable
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int

from fcn_jax.config import UserError
from fcn_jax.system.disk import reading

if TYPE_CHECKING:
    import pyarrow

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OTHER_FORMATS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a workbook, or zipped",
}
"""First bytes of files that are no CSV, and what they are."""
SHOWN = 80
"""Most characters of a row that an error shows."""
OTHER_MARKS = {"semicolons": ";", "tabs (name the file .tsv)": "\t", "commas (name the file .csv)": ",", "bars": "|"}
"""What may stand between the cells of a table instead of its mark, in words."""
MOST_BYTES_OF_A_ROW = 2**31 - 1
"""What the reader can hold at once."""


class TableRow(NamedTuple):
    line: int
    """Line in the file where the row begins; for Parquet the number of the row. Both count from 1."""
    path: str
    label: str
    split: str | None
    """None if the table has no such column."""
    weight: str | None = None
    """None if the table has no such column."""


def where(table: Path, line: int) -> str:
    """Return the words that tell a person where a row is."""
    return f"{table}, {'row' if _is_parquet(table) else 'line'} {line}"


COLUMNS = ("path", "label", "split", "weight")
"""The columns that are read; the first two are needed."""


def read_table(table: Path, *, empty_labels: bool = False) -> list[TableRow]:
    """Read the rows of a table.

    Args:
        empty_labels: whether a label may be empty.

    Raises:
        UserError: the table cannot be read, lacks a column, or a row breaks a rule.
    """
    with reading(table):
        if not stat.S_ISREG(table.stat().st_mode):
            raise UserError(f"{table} cannot be read: it is no regular file")
        columns = _read_parquet(table) if _is_parquet(table) else _read_text(table)
    lines = columns.pop("line")
    for name, cells in columns.items():
        if name != "label" or not empty_labels:
            _check_not_empty(table, name, lines=lines, cells=cells)
    _check_blanks(table, columns["label"])
    others = (columns.get(name) or repeat(None) for name in COLUMNS[2:])
    return list(map(TableRow, lines, columns["path"], columns["label"], *others))


def _is_parquet(table: Path) -> bool:
    return table.suffix.lower() == ".parquet"


def _places(table: Path, names: list[str]) -> dict[str, int]:
    """Return {column: place} of those of `COLUMNS` that are there; blanks around a name do not count."""
    stripped = [name.strip() for name in names]
    shown = ", ".join(map(repr, stripped))
    shown = shown if len(shown) <= 2 * SHOWN else f"{shown[: 2 * SHOWN]} …"
    needs = f"{table} has the columns {shown}, but it needs path,label and may have split,weight"
    if missing := {"path", "label"} - set(stripped):
        if len(names) == 1 and (wrong := [what for what, mark in OTHER_MARKS.items() if mark in names[0]]):
            needs = f"{needs}: cells are separated by {'tabs' if _is_tsv(table) else 'commas'}, not by {wrong[0]}"
        elif found := missing & {name.lower() for name in stripped}:
            needs = f"{needs}: write {' and '.join(sorted(found))} in small letters"
        raise UserError(needs)
    places = {}
    for name in COLUMNS:
        if stripped.count(name) > 1:
            raise UserError(f"{table} has the column {name} {stripped.count(name)} times: keep one, rename the others")
        if name in stripped:
            places[name] = stripped.index(name)
    return places


def _check_not_empty(table: Path, name: str, *, lines: Iterable[int], cells: list[str]) -> None:
    if not all(map(str.strip, cells)):
        line = next(line for line, cell in zip(lines, cells, strict=True) if not cell.strip())
        remedy = {"split": "; write train, validation or test", "weight": "; write a number of 0 or more"}.get(name, "")
        raise UserError(f"{where(table, line)}: {name} is empty{remedy}")


def _check_blanks(table: Path, labels: list[str]) -> None:
    first: dict[str, str] = {}
    for label in dict.fromkeys(labels):
        other = first.setdefault(label.strip(), label)
        if other != label:
            raise UserError(
                f"{table} has the labels {other!r} and {label!r}, which differ only by spaces around them: "
                "correct the table"
            )


# CSV and TSV


def _is_tsv(table: Path) -> bool:
    return table.suffix.lower() == ".tsv"


def _read_text(table: Path) -> dict[str, list]:
    data = table.read_bytes()
    if what := next((what for start, what in OTHER_FORMATS.items() if data.startswith(start)), None):
        raise UserError(f"{table} is {what}: save it as CSV in UTF-8")
    body = data.removeprefix(BYTE_ORDER_MARK).lstrip(b"\r\n")
    if not body:
        raise UserError(f"{table} is empty: its first line names the columns, path,label")
    first_line = 1 + _line_ends(data[: len(data) - len(body)])
    if not body.endswith((b"\r", b"\n")):  # The reader wants the end of a lone header.
        body += b"\n"
    mark = b"\t" if _is_tsv(table) else b","
    _check_quotes(table, body, mark=mark, first_line=first_line)
    cells, wrong = _parse(table, body, mark=mark)
    places = _places(table, [_text(column[0].as_py()) for column in cells.columns])
    lines = first_line + _lines_above(cells, longer=_line_ends(body) > cells.num_rows)
    if wrong:
        line, width, right = int(lines[wrong.row]), wrong.num_cells, cells.num_columns
        said = _text(body.splitlines()[line - first_line])[:SHOWN]
        remedy = f"; quote cells that hold a {'tab' if _is_tsv(table) else 'comma'}" if width > right else ""
        raise UserError(
            f"{where(table, line)}: {said!r} has {width} cell{'s' * (width > 1)}, but the header has {right}{remedy}"
        )
    are_rows = ~_are_empty_lines(cells, body, lines=lines[:-1] - first_line)
    are_rows[0] = False  # The header.
    columns = {name: _decoded(cells.column(place).filter(are_rows)) for name, place in places.items()}
    return {"line": lines[:-1][are_rows].tolist(), **columns}


def _cell(mark: bytes) -> bytes:
    """Return the regular expression of a cell, quoted or not; inside the latter a quote is a letter like any other."""
    return rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^"%b\r\n][^%b\r\n]*+)?+' % (mark, mark)


def _check_quotes(table: Path, body: bytes, *, mark: bytes, first_line: int) -> None:
    """Check that each quoted cell ends with its closing quote; the reader would go on without a word."""
    if b'"' not in body:
        return
    cell = _cell(mark)
    found = re.match(rb"(?:%b[%b\r\n])*+(%b)" % (cell, mark, cell), body)
    assert found, "nothing is a cell, too"
    if found.end() == len(body):
        return
    place = where(table, first_line + _line_ends(body[: found.start(1)]))
    if not found[1]:
        raise UserError(f"{place}: a cell begins with a quote, but nothing closes it")
    raise UserError(
        f"{place}: a quoted cell goes on after its closing quote ({_text(found[1])[:SHOWN]!r}): "
        "write each quote inside a quoted cell twice"
    )


class _WrongRow(NamedTuple):
    """The first row whose number of cells is not the header's."""

    row: int
    """Its index, with the header as 0 and each empty line as a row."""
    num_cells: int


def _parse(table: Path, body: bytes, *, mark: bytes) -> "tuple[pyarrow.Table, _WrongRow | None]":
    """Return all cells as bytes, the header as row 0; an empty line is a row of empty cells.

    If a row has a wrong number of cells, it is told, and what is returned with it is good for counting lines alone.
    """
    import pyarrow
    from pyarrow import csv

    wrong: list[_WrongRow] = []

    def note(row: csv.InvalidRow) -> str:
        wrong.append(_WrongRow(row.number - 1, row.actual_columns))
        return "skip"

    header = re.match(rb"(?:%b%b)*+%b" % (_cell(mark), mark, _cell(mark)), body)
    assert header, "nothing is a header, too"
    most_columns = 1 + header[0].count(mark)
    column_types = {f"f{place}": pyarrow.large_binary() for place in range(most_columns)}

    def read(body: bytes, note: Callable[[csv.InvalidRow], str] | None) -> pyarrow.Table:
        return csv.read_csv(
            pyarrow.BufferReader(body),
            # One thread, because only then the rows have numbers; large blocks, because a row lies in one.
            csv.ReadOptions(
                use_threads=False, autogenerate_column_names=True, block_size=min(len(body) + 1, MOST_BYTES_OF_A_ROW)
            ),
            csv.ParseOptions(
                delimiter=mark.decode(), newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=note
            ),
            csv.ConvertOptions(null_values=[], column_types=column_types),
        )

    try:
        try:
            return read(body, None), None
        except pyarrow.ArrowInvalid:
            # pyarrow hands on only rows in UTF-8. The first 128 bytes are the same there, and hold all marks.
            cells = read(body.translate(bytes(range(128)) + b"?" * 128), note)
            if not wrong:
                raise
            return cells, wrong[0]
    except pyarrow.ArrowException as error:
        raise UserError(f"{table} cannot be read: {' '.join(str(error).split())}") from error


def _line_ends(text: bytes) -> int:
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def _lines_above(cells: "pyarrow.Table", *, longer: bool) -> Int[np.ndarray, " n"]:
    """Return how many lines of the file lie above each row, and last above what follows them.

    Args:
        longer: whether there are more lines than rows, so that some cells hold line ends.
    """
    from pyarrow import compute

    line_ends = np.ones(cells.num_rows, np.int64)
    for column in cells.columns if longer else ():
        for text, weight in (("\n", 1), ("\r", 1), ("\r\n", -1)):
            line_ends += weight * compute.count_substring(column, text).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
    return np.concatenate([[0], np.cumsum(line_ends)])


def _are_empty_lines(cells: "pyarrow.Table", body: bytes, *, lines: Int[np.ndarray, " n"]) -> np.ndarray:
    """Return which rows are empty lines; a row of commas alone is none."""
    from pyarrow import compute

    are_empty = np.ones(cells.num_rows, bool)
    for column in cells.columns:
        are_empty &= compute.binary_length(column).to_numpy() == 0  # pyright: ignore[reportAttributeAccessIssue]
    if are_empty.any():
        text = body.splitlines()
        are_empty[are_empty] = [not text[line] for line in lines[are_empty]]
    return are_empty


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _decoded(column: "pyarrow.ChunkedArray") -> list[str]:
    """Return the texts of bytes; "" where there are none."""
    import pyarrow

    try:
        return column.cast(pyarrow.large_string()).fill_null("").to_pylist()
    except pyarrow.ArrowInvalid:  # Not all of it is UTF-8.
        return [_text(value or b"") for value in column.to_pylist()]


# Parquet


def _read_parquet(table: Path) -> dict[str, list]:
    import pyarrow
    from pyarrow import parquet

    try:
        with table.open("rb") as file:
            whole = parquet.ParquetFile(file, page_checksum_verification=True)
            names = whole.schema_arrow.names
            places = _places(table, names)
            wanted = {name: names[place] for name, place in places.items()}
            for name, stored in wanted.items():
                _check_type(table, name, whole.schema_arrow.field(stored).type)
            cells = whole.read(columns=list(wanted.values()))
        columns = {name: _texts(cells.column(stored)) for name, stored in wanted.items()}
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:  # pyarrow raises some without a number, for a damaged file.
            raise
        raise UserError(f"{table} cannot be read as Parquet: {' '.join(str(error).split())}") from error
    return {"line": list(range(1, 1 + cells.num_rows)), **columns}


def _check_type(table: Path, name: str, kind: "pyarrow.DataType") -> None:
    import pyarrow

    if pyarrow.types.is_nested(kind) or isinstance(kind, pyarrow.BaseExtensionType):
        raise UserError(
            f"{table}: the column {name} holds {kind}, but every row needs one {name}: write it as text or numbers"
        )


def _texts(column: "pyarrow.ChunkedArray") -> list[str]:
    """Return the values as texts, such as 0, False, 1.5 and 2024-01-02; "" for what is missing (null and NaN)."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_boolean(column.type):
        return ["" if value is None else str(value) for value in column.to_pylist()]
    if types.is_floating(column.type):
        return ["" if np.isnan(value) else str(value) for value in column.to_numpy()]
    if types.is_primitive(column.type) or types.is_decimal(column.type):
        column = column.cast(pyarrow.large_string())
    return _decoded(column.cast(pyarrow.large_binary()))
