"""Every measured number of README.md and docs/*.md stands in a committed table, which the page links."""

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from docs.blocks import ROOT, Block, blocks_of, console_commands, pages, small

UNITS = "s|ms|min|h|MiB|GiB|MB|GB|bits?|points?|times|images/s"
NUMBER = re.compile(
    r"(?<![\w.,^/])[−-]?(?P<digits>\d[\d,]*\d|\d)(?P<decimals>\.\d+)?"
    rf"(?P<percent> ?%)?(?P<unit> (?:{UNITS})(?![\w/]))?(?![\w^/]|[.,]\d)"
)
TABLED = re.compile(r"(\d[\d,]*(?:\.\d+)?)( ?%)?")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
NOT_CLAIMED = re.compile(r"`[^`]*`|\[arXiv:[^\]]*\]|\]\([^)]*\)|<!--.*?-->")
"""Code, addresses and remarks for those who edit the page."""

NOTEBOOK = ROOT / "docs/quickstart.ipynb"
GREY = "the weights of the colours in grey (ITU-R BT.601)"
NOT_MEASURED = {
    "faults.md": {"20 s": "SECONDS_TO_LOSE in system/processes.py"},
    "hosts.md": {"75 %": "what JAX reserves by default", "50,000 MiB": "the value in the flag beside it"},
    "models.md": {"1.5": "a version of ResNet"},
    "own_data.md": {
        "0.5": "the threshold of a label",
        "8 bits": "a type", "16 bits": "a type",
        "0.299": GREY, "0.587": GREY, "0.114": GREY,
        "1 MiB": "READ_WHOLE in data/sizes.py", "16,000": "the value in the flag beside it",
        "1 %": "the default of data.max_bad_fraction", "0.1 s": "PAUSES in system/disk.py",
        "0.4 s": "PAUSES in system/disk.py",
        "5 %": "LEAST_EXPLAINED in reports/size_and_class.py",
        "262,144": "MOST_EXAMPLES in reports/size_and_class.py",
        "55,000": "a split of MNIST", "60,000": "a split of MNIST", "5,000": "a split of MNIST",
        "10,000": "a split of MNIST",
    },
    "quickstart.ipynb": {"55,000": "a split of MNIST", "6,000": "the value in the flag below"},
    "using_a_trained_net.md": {"0.5": "the threshold of a label"},
}  # fmt: skip
"""{page: {a number that nobody measures: what it is}}"""


class Claim(NamedTuple):
    """A number as a page has it, and the paragraph or row around it."""

    line: int
    number: re.Match[str]
    around: str

    @property
    def text(self) -> str:
        return self.number[0].strip()


def is_claim(number: re.Match[str]) -> bool:
    """Counts and settings are not: 12 canvases, 28×28."""
    return bool(number["decimals"] or number["percent"] or number["unit"] or "," in number["digits"])


def without(pattern: re.Pattern[str], text: str) -> str:
    """Blank what the pattern finds, so that lines stay where they are."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def text_of(page: Path) -> str:
    """A page, or what a notebook has between its cells of code."""
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def claims(page: Path) -> list[Claim]:
    """The numbers of a page in its text, and in output that nothing compares with what the program prints."""
    text = without(FENCED, text_of(page))
    found, line = [], 1
    for paragraph in re.split(r"(?<=\n)(?=\n|\|)", text):
        bare = without(NOT_CLAIMED, paragraph)
        found += [
            Claim(line + bare.count("\n", 0, number.start()), number, paragraph) for number in NUMBER.finditer(bare)
        ]
        line += paragraph.count("\n")
    for block in blocks_of(page):
        found += [Claim(block.line, number, "") for number in NUMBER.finditer(output(block, checked=False))]
    return [claim for claim in found if is_claim(claim.number)]


def is_source(path: Path) -> bool:
    return path.suffix == ".md" and bool({"benchmarks", "results"} & set(path.relative_to(ROOT).parts[:2]))


def linked(page: Path, text: str) -> list[Path]:
    """The committed tables that a part of a page links."""
    paths = [(page.parent / link).resolve() for link in LINK.findall(text) if "://" not in link]
    return [path for path in paths if path.is_relative_to(ROOT) and is_source(path)]


@cache
def numbers_of(text: str) -> frozenset[float]:
    """All numbers; a share counts as a percentage too, and the other way round."""
    numbers = set()
    for number, mark in TABLED.findall(text):
        value = float(number.replace(",", ""))
        numbers |= {value, value / 100 if mark else 100 * value if value <= 1 else value}
    return frozenset(numbers)


def output(block: Block, *, checked: bool) -> str:
    """The output in a block that docs.check or doctest compares with what is printed, or that which they do not."""
    if block.language == "console":
        shown = [found.shown for found in console_commands(block) if (small(found.text) == found.text) == checked]
        return "\n".join(shown)
    return block.text if block.language == ("pycon" if checked else "text") else ""


def stands_in(claim: Claim, numbers: frozenset[float]) -> bool:
    """Whether a number, rounded as the page rounds it, is among them."""
    digits, decimals = claim.number["digits"].replace(",", ""), claim.number["decimals"] or ""
    places = len(decimals) - 1 if decimals else 0
    if "," in claim.number["digits"]:
        places = -len(digits) + len(digits.rstrip("0"))
    value, half = float(digits + decimals), 0.5 * 10.0**-places * (1 + 1e-9)
    return any(abs(number - value) <= half for number in numbers)


@pytest.mark.parametrize("page", [*pages(), NOTEBOOK], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_number_stands_in_a_table_that_is_linked(page):
    on_page, exempt = linked(page, text_of(page)), NOT_MEASURED.get(page.name, {})
    missing = []
    for claim in claims(page):
        sources = linked(page, claim.around) or on_page
        tables = [*(output(block, checked=True) for block in blocks_of(page)), *(path.read_text() for path in sources)]
        if claim.text not in exempt and not any(stands_in(claim, numbers_of(table)) for table in tables):
            missing.append(f"{page.name}:{claim.line}: {claim.text}")
    assert missing == []
    assert set(exempt) <= {claim.text for claim in claims(page)}


@pytest.mark.parametrize(
    ("number", "table", "stands"),
    [
        ("97.7 %", "| 97.72 % |", True),
        ("97.8 %", "| 97.72 % |", False),
        ("97 %", "a fill of 0.968", True),
        ("0.9684", "| 96.84 % |", True),
        ("11,200", "| 11,222 |", True),
        ("11,222", "| 11,200 |", False),
        ("2.5 s", "2.45 of 7", True),
        ("2.5 s", "12.5", False),
    ],
)
def test_a_number_is_one_of_a_table_if_it_rounds_to_it(number, table, stands):
    found = NUMBER.fullmatch(number)
    assert found is not None
    assert stands_in(Claim(1, found, ""), numbers_of(table)) == stands
