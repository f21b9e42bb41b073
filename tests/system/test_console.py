"""Any name, in any encoding, is one line of output, and never an error."""

import io
import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from fcn_jax.data.bad_examples import BadExamples
from fcn_jax.inference.predict import CsvTable, JsonLines, Outcome
from fcn_jax.reports.html import Picture, Table, document, figure
from fcn_jax.system.console import Bar, accept_any_text, as_line, complain, print_table, say
from fcn_jax.system.disk import write_atomically, write_json

letters = st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)
names = st.text(letters, min_size=1, max_size=30)
"""Names as Python reads them from a disk: a byte that is no UTF-8 is a code from DC80 to DCFF."""
strange = "caf\udce9 $x_{$\r\n\x1b[31m\u2028\u202e\x85 [/bold] :dog: łódź שלום"


def of_encoding(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


def written(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(stream.encoding)


@given(names)
@example(strange)
def test_a_line_is_one_line_of_text(name):
    line = as_line(name)
    assert line.encode().decode() == line
    assert len(line.splitlines()) == 1
    assert not any(ord(letter) < 32 for letter in line)
    assert line == name or set(line) - set(name) or len(line) > len(name)
    assert as_line("Zoë's [cat] :dog: שלום.png") == "Zoë's [cat] :dog: שלום.png"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@given(name=names)
@example(name=strange)
def test_every_message_is_one_line_in_any_encoding(encoding, name):
    with pytest.MonkeyPatch.context() as patch:
        errors = of_encoding(encoding)
        patch.setattr(sys, "stdout", of_encoding(encoding))
        patch.setattr(sys, "stderr", errors)
        accept_any_text()
        print(name)
        say(name)
        complain(f"<{name}>")
        print_table(name, ("name", "number", "text"), [(name, "1", name)])
        with Bar(name, 2) as bar:
            bar.note(name)
        said = written(errors).split("\n")
    assert said[1].startswith("<")
    assert said[1].endswith(">")


def test_letters_that_mean_something_elsewhere_are_printed_as_they_are(capfd):
    say("[/bold] :dog: [red]x")
    print_table("[/a] :cat:", ("name", "number", "text"), [("[/b] :dog:", "1", "[red]x")])
    said = capfd.readouterr().err
    assert all(text in said for text in ("[/bold] :dog: [red]x", "[/a] :cat:", "[/b] :dog:"))


def test_closed_output_is_discarded(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    accept_any_text()
    print("a result")
    say("a message")
    sys.stdout.flush()


def test_numbers_stay_whole_on_a_narrow_terminal(monkeypatch):
    shown = terminal(monkeypatch, width=20)
    print_table("sizes", ("name", "pixels", "text"), [("a long name", "1,234,567", "words " * 20), ("b", "7", "")])
    assert "1,234,567" in shown.getvalue()


@pytest.mark.parametrize("kind", ["dumb", "xterm"])
def test_lines_are_drawn_over_only_where_a_terminal_can(monkeypatch, kind):
    shown = terminal(monkeypatch, width=80, kind=kind)
    monkeypatch.setattr("fcn_jax.system.console.SECONDS_BETWEEN_LINES", 0.0)
    with Bar("train", 2) as bar:
        bar.advance()
        bar.note("loss 0.5")
    assert ("\x1b[" in shown.getvalue()) == (kind == "xterm")
    assert ("train 1/2  loss 0.5" in shown.getvalue()) == (kind == "dumb")


def terminal(monkeypatch, *, width: int, kind: str = "xterm") -> io.StringIO:
    """Make messages go to a terminal; return what it is sent."""
    shown = io.StringIO()
    made = Console(file=shown, force_terminal=True, width=width, height=20, _environ={"TERM": kind})
    monkeypatch.setattr("fcn_jax.system.console.console", made)
    monkeypatch.setattr("fcn_jax.system.console.on_terminal", True)
    return shown


@given(path=names, label=names)
@example(path=strange, label=strange)
def test_predictions_keep_every_name(path, label):
    outcomes = [
        Outcome(path, size=(3, 4), probabilities=[0.75, 0.25], logits=[1.0, 0.0], ranking=[0, 1]),
        Outcome(path, error=f"{path} is broken"),
    ]
    lines, table = of_encoding("utf-8"), of_encoding("utf-8")
    JsonLines(lines, [label, "other"], rank=2).write(outcomes)
    CsvTable(table, [label, "other"], rank=2).write(outcomes)
    first, second = [json.loads(line) for line in written(lines).splitlines()]
    assert (first["path"], first["label"], second["path"]) == (path, label, path)
    assert len(written(table).splitlines()) == 3


@given(name=names, reason=names)
@example(name=strange, reason=strange)
def test_files_keep_every_name(name, reason, tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    write_json(folder / "labels.json", [name])
    assert json.loads((folder / "labels.json").read_text(encoding="utf-8")) == [name]
    for _ in range(2):
        bad = BadExamples("train", 1, max_fraction=1.0)
        bad.add(name, reason)
        bad.write_new(folder / "bad.jsonl")
    (line, end) = (folder / "bad.jsonl").read_text(encoding="utf-8").split("\n")
    assert (json.loads(line)["name"], json.loads(line)["reason"], end) == (name, reason, "")


@given(name=names)
@example(name=strange)
def test_a_page_holds_any_name(name, tmp_path_factory):
    page = tmp_path_factory.mktemp("page") / "index.html"
    parts = Table(("class", name), ((name, name),)).to_html(), figure(Picture("a", name, name, b""))
    write_atomically(page, document(name, *parts, name))
    assert "<table>" in page.read_text(encoding="utf-8")
