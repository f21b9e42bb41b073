"""Sends a job a run to SLURM, through submitit; for a checkout on a file system that all nodes share.

Each job has a folder of its own, where its worker claims the run and writes the row. Once the job has left the queue,
the launcher, and it alone, brings the row to the others: no lock is shared between hosts. Jobs are named by the keys of
their runs, so a launcher that was killed finds them again, in the queue or in their folders. submitit pickles the name
of `run_worker` and two paths, for the job alone to read; what jobs make is not unpickled.
"""

import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from experiments.ablation import Ablation
from experiments.launchers import log_of
from experiments.plan import ROOT
from experiments.runs import Runs
from experiments.worker import TAKEN, Job
from fcn_jax.config import UserError
from fcn_jax.system.console import say

os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # Else importing it would reset the process's logging.
import submitit
from submitit.core.utils import FailedJobError

NO_RESULT = 1
MINUTES = 240
"""A job's time limit where --sbatch has none."""

Options = Mapping[str, str | bool]
"""{'partition': 'gpu', 'exclusive': True}: what sbatch is told."""


def sbatch_options(text: str) -> Options:
    """`--partition=gpu --exclusive` -> {'partition': 'gpu', 'exclusive': True}.

    Raises:
        UserError: an option is of another form.
    """
    options = {}
    for word in shlex.split(text):
        name, has_value, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise UserError(f"--sbatch has {word!r}, but its options are of the form --name=value: --partition=gpu")
        options[name] = value if has_value else True
    return options


def check_slurm(ablation: Ablation) -> None:
    """
    Raises:
        UserError: there is no SLURM, or the ablation is not for it.
    """
    if ablation.measures_time:
        raise UserError(
            f"--launcher is slurm, but {ablation.name} measures time, which nodes that differ or are shared would "
            "falsify: leave --launcher at local"
        )
    if shutil.which("sbatch") is None:
        raise UserError("--launcher is slurm, but there is no sbatch here: log in where SLURM takes jobs")


class Slurm:
    """The launcher of a cluster, whose jobs outlive it.

    Args:
        executor: (key, folder, log) -> what submits a job of that name, with its files in the folder.
        keys_in_queue: the names of the jobs that have not ended; None where it cannot be told now.
    """

    def __init__(
        self,
        executor: Callable[[str, Path, Path], submitit.Executor],
        keys_in_queue: Callable[[], set[str] | None],
        *,
        seconds_between_looks: float = 5.0,
    ):
        self.seconds_between_looks = seconds_between_looks
        self._executor, self._keys_in_queue = executor, keys_in_queue
        self._live: dict[str, tuple[Job, ExitStack]] = {}
        """Jobs by key, each with the claim on its run."""
        self._ended: list[tuple[Job, int]] = []

    def start(self, job: Job) -> None:
        with ExitStack() as claim:
            if not claim.enter_context(Runs(Path(job.results)).claim(job.key)):
                self._ended.append((job, TAKEN))
            elif _has_row(Path(job.results), job.key):
                self._ended.append((job, 0))
            else:
                self._send_unless_sent(job)
                self._live[job.key] = job, claim.pop_all()

    def ended(self) -> list[tuple[Job, int]]:
        found, self._ended = self._ended, []
        queue = self._keys_in_queue()
        if queue is not None:
            for key in self._live.keys() - queue:
                job, claim = self._live.pop(key)
                with claim:
                    found.append((job, _collect(job)))
        return found

    def stop(self) -> str:
        for _, claim in self._live.values():
            claim.close()
        return "jobs that were sent go on (scancel ends them); the same command goes on with them"

    def _send_unless_sent(self, job: Job) -> None:
        folder, log = _folder_of(job), log_of(job)
        queue = self._keys_in_queue()
        if queue is None:
            raise UserError("SLURM does not say which jobs it has: wait until squeue works, then start again")
        if job.key in queue or _has_row(folder, job.key):
            say(f"{job.arm}, seed {job.seed}: was sent before")
            return
        folder.mkdir(parents=True, exist_ok=True)
        log.write_text("its job did not begin\n")  # What is known of a job that is cancelled while it waits.
        Runs(folder).path.touch()  # A host may believe for a while that a file is not there, not that it is empty.
        own = dataclasses.replace(job, results=str(folder), scratch=str(folder), num_jobs=1)
        (folder / "job.json").write_text(own.to_json())
        try:
            sent = self._executor(job.key, folder, log).submit(run_worker, str(folder / "job.json"), str(log))
        except FailedJobError as error:
            raise UserError(f"sbatch refuses the job ({error}): mend --sbatch, or send fewer with --jobs") from error
        say(f"{job.arm}, seed {job.seed}: sent as job {sent.job_id}")


def slurm(options: Options) -> Slurm:
    """The SLURM that sbatch and squeue speak to."""

    def executor(key: str, folder: Path, log: Path) -> submitit.SlurmExecutor:
        made = submitit.SlurmExecutor(folder)
        made.update_parameters(
            job_name=key,
            time=MINUTES,
            # srun would, since SLURM 22.05, leave the worker one CPU of those that --cpus-per-task asks for.
            use_srun=False,
            # The last word on a job that is cancelled is SLURM's.
            setup=["export SUBMITIT_LOG_LEVEL=CRITICAL"],
            additional_parameters={"error": str(log), **options},
        )
        return made

    return Slurm(executor, keys_in_squeue)


def keys_in_squeue() -> set[str] | None:
    """The names of this user's jobs that wait or run."""
    done = subprocess.run(["squeue", "--me", "--noheader", "--format=%j"], capture_output=True, text=True, check=False)
    if done.returncode:
        say(f"squeue fails, and is asked again: {' '.join(done.stderr.split())}")
        return None
    return set(done.stdout.split())


def run_worker(job: str, log: str) -> None:
    """In the job: a worker, whose exit code becomes the job's.

    Args:
        job: file of the job as JSON.
        log: file that what it says is appended to.
    """
    with Path(job).open() as values, Path(log).open("a") as file:
        worker = [sys.executable, "-m", "experiments.worker"]
        code = subprocess.run(worker, cwd=ROOT, stdin=values, stdout=file, stderr=file, check=False).returncode
    if code:
        sys.exit(code)


def _folder_of(job: Job) -> Path:
    return Path(job.scratch) / "slurm" / job.key


def _has_row(directory: Path, key: str) -> bool:
    return any(row["key"] == key for row in Runs(directory).read())


def _collect(job: Job) -> int:
    """Bring the row of a job that has ended to the others; its exit code, as far as it can be told."""
    folder = _folder_of(job)
    rows = [row for row in Runs(folder).read() if row["key"] == job.key]
    if not rows:
        return NO_RESULT
    Runs(Path(job.results)).append(rows[0])
    if not job.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0
