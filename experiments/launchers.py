"""Launchers of runs: a launcher starts the worker of a job somewhere, and tells when and how the worker ended.

`Local` starts processes on this machine. The module `slurm` has the launcher that sends jobs to a cluster.
"""

import subprocess
import sys
from pathlib import Path
from typing import Protocol

from experiments.plan import ROOT
from experiments.worker import Job


class Launcher(Protocol):
    """The interface through which the runner starts jobs."""

    seconds_between_looks: float
    """Seconds that the runner waits between two calls of `ended`."""

    def start(self, job: Job) -> None:
        """Start the worker of a job, or take it over if it was started before."""
        ...

    def ended(self) -> list[tuple[Job, int]]:
        """Return the jobs that have ended since the last call, each with its exit code."""
        ...

    def stop(self) -> str:
        """Give up the jobs that have not ended, and return a sentence that says what becomes of them."""
        ...


class Local:
    """A launcher that starts processes on this machine and ends them when it is stopped."""

    seconds_between_looks = 0.2

    def __init__(self):
        self._live: list[tuple[Job, subprocess.Popen]] = []

    def start(self, job: Job) -> None:
        with log_of(job).open("a", encoding="utf-8") as file:  # another process may be writing to it
            process = subprocess.Popen(
                [sys.executable, "-m", "experiments.worker"], cwd=ROOT, stdin=subprocess.PIPE, stdout=file, stderr=file
            )
        assert process.stdin is not None
        process.stdin.write(job.to_json().encode())
        process.stdin.close()
        self._live.append((job, process))

    def ended(self) -> list[tuple[Job, int]]:
        codes = [(job, process, process.poll()) for job, process in self._live]
        self._live = [(job, process) for job, process, code in codes if code is None]
        return [(job, code) for job, _, code in codes if code is not None]

    def stop(self) -> str:
        for _, process in self._live:
            process.terminate()
        for _, process in self._live:
            process.wait()
        return "the same command makes them"


def log_of(job: Job) -> Path:
    """Return the path of the file that holds what the job's worker prints."""
    path = Path(job.scratch) / "logs" / f"{job.key}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
