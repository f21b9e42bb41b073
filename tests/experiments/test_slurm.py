"""Jobs of SLURM, played by submitit's local executor: whatever becomes of the launcher, each run makes one row."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import submitit

from experiments.launchers import log_of
from experiments.plan import ROOT, all_runs, code_version
from experiments.runner import job_of, make_runs, missing_runs
from experiments.runs import Runs
from experiments.slurm import NO_RESULT, Slurm, check_slurm, keys_in_squeue, sbatch_options, slurm
from experiments.worker import TAKEN
from tests.experiments.made import made_ablation, made_row

ABLATION = made_ablation()
RUNS = all_runs(ABLATION, ABLATION.short, [0])
LAUNCH = "import sys; from tests.experiments.test_slurm import launch; sys.exit(launch(sys.argv[1]))"


def launch(directory: str) -> int:
    """The two runs of the first seed, as far as they are missing."""
    results = Path(directory) / "results"
    runs = missing_runs(ABLATION, ABLATION.short, Runs(results).read(), [0])
    scratch = Path(directory) / "scratch"
    return make_runs(runs, results, launcher=local_slurm(), jobs=2, keep=False, scratch=scratch)


def local_slurm() -> Slurm:
    return Slurm(local_executor, keys_of_processes, seconds_between_looks=0.2)


def local_executor(key: str, folder: Path, log: Path) -> submitit.LocalExecutor:
    executor = submitit.LocalExecutor(folder)
    executor.update_parameters(timeout_min=10)
    return executor


def keys_of_processes() -> set[str]:
    """A queue that outlives the launcher: a local job's process has the job's folder in its command line."""
    said = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return {Path(line.split()[-1]).name for line in said.splitlines() if "submitit.local._local" in line}


@pytest.fixture
def job(tmp_path):
    return job_of(RUNS[0], results=tmp_path / "results", scratch=tmp_path / "scratch", keep=False, num_jobs=2)


def test_a_killed_launcher_loses_no_row_and_the_next_makes_none_twice(tmp_path, capfd):
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCH, str(tmp_path)], cwd=ROOT)
    keys = {run.key(code_version()) for run in RUNS}
    give_up = time.monotonic() + 120
    while not keys <= keys_of_processes() and time.monotonic() < give_up:
        time.sleep(0.1)
    launcher.kill()
    launcher.wait()
    assert keys <= keys_of_processes()
    assert launch(str(tmp_path)) == 0
    said = capfd.readouterr().err
    assert said.count("sent as job") == said.count("was sent before") == 2
    rows = Runs(tmp_path / "results").path.read_text().splitlines()
    assert len(rows) == 2
    assert {(row["arm"], row["num_jobs"]) for row in Runs(tmp_path / "results").read()} == {("wide", 1), ("narrow", 1)}
    assert Runs(tmp_path / "results").in_progress() == 0
    assert not list((tmp_path / "scratch/slurm").iterdir())


def test_a_job_without_a_result_is_named(tmp_path, capfd):
    def tiny_config_of_nothing():
        config = ABLATION.base()
        config.data.source = "nothing"
        return config

    broken = made_ablation(arms=(ABLATION.arms[0],), base=tiny_config_of_nothing)
    runs, results, scratch = all_runs(broken, broken.short, [0]), tmp_path / "results", tmp_path / "scratch"
    assert make_runs(runs, results, launcher=local_slurm(), jobs=1, keep=False, scratch=scratch) == 1
    assert "wide, seed 0: failed: config.data.source is 'nothing'" in capfd.readouterr().err
    assert Runs(results).read() == []


def test_a_job_that_ended_without_a_launcher_is_not_sent_again(job):
    launcher = Slurm(_sends_nothing, set)
    Runs(Path(job.scratch) / "slurm" / job.key).append(made_row(RUNS[0], accuracy=0.9, code=code_version()))
    launcher.start(job)
    assert launcher.ended() == [(job, 0)]
    assert launcher.ended() == []
    assert [row["key"] for row in Runs(Path(job.results)).read()] == [job.key]
    launcher.start(job)
    assert launcher.ended() == [(job, 0)]
    assert len(Runs(Path(job.results)).path.read_text().splitlines()) == 1


def test_a_run_that_another_launcher_waits_for_is_left_to_it(job):
    launcher = Slurm(_sends_nothing, set)
    with Runs(Path(job.results)).claim(job.key):
        launcher.start(job)
    assert launcher.ended() == [(job, TAKEN)]


def test_no_job_has_ended_while_the_queue_cannot_be_seen(job):
    answers = iter([{job.key}, {job.key}, None, set()])
    launcher = Slurm(_sends_nothing, lambda: next(answers))
    launcher.start(job)
    assert launcher.ended() == []
    assert launcher.ended() == []
    assert launcher.ended() == [(job, NO_RESULT)]
    with pytest.raises(ValueError, match="wait until squeue works"):
        Slurm(_sends_nothing, lambda: None).start(job)


def _sends_nothing(key, folder, log):
    raise AssertionError("a job was sent")


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A folder for commands that stand in for SLURM's."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def command(name: str, script: str) -> None:
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)

    command("srun", "exit 1")
    command("squeue", "echo another")
    return command


def test_sbatch_gets_the_options(job, commands):
    commands("sbatch", "echo Submitted batch job 7")
    slurm(sbatch_options("--partition=gpu --time=1:00:00 --exclusive")).start(job)
    (file,) = (Path(job.scratch) / "slurm" / job.key).glob("7_submission.sh")
    told = file.read_text()
    for option in ("partition=gpu", "time=1:00:00", "exclusive", f"job-name={job.key}", f"error={log_of(job)}"):
        assert f"#SBATCH --{option}\n" in told


def test_a_job_that_never_began_is_said_so(tmp_path, commands, capfd):
    commands("sbatch", "echo Submitted batch job 7")
    launcher, scratch = slurm({}), tmp_path / "scratch"
    launcher.seconds_between_looks = 0
    assert make_runs(RUNS[:1], tmp_path / "results", launcher=launcher, jobs=1, keep=False, scratch=scratch) == 1
    assert "wide, seed 0: failed: its job did not begin" in capfd.readouterr().err


def test_what_sbatch_refuses_is_one_line(job, commands):
    commands("sbatch", "echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1")
    with pytest.raises(ValueError, match=r"sbatch refuses the job .*invalid partition specified: gpu"):
        slurm({}).start(job)
    assert Runs(Path(job.results)).in_progress() == 0


def test_a_queue_that_fails_is_not_an_empty_one(commands, capfd):
    assert keys_in_squeue() == {"another"}
    commands("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert keys_in_squeue() is None
    assert "Unable to contact" in capfd.readouterr().err


def test_what_is_not_for_slurm(commands, monkeypatch):
    commands("sbatch", "exit 0")
    check_slurm(ABLATION)
    with pytest.raises(ValueError, match="made measures time"):
        check_slurm(made_ablation(measures_time=True))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match="there is no sbatch here"):
        check_slurm(ABLATION)
