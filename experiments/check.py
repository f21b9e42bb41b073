"""The `check` command: make one seed of each arm again, and compare the result with the committed runs.

The result should fall into the interval of one more run (Student's t, 95 %). About one arm in twenty falls outside it
by chance. The new runs go to a temporary folder, so no committed file changes.
"""

import tempfile
from pathlib import Path

from experiments.ablation import Ablation
from experiments.launchers import Local
from experiments.page import commands
from experiments.plan import all_runs, code_version
from experiments.report import RESULTS, results_of
from experiments.results import Results, select
from experiments.runner import make_runs
from experiments.runs import Runs
from experiments.statistics import interval_of_next
from experiments.words import number
from fcn_jax.config import UserError
from fcn_jax.system.console import say


def check(ablation: Ablation, *, full: bool, seed: int, jobs: int, root: Path = RESULTS) -> int:
    """Make the runs, compare them, and return the exit code: 0, or 1 where a run failed or fell outside.

    Raises:
        UserError: an arm has fewer than two committed runs, and one run has no spread.
    """
    committed, metric = results_of(ablation, full=full, root=root), ablation.metrics[0]
    form = ablation.form(full=full)
    arms = [arm for arm in ablation.arms if ablation.seeds(form, arm)]
    for arm in arms:
        if len(committed.values(arm.name, metric)) < 2:
            raise UserError(
                f"{ablation.name} has {len(committed.values(arm.name, metric))} committed runs of {arm.name}, but a "
                f"spread needs at least two: make them with {commands(ablation, form).splitlines()[0]}"
            )
    if committed.are_stale:
        say("the committed results come from other code or other configs: this check compares them with this checkout")
    with tempfile.TemporaryDirectory() as directory:
        runs = all_runs(ablation, form, [seed])
        code = make_runs(runs, Path(directory), launcher=Local(), jobs=jobs, keep=False)
        made = select(ablation, form, Runs(Path(directory)).read(), code_version())
    lines = [compare(committed, made, arm.name) for arm in arms]
    for _, line in lines:
        print(line)
    return code or int(not all(inside for inside, _ in lines))


def compare(committed: Results, made: Results, arm: str) -> tuple[bool, str]:
    """Return whether the new run of an arm falls inside the expected interval, and a line that says so."""
    metric = committed.ablation.metrics[0]
    low, high = interval_of_next([*committed.values(arm, metric).values()])
    values = [*made.values(arm, metric).values()]
    expected = f"{number(metric, low)} to {number(metric, high)} is expected for one more run"
    if not values:
        return False, f"{arm}: no result; {expected}"
    inside = low <= values[0] <= high
    return inside, f"{arm}: {metric.name} {number(metric, values[0])}, {'inside' if inside else 'OUTSIDE'}; {expected}"
