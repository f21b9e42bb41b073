"""A real tiny run through the real workers: two at once make one row, and a killed one leaves nothing behind."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.ablation import Arm
from experiments.launchers import Local
from experiments.plan import ROOT, all_runs, code_version
from experiments.runner import check_jobs, expected_seconds, job_of, make_runs, missing_runs
from experiments.runs import Runs
from experiments.worker import TAKEN, Job, work
from tests.experiments.made import made_ablation, made_row

ABLATION = made_ablation()
FORM = ABLATION.short
WORKER = [sys.executable, "-m", "experiments.worker"]


@pytest.fixture
def job(tmp_path):
    run = all_runs(ABLATION, FORM)[0]
    return job_made(run, tmp_path)


def job_made(run, tmp_path):
    return job_of(run, results=tmp_path / "results", scratch=tmp_path / "scratch", keep=False, num_jobs=1)


def start(job) -> subprocess.Popen:
    process = subprocess.Popen(WORKER, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(job.to_json().encode())
    process.stdin.close()
    return process


def test_two_workers_of_one_run_make_one_row(job, tmp_path):
    workers = [start(job), start(job)]
    assert sorted(worker.wait(timeout=240) for worker in workers) in ([0, 0], [0, TAKEN])
    runs = Runs(tmp_path / "results")
    (row,) = runs.read()
    assert (row["arm"], row["seed"], row["empty_cache"], row["code"]) == ("wide", 0, True, code_version())
    assert row["summary"]["parameters"] > 0
    assert row["summary"]["count"] == row["evaluations"]["scale 2"]["count"] == 50
    assert row["evaluations"]["as it is"]["accuracy"] == row["summary"]["accuracy"]
    assert row["evaluations"]["scale 2"]["drift"] > 0
    assert sum(count for _, count in row["evaluations"]["scale 2"]["by_length"].values()) == 50
    assert [point["step"] for point in row["validation"]] == [1]
    assert len(row["git_commit"]) == 40
    assert not list((tmp_path / "scratch/runs").iterdir())
    assert all_runs(ABLATION, FORM)[0] not in missing_runs(ABLATION, FORM, [row], None)
    programs = set((tmp_path / "scratch/programs").rglob("*_step-*.npz"))
    assert programs
    assert start(job_made(all_runs(ABLATION, FORM, [1])[0], tmp_path)).wait(timeout=240) == 0
    assert set((tmp_path / "scratch/programs").rglob("*_step-*.npz")) == programs


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_leaves_its_run_to_the_next(job, tmp_path, how):
    worker, runs = start(job), Runs(tmp_path / "results")
    give_up = time.monotonic() + 60
    while not runs.in_progress() and time.monotonic() < give_up:
        time.sleep(0.05)
    assert runs.in_progress() == 1
    worker.send_signal(how)
    assert worker.wait(timeout=30) == -how
    assert runs.in_progress() == 0
    assert runs.read() == []


def test_code_that_changed_since_the_run_was_planned_makes_no_row(job):
    with pytest.raises(ValueError, match="the code changed"):
        work(dataclasses.replace(job, code="of a minute ago"))
    assert Runs(Path(job.results)).read() == []


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path, capfd):
    unreadable = made_ablation(arms=(ABLATION.arms[0],), base=lambda: _with_no_such_split())
    code = make_runs(
        all_runs(unreadable, FORM, [0, 1]),
        tmp_path / "results",
        launcher=Local(),
        jobs=2,
        keep=False,
        scratch=tmp_path / "scratch",
    )
    said = capfd.readouterr().err
    assert code == 1
    assert "wide, seed 0: failed: config.data.source is 'nothing'" in said
    assert "2/2" in said
    assert Runs(tmp_path / "results").read() == []


def _with_no_such_split():
    config = ABLATION.base()
    config.data.source = "nothing"
    return config


def test_only_what_is_missing_is_run():
    code = code_version()
    runs = all_runs(ABLATION, FORM)
    rows = [made_row(runs[0], accuracy=0.9, code=code), made_row(runs[1], accuracy=0.9, code="old")]
    assert missing_runs(ABLATION, FORM, rows, None) == runs[1:]
    assert [run.seed for run in missing_runs(ABLATION, FORM, rows, [5])] == [5, 5]


def test_time_is_estimated_from_what_was_measured():
    runs = all_runs(ABLATION, FORM)
    rows = [made_row(runs[0], accuracy=0.9, code="old"), made_row(runs[0], accuracy=0.9, code="old")]
    rows[1]["wall_seconds"] = 14.0
    assert expected_seconds(runs[2], rows) == 13
    assert expected_seconds(runs[1], rows) == 13
    assert expected_seconds(runs[1], []) == 10


def test_what_measures_time_runs_alone():
    check_jobs(ABLATION, 2)
    with pytest.raises(ValueError, match="made measures time"):
        check_jobs(made_ablation(measures_time=True), 2)
    with pytest.raises(ValueError, match="--jobs is 0"):
        check_jobs(ABLATION, 0)


def test_a_run_with_a_probe_proves_its_canvases_and_the_first_seed_compares_its_gradients(tmp_path):
    dealt = {"schedule.kind": "bucketed", "schedule.max_buckets": 2, "schedule.canvases": "class:most"}
    ablation = made_ablation(
        arms=(Arm("dealt", {**dealt, "schedule.examples_per_step": 8}),),
        claims=(),
        evaluations=(),
        probe={"schedule.max_buckets": 1, "schedule.canvases": "smallest"},
        shares_programs=True,
    )
    for run in all_runs(ablation, ablation.short, [0, 1]):
        job = job_made(run, tmp_path)
        assert (job.programs, job.with_empty_cache) == ("of all arms", False)
        assert work(Job.from_json(job.to_json())) == 0
    first, second = Runs(tmp_path / "results").read()
    changes = {"largest_change_of_logits", "largest_change_of_gradient"}
    assert {*first["probe"]} == {*changes, "variance", "variance_within", "bias", "state"}
    assert {*second["probe"]} == changes
    assert first["probe"]["variance"] > 0
    assert first["summary"]["canvas_class_bits"] > 0.5
