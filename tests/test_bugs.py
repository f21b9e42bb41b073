"""A bug of this code ends with a traceback, its file and line, and exit code 1; it is never the user's mistake."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.processes import ROOT

BUG = "import numpy; numpy.zeros(3) + numpy.zeros(4)"
TRAIN = ["train", "--config=configs/mnist.py:tiny", "--config.train.epochs=1", "--workdir=run"]
PLACES = {
    "a layer": ("core/convolution.py", "    def apply(", TRAIN),
    "the loader": ("data/loader.py", "    def read(", TRAIN),
    "a report": ("reports/run_page.py", "def headline(", ["report", "--workdir=run"]),
}


@pytest.fixture
def checkout(tmp_path):
    """A copy of the code, in which a test may plant something."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    ignored = shutil.ignore_patterns("__pycache__", "embedded")
    shutil.copytree(ROOT / "fcn_jax", tmp_path / "fcn_jax", ignore=ignored)
    (tmp_path / "fcn_jax/data/embedded").symlink_to(ROOT / "fcn_jax/data/embedded")
    return tmp_path


def plant(path, signature: str) -> None:
    """Let the body of a function begin with the bug."""
    pattern = rf"({re.escape(signature)}.*?:\n(?:\s+\"\"\".*?\"\"\"\n)?)(\s+)"
    source, number = re.subn(pattern, rf"\1\2{BUG}\n\2", path.read_text(), count=1, flags=re.S)
    assert number == 1
    path.write_text(source)


@pytest.mark.parametrize("place", PLACES)
def test_a_bug_is_a_traceback(checkout, place):
    file, signature, arguments = PLACES[place]
    if arguments != TRAIN:
        run(checkout, TRAIN)
    plant(checkout / "fcn_jax" / file, signature)
    ended = run(checkout, arguments)
    assert ended.returncode == 1
    assert "Traceback (most recent call last)" in ended.stderr
    assert re.search(rf"{re.escape(file)}\", line \d+", ended.stderr)
    assert "operands could not be broadcast together" in ended.stderr


def run(checkout, arguments):
    command = [sys.executable, "-m", "fcn_jax", *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, timeout=300)
