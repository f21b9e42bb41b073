"""Tables are read strictly: cells keep their value, and a row that breaks a rule is named by its line."""

import csv
import datetime
import decimal
import io
import re
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from fcn_jax.config import UserError
from fcn_jax.data.table_rows import read_table


def written(folder: Path, content: bytes, name: str = "table.csv") -> Path:
    table = folder / name
    table.write_bytes(content)
    return table


def labels_of(table: Path) -> list[tuple[int, str]]:
    return [(row.line, row.label) for row in read_table(table)]


# What csv.writer writes


CELLS = st.text(st.characters(codec="utf-8") | st.sampled_from("\udcff,\"\t\n\r; '"), max_size=6)
"""Texts, and among them one byte that is no UTF-8."""
ROWS = st.lists(
    st.tuples(
        CELLS.filter(str.strip), CELLS.filter(str.strip), st.sampled_from(("train", "validation", "test")), CELLS
    ),
    unique_by=lambda row: row[1].strip(),
    max_size=5,
)
DIALECTS = st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
HEADER = ("path", "label", "split", "note")


def as_text(rows, *, quoting: int, name: str, start: bytes = b"", empty_lines: bool = False) -> tuple[bytes, list[int]]:
    """Return what csv.writer writes, and the line of each row."""
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=quoting, delimiter="\t" if name.endswith(".tsv") else ",")
    lines = []
    for row in (HEADER, *rows):
        if empty_lines:
            stream.write("\r\n")
        lines.append(1 + len(stream.getvalue().encode("utf-8", "surrogateescape").splitlines()))
        writer.writerow(row)
    return start + stream.getvalue().encode("utf-8", "surrogateescape"), lines[1:]


@given(
    rows=ROWS, quoting=DIALECTS, name=st.sampled_from(("a.csv", "a.tsv")), empty_lines=st.booleans(), end=st.booleans(),
    start=st.sampled_from((b"", b"\xef\xbb\xbf")),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_rows_are_read_as_they_were_written(tmp_path_factory, rows, quoting, name, empty_lines, end, start):
    folder = tmp_path_factory.mktemp("table")
    text, lines = as_text(rows, quoting=quoting, name=name, start=start, empty_lines=empty_lines)
    expected = [(line, *row[:3], None) for line, row in zip(lines, rows, strict=True)]
    assert read_table(written(folder, text if end else text.removesuffix(b"\r\n"), name)) == expected
    columns = {
        name: [row[place].encode("utf-8", "surrogateescape") for row in rows] for place, name in enumerate(HEADER)
    }
    parquet.write_table(
        pyarrow.table({name: pyarrow.array(cells, pyarrow.binary()) for name, cells in columns.items()}),
        folder / "a.parquet",
    )
    assert read_table(folder / "a.parquet") == [(1 + place, *row[:3], None) for place, row in enumerate(rows)]


@given(
    rows=ROWS.filter(len),
    quoting=DIALECTS,
    width=st.sampled_from((2, 3, 5, 6)),
    empty_lines=st.booleans(),
    data=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_a_row_of_another_width_is_refused_by_its_line(tmp_path_factory, rows, quoting, width, empty_lines, data):
    wrong = data.draw(st.sampled_from(range(len(rows))))
    rows[wrong] = (*rows[wrong], "x", "y")[:width]
    text, lines = as_text(rows, quoting=quoting, name="a.csv", empty_lines=empty_lines)
    with pytest.raises(UserError, match=rf"a\.csv, line {lines[wrong]}: .* has {width} cells, but the header has 4"):
        read_table(written(tmp_path_factory.mktemp("table"), text, "a.csv"))


# By hand


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"path,label\na.png,NA\nb.png,007\nc.png, dog\n", [(2, "NA"), (3, "007"), (4, " dog")]),
        (b'\xef\xbb\xbf"path", label\r\n\r\n"a","b\r\n\r\nc"\r\nd,"""e"""', [(3, "b\r\n\r\nc"), (6, '"e"')]),
        (b"\n\npath,label\ra,b\r\rc,d", [(4, "b"), (6, "d")]),
        (b'path,label\n5" disk,13"\n', [(2, '13"')]),
        (b"path,label,,\na,b,c,d\n", [(2, "b")]),
        (b'inch ("),path,1,"a,\nb",label\na,b,c,d,7\n', [(3, "7")]),
        (b"note,label,path\n" + b"a" * 300_000 + b",b,c\n", [(2, "b")]),
        (b"path,label\na,caf\xe9\n", [(2, "caf\udce9")]),
        (b"path,label\na,b\0c\n", [(2, "b\0c")]),
        (b"path,label\n", []),
    ],
)  # fmt: skip
def test_cells_keep_their_value(tmp_path, content, expected):
    assert labels_of(written(tmp_path, content)) == expected


