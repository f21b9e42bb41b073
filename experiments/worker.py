"""A worker: a process that claims one run, trains, evaluates, and appends the row. It reads its job as JSON from stdin.

The worker itself writes the row, so a finished run is kept even if the process that started the worker has died. The
run of an arm's first seed empties the arm's cache of compiled programs, and fills it for the other seeds, unless all
arms of the ablation share one.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from experiments.ablation import Row
from experiments.plan import FIRST_SEED, ROOT, code_version
from experiments.runs import Runs
from fcn_jax.config import Config, UserError
from fcn_jax.nets.families import config_from_json
from fcn_jax.system.machine import keep_freed_memory

TAKEN = 75
"""Exit code of a worker if another process is making its run (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True)
class EvaluationJob:
    """An evaluation with its whole config, in a form that JSON can hold."""

    name: str
    config: dict[str, Any]
    by_length: bool
    drift_from: str


@dataclass(frozen=True)
class Job:
    """Everything a worker has to know. Paths are text, since a job travels as JSON."""

    ablation: str
    form: str
    arm: str
    seed: int
    key: str
    code: str
    config: dict[str, Any]
    evaluations: list[EvaluationJob]
    probe: dict[str, Any] | None
    """The config of the net at which gradients are measured, and of the steps they are compared with; None: no such."""
    programs: str
    """Name of the cache of compiled programs, which arms may share."""
    results: str
    """The folder of runs.jsonl."""
    scratch: str
    """The folder for compiled programs and for the run's files, which are removed when the run ends."""
    with_empty_cache: bool = False
    """True if the run empties the cache of compiled programs first."""
    keep: bool = False
    """True if the run's files stay."""
    num_jobs: int = 1
    """Number of workers at the same time, this one included; recorded in the row."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        values = json.loads(text)
        values["evaluations"] = [EvaluationJob(**item) for item in values["evaluations"]]
        return cls(**values)


def main() -> int:
    try:
        return work(Job.from_json(sys.stdin.read()))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def work(job: Job) -> int:
    """Make one run, unless it is done or another process is making it, and return the exit code."""
    runs = Runs(Path(job.results))
    with runs.claim(job.key) as is_ours:
        if not is_ours:
            return TAKEN
        if any(row["key"] == job.key for row in runs.read()):
            return 0
        if code_version() != job.code:
            raise UserError("the code changed after this run was planned: start it again")
        runs.append(make_row(job))
    return 0


def make_row(job: Job) -> Row:
    """Train and evaluate, and return the row."""
    began = time.perf_counter()
    place = Path(job.scratch) / "runs" / job.key
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    cache = Path(job.scratch) / "programs" / f"{job.ablation}_{job.form}" / job.programs.replace("/", "_")
    if job.with_empty_cache:
        shutil.rmtree(cache, ignore_errors=True)
    try:
        summary, validation = train_job(job, place / "workdir", cache)
        probed = probe_job(job, place / "probe", cache)
        evaluations = evaluate_job(job, place / "workdir", cache)
    finally:
        if not job.keep:
            shutil.rmtree(place, ignore_errors=True)
    summary.pop("git_commit")
    return {
        "ablation": job.ablation,
        "arm": job.arm,
        "seed": job.seed,
        "form": job.form,
        "key": job.key,
        "code": job.code,
        "git_commit": _git("rev-parse", "HEAD"),
        # Results are not code, so new results do not make the checkout dirty.
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!experiments/results")),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(time.perf_counter() - began, 2),
        "num_jobs": job.num_jobs,
        "empty_cache": job.with_empty_cache,
        "device": summary.pop("device"),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {"python": platform.python_version(), **summary.pop("versions")},
        "config": job.config,
        "summary": summary,
        "validation": validation,
        "evaluations": evaluations,
        "probe": probed,
    }


def _git(*arguments: str) -> str:
    """Return the output of a git command in the checkout; an empty text without git or a checkout."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def config_of(values: dict[str, Any], cache: Path) -> Config:
    config = config_from_json(values)
    config.machine.cache_dir = str(cache)
    return config


def train_job(job: Job, workdir: Path, cache: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Train and return (summary, every validation), as the files of the run hold them."""
    from fcn_jax.commands.train import train
    from fcn_jax.train.log import read_metrics

    keep_freed_memory()
    summary = train(config_of(job.config, cache), workdir)
    rows = read_metrics(workdir / "metrics.jsonl")
    names = ("step", "train_seconds", "accuracy")
    return summary, [{name: row[name] for name in names} for row in rows if row["kind"] == "validation"]


def probe_job(job: Job, workdir: Path, cache: Path) -> dict[str, Any]:
    """Check that the canvases are no part of the function; for the first seed, compare gradients with the probe's."""
    from experiments.probes import gradients_against, largest_change
    from fcn_jax.commands.train import train
    from fcn_jax.train.checkpoint import restore_latest
    from fcn_jax.train.setup import prepare

    if job.probe is None:
        return {}
    setup = prepare(config_of(job.config, cache))
    found: dict[str, Any] = largest_change(setup)
    if job.seed == FIRST_SEED:
        probe = config_of(job.probe, cache)
        train(probe, workdir)
        found |= gradients_against(prepare(probe, abstract=True), setup, restore_latest(workdir, setup.state))
    return found


def evaluate_job(job: Job, workdir: Path, cache: Path) -> dict[str, dict[str, Any]]:
    """Evaluate the trained model on the test set under every evaluation's config, and return the results by name."""
    from fcn_jax.train.checkpoint import restore_latest
    from fcn_jax.train.passes import split_logits
    from fcn_jax.train.setup import prepare

    found, logits = {}, {}
    for evaluation in job.evaluations:
        began = time.perf_counter()
        setup = prepare(config_of(evaluation.config, cache), abstract=True)
        said = split_logits(setup, restore_latest(workdir, setup.state), setup.test, title=evaluation.name)
        dataset = setup.test.dataset
        hit = said.argmax(1) == dataset.labels
        result: dict[str, Any] = {"accuracy": float(hit.mean()), "count": len(hit)}
        if evaluation.by_length:
            result["by_length"] = hits_by_length(hit, dataset.source.sizes[:, 0])
        if evaluation.drift_from:
            result["drift"] = float(np.abs(said - logits[evaluation.drift_from]).max(1).mean())
        result["seconds"] = round(time.perf_counter() - began, 2)
        found[evaluation.name], logits[evaluation.name] = result, said
    return found


def hits_by_length(hit: np.ndarray, length: np.ndarray) -> dict[str, list[int]]:
    """Return {length: [hits, examples]}."""
    return {str(value): [int(hit[length == value].sum()), int((length == value).sum())] for value in np.unique(length)}


if __name__ == "__main__":
    sys.exit(main())
