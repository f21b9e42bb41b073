"""What the guide says its examples print is what they print."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.full
def test_the_examples_of_the_guide_print_what_it_says():
    command = [sys.executable, "-m", "doctest", "docs/fully_convolutional.md"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
