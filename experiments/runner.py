"""The runner: it makes the missing runs, each in a worker of its own, a few at a time, and estimates their time.

It is safe to stop it in any way. Every worker writes its own row, and a run that did not finish is still missing, so
the next start makes it.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from experiments.ablation import Ablation, Form, Row
from experiments.launchers import Launcher, log_of
from experiments.plan import ROOT, ArmRun, all_runs, code_version
from experiments.worker import TAKEN, EvaluationJob, Job
from fcn_jax.config import UserError
from fcn_jax.system.console import print_table, say

SCRATCH = ROOT / ".cache" / "experiments"


def job_of(run: ArmRun, *, results: Path, scratch: Path, keep: bool, num_jobs: int) -> Job:
    """Return the job that tells a worker how to make the run."""
    code, how = code_version(), {item.name: item for item in run.ablation.evaluations}
    evaluations = [
        EvaluationJob(name, dataclasses.asdict(config), how[name].by_length, how[name].drift_from)
        for name, config in run.evaluations.items()
    ]
    return Job(
        ablation=run.ablation.name,
        form=run.form.name,
        arm=run.arm.name,
        seed=run.seed,
        key=run.key(code),
        code=code,
        config=dataclasses.asdict(run.config),
        evaluations=evaluations,
        probe=None if run.probe is None else dataclasses.asdict(run.probe),
        results=str(results),
        scratch=str(scratch),
        programs="of all arms" if run.ablation.shares_programs else run.arm.name,
        with_empty_cache=run.is_first_seed and not run.ablation.shares_programs,
        keep=keep,
        num_jobs=num_jobs,
    )


def missing_runs(ablation: Ablation, form: Form, rows: Sequence[Row], seeds: Sequence[int] | None) -> list[ArmRun]:
    """Return the runs that have no row of the present code and the present config."""
    made = {row["key"] for row in rows}
    return [run for run in all_runs(ablation, form, seeds) if run.key(code_version()) not in made]


def expected_seconds(run: ArmRun, rows: Sequence[Row]) -> float:
    """Return the seconds that a run is expected to take.

    This is the mean of the earlier runs of its arm; without any, of the ablation; without any, the value of the form.
    """
    of_arm = [row["wall_seconds"] for row in rows if row["arm"] == run.arm.name]
    return mean(of_arm or [row["wall_seconds"] for row in rows] or [run.form.seconds_per_run])


def check_jobs(ablation: Ablation, jobs: int) -> None:
    """Check that the runs of an ablation may be made so many at a time.

    Raises:
        UserError: the number is below 1, or above 1 although the ablation measures time.
    """
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}, but it must be at least 1")
    if jobs > 1 and ablation.measures_time:
        raise UserError(
            f"--jobs is {jobs}, but {ablation.name} measures time, and runs at the same time slow each other down: "
            "leave --jobs at 1"
        )


def print_plan(runs: Sequence[ArmRun], rows: Sequence[Row], *, jobs: int) -> None:
    """Print the runs that would be made, and about how long they take."""
    seconds = [expected_seconds(run, rows) for run in runs]
    lines = [
        (
            run.arm.name,
            str(run.seed),
            f"{cost:.0f}",
            "empty cache" if run.is_first_seed and not run.ablation.shares_programs else "",
        )
        for run, cost in zip(runs, seconds, strict=True)
    ]
    print_table(f"{len(runs)} runs to make", ("arm", "seed", "seconds", ""), lines)
    print(f"{len(runs)} runs, about {sum(seconds) / jobs / 60:.1f} minutes with --jobs {jobs}")


def make_runs(
    runs: Sequence[ArmRun], results: Path, *, launcher: Launcher, jobs: int, keep: bool, scratch: Path = SCRATCH
) -> int:
    """Make the runs and return the exit code: 0, 1 if a run failed, 130 if the user stopped it."""
    waiting, live, codes = list(runs), {}, []
    try:
        while waiting or live:
            while waiting and len(live) < jobs:
                run = waiting.pop(0)
                job = job_of(run, results=results, scratch=scratch, keep=keep, num_jobs=jobs)
                launcher.start(job)
                live[job.key] = run, time.monotonic()
            time.sleep(launcher.seconds_between_looks)
            for job, code in launcher.ended():
                run, began = live.pop(job.key)
                codes.append(code)
                said, seconds = _how_it_ended(code, log_of(job)), time.monotonic() - began
                say(f"{len(codes)}/{len(runs)}  {run}: {said} {seconds:.0f} s")
    except KeyboardInterrupt:
        say(f"stopped: {len(waiting) + len(live)} of {len(runs)} runs are left; {launcher.stop()}")
        return 130
    if TAKEN in codes:
        say(f"another process is making {codes.count(TAKEN)} of the runs: wait for it before you make the report")
    return 0 if set(codes) <= {0, TAKEN} else 1


def _how_it_ended(code: int, log: Path) -> str:
    match code:
        case 0:
            return "done in"
        case code if code == TAKEN:
            return "another process is making it; waited"
        case _:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return f"failed: {lines[-1] if lines else f'exit code {code}'} ({log}); after"