def test_a_path_keeps_its_bytes(tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    (tmp_path / name).touch()
    (row,) = read_table(written(tmp_path, b"path,label\ncaf\xe9.png,b\n"))
    assert (tmp_path / row.path).exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"path,label\na.png,dog, small\n",
            "line 2: 'a.png,dog, small' has 3 cells, but the header has 2; quote cells",
        ),
        (b"path,label\na.png\n", "line 2: 'a.png' has 1 cell, but the header has 2$"),
        (b"path,label\n\na,caf\xe9,c\n", "line 3: .* has 3 cells"),
        (b'path,label\na,"b\nc,d\n', "line 2: a cell begins with a quote, but nothing closes it"),
        (b'path,label\nc,d\na,"b"c\n', "line 3: a quoted cell goes on after its closing quote"),
        (b'path,label\na,"b\nc,"d"\ne,f\n', "line 2: a quoted cell goes on after its closing quote"),
        (b'path,label\n"a\n\nb",\n', "line 2: label is empty"),
        (b"path,label\na,b\n,\n", "line 3: path is empty"),
        (b"path,label\na, \n", "line 2: label is empty"),
        (b"path,label,split\na,b,\n", "line 2: split is empty; write train, validation or test"),
        (b"path,label\na,dog\nb,dog \n", "the labels 'dog' and 'dog ', which differ only by spaces"),
        (b"file,class\na,b\n", "has the columns 'file', 'class', but it needs path,label"),
        (b"Path,LABEL\na,b\n", "write label and path in small letters"),
        (b"path;label\na;b\n", "cells are separated by commas, not by semicolons"),
        (b"path\tlabel\na\tb\n", r"cells are separated by commas, not by tabs \(name the file .tsv\)"),
        (b"path,label,path\na,b,c\n", "has the column path 2 times"),
        ("path,label\na,b\n".encode("utf-16"), "is UTF-16: save it as CSV in UTF-8"),
        (b"", "is empty: its first line names the columns"),
        (b"\r\n\n", "is empty: its first line names the columns"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused(tmp_path, content, said):
    with pytest.raises(UserError, match=said):
        read_table(written(tmp_path, content))


@pytest.mark.parametrize("name", ["gone.csv", "gone.parquet", "folder.csv", "folder.parquet"])
def test_what_is_no_file_is_refused(tmp_path, name):
    if name.startswith("folder"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{re.escape(name)} cannot be read"):
        read_table(tmp_path / name)


# Parquet


def parquet_of(folder: Path, labels) -> Path:
    paths = [f"{number}.png" for number in range(len(labels))]
    parquet.write_table(
        pyarrow.table({"path": paths, "label": labels, "other": [[1]] * len(labels)}), folder / "a.parquet"
    )
    return folder / "a.parquet"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1], ["0", "1"]),
        ([False, True], ["False", "True"]),
        ([1.0, 1.5], ["1.0", "1.5"]),
        (pyarrow.array([0.1], pyarrow.float32()), ["0.1"]),
        ([b"ant", b"\xff"], ["ant", "\udcff"]),
        (pyarrow.array(["bee", "ant", "bee"]).dictionary_encode(), ["bee", "ant", "bee"]),
        (pyarrow.array([7, 0]).dictionary_encode(), ["7", "0"]),
        ([datetime.date(2024, 1, 2)], ["2024-01-02"]),
        ([decimal.Decimal("1.50")], ["1.50"]),
        ([" a", "007", "NA"], [" a", "007", "NA"]),
    ],
)
def test_a_label_of_any_type_keeps_its_value(tmp_path, labels, expected):
    assert labels_of(parquet_of(tmp_path, labels)) == list(enumerate(expected, start=1))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1, None], "a.parquet, row 2: label is empty"),
        (["", "a"], "a.parquet, row 1: label is empty"),
        ([1.5, float("nan")], "a.parquet, row 2: label is empty"),
        ([["a"], ["b"]], "the column label holds list<.*>, but every row needs one label"),
        ([{"a": 1}], "the column label holds struct<.*>, but every row needs one label"),
    ],
)
def test_a_label_that_is_none_is_refused(tmp_path, labels, said):
    with pytest.raises(UserError, match=said):
        read_table(parquet_of(tmp_path, labels))


def test_damaged_parquet_is_refused(tmp_path):
    table = parquet_of(tmp_path, ["a", "b"])
    whole = table.read_bytes()
    for content in (b"", b"path,label\n", whole[:-9], whole[: len(whole) // 2], whole[:4] + whole[20:]):
        table.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.parquet cannot be read as Parquet: "):
            read_table(table)
