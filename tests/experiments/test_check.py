"""A run made again is compared with what is committed: with its own seed, and with where one more run should fall."""

from pathlib import Path

import pytest

from experiments.check import check, compare
from experiments.launchers import Local
from experiments.plan import all_runs, code_version
from experiments.report import directory_of
from experiments.runs import Runs
from experiments.statistics import most_outside
from tests.experiments.made import made_ablation, made_row

ABLATION = made_ablation()
ACCURACIES = {0: 0.90, 1: 0.91, 2: 0.92}


@pytest.mark.parametrize(
    ("again", "outcome"), [(0.91, "inside"), (0.93, "inside"), (0.97, "OUTSIDE"), (0.85, "OUTSIDE")]
)
def test_one_more_run_falls_inside_or_not(again, outcome):
    """0.90, 0.91, 0.92: mean 0.91, deviation 0.01, t 4.30, so 0.91 ± 0.0497 would be expected."""
    found, interval = compare(ACCURACIES, again, seed=7)
    assert found == outcome
    assert interval == pytest.approx((0.8603, 0.9597), abs=1e-4)


def test_the_own_seed_is_no_witness():
    committed = {0: 0.5, **{seed: 0.9 + seed / 1000 for seed in range(1, 5)}}
    assert compare(committed, 0.5, seed=0)[0] == "as committed"
    assert compare(committed, 0.5001, seed=0)[0] == "OUTSIDE"
    assert compare(committed, 0.9026, seed=0)[0] == "inside"


def test_a_run_that_failed_is_said():
    assert compare(ACCURACIES, None, seed=0)[0] == "no result"


def test_chance_explains_one_arm_in_twenty():
    assert [most_outside(arms) for arms in (1, 5, 12, 20, 78)] == [1, 1, 2, 3, 7]


class Made(Local):
    """Workers that write rows at once, with the accuracies that they are told."""

    accuracies: dict[str, float]

    def start(self, job):
        (run,) = [run for run in all_runs(ABLATION, ABLATION.short, [job.seed]) if run.arm.name == job.arm]
        Runs(Path(job.results)).append(made_row(run, accuracy=self.accuracies[job.arm], code=job.code))
        self.done = [*getattr(self, "done", []), (job, 0)]

    def ended(self):
        done, self.done = self.done, []
        return done


@pytest.mark.parametrize(
    ("wide", "narrow", "code", "said"),
    [
        (0.91, 0.93, 0, "1 as committed, 1 inside, 0 outside"),
        (0.91, 0.5, 0, "1 as committed, 0 inside, 1 outside"),
        (0.2, 0.5, 1, "0 as committed, 0 inside, 2 outside"),
    ],
)
def test_the_whole_check(tmp_path, monkeypatch, capsys, wide, narrow, code, said):
    runs = Runs(directory_of(ABLATION, full=False, root=tmp_path))
    for run in all_runs(ABLATION, ABLATION.short):
        runs.append(made_row(run, accuracy=ACCURACIES[run.seed], code=code_version()))
    monkeypatch.setattr(Made, "accuracies", {"wide": wide, "narrow": narrow}, raising=False)
    monkeypatch.setattr("experiments.check.Local", Made)
    assert check(ABLATION, full=False, seed=1, jobs=1, root=tmp_path) == code
    out = capsys.readouterr().out
    assert f"2 arms, seed 1: {said}" in out
    assert f"narrow: test accuracy, % {100 * narrow:.2f}, {'inside' if narrow > 0.9 else 'OUTSIDE'}; 68.99 to" in out


def test_a_spread_takes_two(tmp_path):
    with pytest.raises(ValueError, match="made has 0 committed runs of wide besides seed 0"):
        check(ABLATION, full=False, seed=0, jobs=1, root=tmp_path)
