"""The `check` command: make one seed of each arm again, and compare the results with the committed runs.

On the same machine with the same versions, a run made again has the very same result. Elsewhere it should fall into the
interval of one more run (Student's t, 95 %), which the other seeds give. About one arm in twenty falls outside it by
chance, so the check fails only if more do than chance explains. The new runs go to a temporary folder, so no committed
file changes, and no run beside them is disturbed.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from experiments.ablation import Ablation
from experiments.launchers import Local
from experiments.page import commands
from experiments.plan import all_runs
from experiments.report import RESULTS, results_of
from experiments.runner import make_runs
from experiments.runs import Runs
from experiments.statistics import interval_of_next, most_outside
from experiments.words import number
from fcn_jax.config import UserError
from fcn_jax.system.console import say

Outcome = Literal["as committed", "inside", "OUTSIDE", "no result"]


def check(ablation: Ablation, *, full: bool, seed: int, jobs: int, root: Path = RESULTS) -> int:
    """Make the runs, compare them, and return the exit code: 1 where a run failed or too many fell outside, else 0.

    Raises:
        UserError: an arm has fewer than two committed runs of other seeds, and one run has no spread.
    """
    committed, metric = results_of(ablation, full=full, root=root), ablation.metrics[0]
    form = ablation.form(full=full)
    values = {arm.name: committed.values(arm.name, metric) for arm in ablation.arms if ablation.seeds(form, arm)}
    for arm, of_arm in values.items():
        if len(of_arm.keys() - {seed}) < 2:
            raise UserError(
                f"{ablation.name} has {len(of_arm.keys() - {seed})} committed runs of {arm} besides seed {seed}, but a "
                f"spread needs at least two: make them with {commands(ablation, form).splitlines()[0]}"
            )
    if committed.are_stale:
        say("the committed results come from other code or other configs: this check compares them with this checkout")
    with tempfile.TemporaryDirectory() as directory:
        results, scratch = Path(directory) / "results", Path(directory) / "scratch"
        runs = all_runs(ablation, form, [seed])
        code = make_runs(runs, results, scratch=scratch, launcher=Local(), jobs=jobs, keep=False)
        made = {row["arm"]: metric.value(row) for row in Runs(results).read()}
    found = Counter[Outcome]()
    for arm, of_arm in values.items():
        outcome, interval = compare(of_arm, made.get(arm), seed)
        found[outcome] += 1
        low, high = (number(metric, end) for end in interval)
        value = "" if (again := made.get(arm)) is None else f" {metric.name} {number(metric, again)},"
        print(f"{arm}:{value} {outcome}; {low} to {high} is expected for one more run")
    limit = most_outside(len(values))
    print(
        f"{len(values)} arms, seed {seed}: {found['as committed']} as committed, {found['inside']} inside, "
        f"{found['OUTSIDE']} outside (chance explains up to {limit})"
    )
    return code or int(found["no result"] > 0 or found["OUTSIDE"] > limit)


def compare(committed: Mapping[int, float], again: float | None, seed: int) -> tuple[Outcome, tuple[float, float]]:
    """Return how a run made again compares with the committed ones, and the interval that the other seeds give.

    Args:
        committed: {seed: value}, with at least two other seeds.
        again: the value of the run made again; None: it failed.
    """
    low, high = interval_of_next([value for other, value in committed.items() if other != seed])
    if again is None:
        return "no result", (low, high)
    if committed.get(seed) == again:
        return "as committed", (low, high)
    return "inside" if low <= again <= high else "OUTSIDE", (low, high)
