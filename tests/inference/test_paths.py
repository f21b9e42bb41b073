"""A list of paths means the files that it should."""

import io
import sys

import pytest

from fcn_jax.inference.inputs import check_paths, expand_paths


@pytest.fixture
def folder(tmp_path):
    for name in ("b/2.png", "b/10.JPG", "b-a/1.png", "a.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def lines(text: str) -> io.TextIOWrapper:
    """Standard input."""
    return io.TextIOWrapper(io.BytesIO(text.encode()))


def test_folders_are_gone_through_in_order_and_files_stand_for_themselves(folder, monkeypatch):
    def expand(*paths):
        return expand_paths([str(folder / path) if path != "-" else path for path in paths], rank=2)

    inside = ["a.png", "b/10.JPG", "b/2.png", "b-a/1.png"]
    assert expand("") == [str(folder / name) for name in inside]
    assert expand("b/notes.txt", "b") == [str(folder / name) for name in ("b/notes.txt", "b/10.JPG", "b/2.png")]
    monkeypatch.setattr(sys, "stdin", lines(f"{folder}/nosuch.png\n\n{folder}/b-a\r\n"))
    assert expand("a.png", "-", "b-a") == [
        str(folder / name) for name in ("a.png", "nosuch.png", "b-a/1.png", "b-a/1.png")
    ]


def test_what_is_not_there_is_a_mistake(folder):
    with pytest.raises(ValueError, match="no PATH is given"):
        check_paths([])
    with pytest.raises(ValueError, match=r"no file or folder '.*nosuch'"):
        check_paths([str(folder), f"{folder}/nosuch"])
    check_paths([str(folder), "-"])


def test_a_folder_without_any_is_a_mistake(folder):
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no image lies below .*empty"):
        expand_paths([f"{folder}/empty"], rank=2)


def test_standard_input_may_be_closed_but_holds_one_path_a_line(folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert expand_paths([f"{folder}/a.png", "-"], rank=2) == [f"{folder}/a.png"]
    monkeypatch.setattr(sys, "stdin", lines(f"{folder}/a.png\0{folder}/b\0"))
    with pytest.raises(ValueError, match="zero byte: give one path a line"):
        expand_paths(["-"], rank=2)
