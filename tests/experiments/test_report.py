"""The page stands alone, says what came out and what is stale, and its pictures have words."""

import re
from html.parser import HTMLParser

import pytest

from experiments.plan import all_runs, code_version
from experiments.report import directory_of, write_index, write_report
from experiments.runs import Runs
from tests.experiments.made import made_ablation, made_row

ABLATION = made_ablation()
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Collects the images, and checks that every tag is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.images, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def write(root, *, code: str, seeds=(0, 1, 2)):
    runs = Runs(directory_of(ABLATION, full=False, root=root))
    for run in all_runs(ABLATION, ABLATION.short, seeds):
        accuracy = 0.9 + 0.001 * run.seed - 0.1 * (run.arm.name == "narrow") + 0.0001 * (run.seed == 2)
        runs.append(made_row(run, accuracy=accuracy, code=code))
    write_report(ABLATION, full=False, root=root)
    directory = runs.directory
    return (directory / "index.html").read_text(), (directory / "table.md").read_text(), directory


def test_the_page_stands_alone_and_its_pictures_have_words(tmp_path):
    html, _, directory = write(tmp_path, code=code_version())
    images = Reader(html).images
    assert len(images) == len(ABLATION.plots) == len(list(directory.glob("*.png")))
    for image in images:
        assert image["src"].startswith("data:image/png;base64,")
        assert len(re.findall(r"\d", image["alt"])) > 4
    assert "narrow: −10.00 [−10.00, −10.00] at 0.5, +0.00 [+0.00, +0.00] at 0.5 (itself)" in images[-1]["alt"]
    assert not re.findall(r"""https?:|@import|url\(|<script|<link""", html)
    assert 'name="viewport"' in html
    assert "Is a wide net &lt; a narrow one?" in html


def test_page_and_table_say_what_came_out(tmp_path):
    html, table, _ = write(tmp_path, code=code_version())
    for text in (html, table):
        assert "Supported: A narrow net is worse" in text
        assert "−10.00 [−10.00, −10.00]" in text
        assert "python -m experiments run made" in text
        assert "baseline" in text
        assert "Stale" not in text
    assert (
        "| narrow | 80.10 ± 0.11 | 3 | −10.00 [−10.00, −10.00] | < 0.001 | < 0.001 | −54.4 | 8.0 | 40.05 ± 0.05 |"
        in table
    )
    assert "model.channels = [2, 4, 4]" in html


def test_stale_and_missing_results_are_said_first(tmp_path):
    html, table, _ = write(tmp_path, code="of last year", seeds=(0, 1))
    for text in (html, table):
        assert text.index("Stale: these results were made by other code") < text.index("A narrow net is worse")
        assert "2 runs are missing." in text


def test_what_changed_against_older_code_is_shown(tmp_path):
    first = write(tmp_path, code="of last year")
    assert "What changed" not in first[0]
    html, table, _ = write(tmp_path, code=code_version())
    assert "<h2>What changed</h2>" in html
    for text in (html, table):
        assert "Before: code of last year, last finished " in text
    assert "| arm | test accuracy, %: before | now | n | difference [95 %] |" in table
    assert re.search(r"\| wide \| 90.10 ± 0.11 \| 90.10 ± 0.11 \| 3 \| \+0.00", table)


def test_the_report_depends_on_the_rows_alone(tmp_path):
    first, second = (write(tmp_path / name, code=code_version())[0] for name in "ab")
    assert first == second


def test_nothing_is_reported_of_nothing(tmp_path):
    with pytest.raises(
        ValueError, match=r"made has no finished run in .*: make them with python -m experiments run made"
    ):
        write_report(ABLATION, full=False, root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_index_links_what_has_a_page(tmp_path):
    write(tmp_path, code=code_version())
    html = write_index([ABLATION, made_ablation(name="other")], full=False, root=tmp_path).read_text()
    Reader(html)
    assert 'href="made/index.html"' in html
    assert "other/index.html" not in html
    assert "none of 6 runs" in html
