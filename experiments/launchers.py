"""Where runs are made. A launcher starts the worker of a job somewhere and says when it has ended, and how.

This one starts processes here; `slurm` has the one that sends jobs to a cluster.
"""

import subprocess
import sys
from pathlib import Path
from typing import Protocol

from experiments.plan import ROOT
from experiments.worker import Job


class Launcher(Protocol):
    """How the runner starts jobs."""

    seconds_between_looks: float
    """At least, between two calls of `ended`."""

    def start(self, job: Job) -> None:
        """Start the job's worker, or take it over where it is on its way already."""
        ...

    def ended(self) -> list[tuple[Job, int]]:
        """Jobs that have ended since the last call, each with its exit code."""
        ...

    def stop(self) -> str:
        """Let go of the others; returns what becomes of them."""
        ...


class Local:
    """Processes beside this one, which end when it is stopped."""

    seconds_between_looks = 0.2

    def __init__(self):
        self._live: list[tuple[Job, subprocess.Popen]] = []

    def start(self, job: Job) -> None:
        with log_of(job).open("w") as file:
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
        return "the same command goes on"


def log_of(job: Job) -> Path:
    """What its worker says."""
    path = Path(job.scratch) / "logs" / f"{job.key}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
