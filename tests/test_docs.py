"""The pages: their links lead somewhere, their commands are run or marked, their examples print what they show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.blocks import ROOT, Block, Command, blocks_of, console_commands, pages, problems, small, unfenced_commands

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_PATH = re.compile(r"`((?:fcn_jax|configs|docs|tests|benchmarks|tools|experiments)/[\w/.]+\.(?:py|md|png|ipynb))")
NEW_FILE = "fcn_jax/nets/mobilenet.py"
"""docs/new_model.md has its reader write this file."""
LINKING = [
    *pages(),
    ROOT / "docs/quickstart.ipynb",
    *sorted((ROOT / "benchmarks").rglob("*.md")),
    ROOT / "fcn_jax/data/embedded/README.md",
]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    outside = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in LINK.findall(page.read_text()):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("page", LINKING, ids=name_of)
def test_every_file_of_the_checkout_that_a_page_names_is_there(page):
    for path in set(CODE_PATH.findall(page.read_text())) - {NEW_FILE}:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_command_is_run_by_docs_check_or_says_what_it_needs(page):
    assert [problem for block in blocks_of(page) for problem in problems(block)] == []
    assert unfenced_commands(page) == []


def test_the_readme_stays_short_and_links_every_page():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 160
    for page in [*pages()[1:], ROOT / "docs/quickstart.ipynb"]:
        assert f"({name_of(page)})" in readme, page


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("make test", "make --dry-run test"),
        (
            "make train   # says it",
            "python -m fcn_jax train --config=configs/mnist.py:tiny --workdir=runs/mnist   # says it",
        ),
        (
            "python -m fcn_jax train --config=configs/folder.py:DIR \\\n    --workdir=runs/mine",
            "python -m fcn_jax train --config=configs/folder.py:pictures,tiny --workdir=runs/mine",
        ),
        (
            "python -m fcn_jax train --config=configs/mnist.py --config.train.epochs=6 --config.seed=1",
            "python -m fcn_jax train --config=configs/mnist.py:tiny --config.seed=1",
        ),
        ("python -m fcn_jax shapes --config=configs/mnist.py", "python -m fcn_jax shapes --config=configs/mnist.py"),
        ("python -m experiments run batches", "python -m experiments run batches --dry_run"),
    ],
)
def test_the_small_form_of_a_command(script, expected):
    assert small(script) == expected


@pytest.mark.parametrize(
    ("language", "text", "named"),
    [
        ("bash", "sbatch train.sh", "begins with a program that no rule knows"),
        ("bash", "python -m fcn_jax train --config=configs/tfds.py:NAME", "placeholder 'NAME'"),
        ("bash", "python -m fcn_jax predict --workdir=W photo.jpg", "placeholder 'W'"),
        ("", "anything", "language"),
        ("text", "make train", "is a command in a block of text"),
    ],
)
def test_a_block_that_cannot_run_has_to_be_marked(language, text, named):
    page = ROOT / "docs" / "made.md"
    assert named in " ".join(problems(Block(page, 1, language, text)))
    assert problems(Block(page, 1, "bash", text, needs="a cluster")) == []


def test_a_console_block_is_commands_with_their_output():
    block = Block(ROOT / "docs" / "made.md", 1, "console", "$ for x in a b; do\n>   echo $x; done\na\nb\n$ true")
    assert console_commands(block) == [Command("for x in a b; do\n  echo $x; done", "a\nb"), Command("true", "")]


def test_the_notebook_runs(tmp_path):
    from docs.check import NOTEBOOK, environment, execute, make_workspace

    notebook = execute(NOTEBOOK, make_workspace(tmp_path / "checkout"), environment(tmp_path))
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "image/png" in str(output)]
    assert len(pictures) == 3


@pytest.mark.full
def test_the_examples_of_the_guide_print_what_it_says():
    command = [sys.executable, "-m", "doctest", "docs/fully_convolutional.md"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
