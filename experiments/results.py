"""Which rows count, and what they say: values of metrics by arm and seed, differences, verdicts on claims.

Rows of this code and these configs count. Where there are none at all, the rows of the newest other code do, all of
them marked as stale; the two are never mixed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.ablation import Ablation, Claim, Form, Metric, Row
from experiments.plan import ArmRun
from experiments.statistics import Difference, Verdict, paired_difference, verdict


@dataclass(frozen=True)
class Results:
    """The rows of an ablation that count."""

    ablation: Ablation
    form: Form
    rows: tuple[Row, ...]
    are_stale: bool
    """They were made by other code, or with other configs."""
    num_left_out: int
    """Rows of other code or other configs."""

    def values(self, arm: str, metric: Metric) -> dict[int, float]:
        """{seed: value} of an arm, where there is one."""
        rows = [row for row in self.rows if row["arm"] == arm]
        if metric.from_first_seed:
            rows = [row for row in rows if row["empty_cache"]]
        found = {row["seed"]: metric.value(row) for row in rows}
        return {seed: value for seed, value in sorted(found.items()) if value is not None}

    def difference(self, arm: str, against: str | None, metric: Metric) -> Difference | None:
        """Of an arm to another, or to 0, over the seeds both have."""
        values = self.values(arm, metric)
        others = dict.fromkeys(values, 0.0) if against is None else self.values(against, metric)
        return paired_difference(values, others)

    def judge(self, claim: Claim) -> tuple[Verdict, Difference | None]:
        """Whether a claim is supported, and the difference that says so."""
        difference = self.difference(claim.arm, claim.against, claim.metric)
        return verdict(difference, claim.expected, claim.margin), difference

    @property
    def arms(self) -> tuple[str, ...]:
        """Those that have a row, in the ablation's order."""
        present = {row["arm"] for row in self.rows}
        return tuple(arm.name for arm in self.ablation.arms if arm.name in present)

    @property
    def num_missing(self) -> int:
        """Runs of the form without a row."""
        present = {(row["arm"], row["seed"]) for row in self.rows}
        return sum((arm.name, seed) not in present for arm in self.ablation.arms for seed in range(self.form.num_seeds))


def select(ablation: Ablation, form: Form, rows: Sequence[Row], code: str) -> Results:
    """The rows that count.

    Args:
        rows: in the order they were written.
        code: the present version.
    """
    known = {arm.name: arm for arm in ablation.arms}
    ours = [
        row
        for row in rows
        if row["arm"] in known and _is_current(row, ArmRun(ablation, form, known[row["arm"]], row["seed"]), code)
    ]
    if ours or not rows:
        return Results(ablation, form, tuple(ours), are_stale=False, num_left_out=len(rows) - len(ours))
    newest = rows[-1]["code"]
    kept: dict[tuple[str, int], Row] = {}
    for row in rows:
        if row["arm"] in known and row["code"] == newest:
            kept[row["arm"], row["seed"]] = row
    return Results(ablation, form, tuple(kept.values()), are_stale=True, num_left_out=len(rows) - len(kept))


def _is_current(row: Row, run: ArmRun, code: str) -> bool:
    return row["code"] == code and row["key"] == run.key(code)
