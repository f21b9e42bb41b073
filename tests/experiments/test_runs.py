"""runs.jsonl: nothing is lost, nothing stands twice, and what is damaged is named and set aside."""

import subprocess
import sys

import pytest

from experiments.plan import ROOT, all_runs
from experiments.runs import Runs
from tests.experiments.made import made_ablation, made_row

ABLATION = made_ablation()
ROWS = [made_row(run, accuracy=0.9, code="code") for run in all_runs(ABLATION, ABLATION.short)]
HOLD = """
import sys, time
from pathlib import Path
from experiments.runs import Runs
with Runs(Path(sys.argv[1])).claim("key") as is_ours:
    print(is_ours, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def runs(tmp_path):
    runs = Runs(tmp_path / "made")
    for row in ROWS[:3]:
        runs.append(row)
    return runs


def test_rows_come_back_as_they_were(runs, tmp_path):
    assert runs.read() == ROWS[:3]
    assert Runs(tmp_path / "nothing").read() == []
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"ablation": "made", "arm": "wi', "no JSON"),
        ("[1, 2]", "no JSON object"),
        ('{"ablation": "made"}', "'arm' is missing"),
        ("\x00\xff", "no JSON"),
    ],
)
def test_a_damaged_line_is_named_and_set_aside(runs, capfd, line, reason):
    text = runs.path.read_text().splitlines()
    runs.path.write_text("\n".join([text[0], line, *text[1:]]) + "\n")
    assert runs.read() == ROWS[:3]
    said = capfd.readouterr().err
    assert f"runs.jsonl:2: {reason}" in said.replace("\n", "")
    assert len(runs.path.read_text().splitlines()) == 3
    assert (runs.directory / "runs.damaged").read_text().splitlines() == [line]
    assert runs.read() == ROWS[:3]
    assert capfd.readouterr().err == ""


def test_a_line_cut_off_takes_no_other_with_it(runs):
    runs.path.write_text(runs.path.read_text()[:-40])
    runs.append(ROWS[3])
    assert runs.read() == [*ROWS[:2], ROWS[3]]


def test_a_run_that_stands_twice_counts_once(runs):
    runs.path.write_text(runs.path.read_text() * 2)
    assert runs.read() == ROWS[:3]


def test_a_claim_excludes_others_until_it_ends(runs):
    assert runs.in_progress() == 0
    with runs.claim("key") as first, runs.claim("key") as second, runs.claim("other") as other:
        assert (first, second, other) == (True, False, True)
        assert runs.in_progress() == 2
    assert runs.in_progress() == 0
    with runs.claim("key") as again:
        assert again


def test_the_claim_of_a_killed_process_is_free(runs):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(runs.directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with runs.claim("key") as while_it_lives:
        assert not while_it_lives
    holder.kill()
    holder.wait()
    with runs.claim("key") as after:
        assert after
    holder.stdout.close()
