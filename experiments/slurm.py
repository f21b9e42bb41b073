"""The launcher that sends one SLURM job per run, through submitit. All nodes must share the checkout's file system.

Each job has its own folder, where its worker claims the run and writes the row. When the job has left the queue, only
the launcher copies the row to the other rows, so hosts share no lock. A job's name is the key of its run, so after a
kill a new launcher finds the jobs again, in the queue or in their folders. submitit pickles the name of `run_worker`
and two paths, which only the job reads; nothing that jobs write is unpickled.
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
"""Minutes that a job may take, unless --sbatch sets a time limit."""

Options = Mapping[str, str | bool]
"""Options for sbatch, such as {'partition': 'gpu', 'exclusive': True}."""


def sbatch_options(text: str) -> Options:
    """Return `--partition=gpu --exclusive` as {'partition': 'gpu', 'exclusive': True}.

    Raises:
        UserError: an option has another form.
    """
    options = {}
    for word in shlex.split(text):
        name, has_value, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise UserError(f"--sbatch has {word!r}, but its options are of the form --name=value: --partition=gpu")
        options[name] = value if has_value else True
    return options


def check_slurm(ablation: Ablation) -> None:
    """Check that SLURM can make the runs of an ablation.

    Raises:
        UserError: this machine has no SLURM, or the ablation measures time.
    """
    if ablation.measures_time:
        raise UserError(
            f"--launcher is slurm, but {ablation.name} measures time, and the nodes of a cluster may differ or be "
            "shared: leave --launcher at local"
        )
    if shutil.which("sbatch") is None:
        raise UserError(
            "--launcher is slurm, but there is no sbatch here: run this on a machine that can send jobs to SLURM"
        )


class Slurm:
    """A launcher of SLURM jobs, which keep running after the launcher has ended.

    Args:
        executor: makes the object that submits a job, from (key, folder, log). The key is the job's name, and the
            folder holds its files.
        keys_in_queue: returns the names of the jobs that have not ended, or None if SLURM does not answer now.
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
        """The jobs by key, each with the claim on its run."""
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
        return "jobs that were sent keep running (scancel ends them); the same command finds them again"

    def _send_unless_sent(self, job: Job) -> None:
        folder, log = _folder_of(job), log_of(job)
        queue = self._keys_in_queue()
        if queue is None:
            raise UserError("SLURM does not say which jobs it has: wait until squeue works, then start again")
        if job.key in queue or _has_row(folder, job.key):
            say(f"{job.arm}, seed {job.seed}: was sent before")
            return
        folder.mkdir(parents=True, exist_ok=True)
        log.write_text(
            "its job did not begin\n", encoding="utf-8"
        )  # This stays if the job is cancelled while it waits.
        Runs(folder).path.touch()  # Another host may not see a new file for a while, but it does see new content.
        own = dataclasses.replace(job, results=str(folder), scratch=str(folder), num_jobs=1)
        (folder / "job.json").write_text(own.to_json(), encoding="utf-8")
        try:
            sent = self._executor(job.key, folder, log).submit(run_worker, str(folder / "job.json"), str(log))
        except FailedJobError as error:
            raise UserError(
                f"sbatch refuses the job ({error}): correct --sbatch, or send fewer jobs with --jobs"
            ) from error
        say(f"{job.arm}, seed {job.seed}: sent as job {sent.job_id}")


def slurm(options: Options) -> Slurm:
    """Return the launcher for the SLURM that sbatch and squeue talk to."""

    def executor(key: str, folder: Path, log: Path) -> submitit.SlurmExecutor:
        made = submitit.SlurmExecutor(folder)
        made.update_parameters(
            job_name=key,
            time=MINUTES,
            # Since SLURM 22.05, srun gives the worker one CPU only, whatever --cpus-per-task asks for.
            use_srun=False,
            # The last line in the log of a cancelled job is then SLURM's own.
            setup=["export SUBMITIT_LOG_LEVEL=CRITICAL"],
            additional_parameters={"error": str(log), **options},
        )
        return made

    return Slurm(executor, keys_in_squeue)


def keys_in_squeue() -> set[str] | None:
    """Return the names of this user's jobs that wait or run; None if squeue fails."""
    done = subprocess.run(["squeue", "--me", "--noheader", "--format=%j"], capture_output=True, text=True, check=False)
    if done.returncode:
        say(f"squeue failed and will be asked again: {' '.join(done.stderr.split())}")
        return None
    return set(done.stdout.split())


def run_worker(job: str, log: str) -> None:
    """Run a worker inside the SLURM job. Its exit code becomes the exit code of the job.

    Args:
        job: path of the file with the job as JSON.
        log: path of the file to which the worker's output is appended.
    """
    with Path(job).open(encoding="utf-8") as values, Path(log).open("a", encoding="utf-8") as file:
        worker = [sys.executable, "-m", "experiments.worker"]
        code = subprocess.run(worker, cwd=ROOT, stdin=values, stdout=file, stderr=file, check=False).returncode
    if code:
        sys.exit(code)


def _folder_of(job: Job) -> Path:
    return Path(job.scratch) / "slurm" / job.key


def _has_row(directory: Path, key: str) -> bool:
    return any(row["key"] == key for row in Runs(directory).read())


def _collect(job: Job) -> int:
    """Copy the row of a job that has ended to the other rows, and return 0; return `NO_RESULT` if it left no row."""
    folder = _folder_of(job)
    rows = [row for row in Runs(folder).read() if row["key"] == job.key]
    if not rows:
        return NO_RESULT
    Runs(Path(job.results)).append(rows[0])
    if not job.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0
