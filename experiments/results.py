"""The results of an ablation: values of metrics by arm and seed, differences between arms, verdicts on claims.

The rows count that were made by the present code with the present configs, also those of more seeds than the form has.
A row belongs to the arm that has its key, whatever the arm was called then. If there is no such row, the rows of the
code and the configs that ran last count instead, and are marked as stale. Current and stale rows are never mixed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.ablation import Ablation, Claim, Form, Metric, Row
from experiments.plan import FIRST_SEED, all_runs
from experiments.statistics import Difference, Verdict, paired_difference, verdict


@dataclass(frozen=True)
class Results:
    """The rows of an ablation that count."""

    ablation: Ablation
    form: Form
    rows: tuple[Row, ...]
    are_stale: bool
    """True if the rows were made by other code, or with other configs."""
    num_left_out: int
    """Number of rows that do not count."""
    older: tuple[Row, ...] = ()
    """Of the rows that do not count because others do now, those of the code that ran last."""

    def values(self, arm: str, metric: Metric) -> dict[int, float]:
        """Return {seed: value} of an arm, for the seeds that have a value."""
        rows = [row for row in self.rows if row["arm"] == arm]
        if metric.from_first_seed:
            rows = [row for row in rows if row["seed"] == FIRST_SEED]
        found = {row["seed"]: metric.value(row) for row in rows}
        return {seed: value for seed, value in sorted(found.items()) if value is not None}

    def before(self, arm: str, metric: Metric) -> dict[int, float]:
        """Return {seed: value} of an arm in the older rows."""
        return Results(self.ablation, self.form, self.older, are_stale=True, num_left_out=0).values(arm, metric)

    def difference(self, arm: str, against: str | None, metric: Metric) -> Difference | None:
        """Return the difference of an arm to another, or to 0, over the seeds that both have."""
        values = self.values(arm, metric)
        return paired_difference(values, self._to_subtract(values, against, metric))

    def _to_subtract(self, values: Mapping[int, float], against: str | None, metric: Metric) -> dict[int, float]:
        """Return the values of an arm, or 0 for each seed where there is none."""
        return dict.fromkeys(values, 0.0) if against is None else self.values(against, metric)

    def judge(self, claim: Claim) -> tuple[Verdict, Difference | None]:
        """Return the verdict on a claim, and the difference that it rests on.

        It is open if some runs lack the number, such as the seconds to an accuracy that they never reached.
        """
        values = self.values(claim.arm, claim.metric)
        others = self._to_subtract(values, claim.against, claim.metric)
        if claim.beyond is not None:
            first, second = (self.values(arm, claim.metric) for arm in claim.beyond)
            shared = others.keys() & first.keys() & second.keys()
            others = {seed: others[seed] + first[seed] - second[seed] for seed in shared}
        difference = paired_difference(values, others)
        if self.num_lacking(claim, difference):
            return "open", difference
        return verdict(difference, claim.expected, claim.margin), difference

    def num_lacking(self, claim: Claim, difference: Difference | None) -> int:
        """Return the number of seeds that all arms of a claim ran, but of which some run lacks the number."""
        if claim.metric.from_first_seed:
            return 0
        seeds = [{row["seed"] for row in self.rows if row["arm"] == arm} for arm in claim.arms]
        return len(set.intersection(*seeds)) - (0 if difference is None else difference.n)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims about arms that the form has."""
        present = {arm.name for arm in self.ablation.arms if self.ablation.seeds(self.form, arm)}
        return tuple(claim for claim in self.ablation.claims if claim.arms <= present)

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms that have a row, in the order of the ablation."""
        present = {row["arm"] for row in self.rows}
        return tuple(arm.name for arm in self.ablation.arms if arm.name in present)

    @property
    def num_missing(self) -> int:
        """Number of runs of the form that have no row."""
        present = {(row["arm"], row["seed"]) for row in self.rows}
        return sum((run.arm.name, run.seed) not in present for run in all_runs(self.ablation, self.form))


def select(ablation: Ablation, form: Form, rows: Sequence[Row], code: str) -> Results:
    """Return the results with the rows that count.

    Args:
        rows: all rows, in the order they were written.
        code: the present version of the code.
    """
    runs = {run.key(code): run for run in all_runs(ablation, form, sorted({row["seed"] for row in rows}))}
    ours = [{**row, "arm": runs[row["key"]].arm.name} for row in rows if row["key"] in runs]
    names = {arm.name for arm in ablation.arms}
    older = _made_last([row for row in rows if row["key"] not in runs and row["arm"] in names])
    kept = tuple(ours) or older
    are_stale = not ours and bool(rows)
    return Results(ablation, form, kept, are_stale, len(rows) - len(kept), older if ours else ())


def _made_last(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows of the code and of the configs that ran last, the last one for each arm and seed."""
    rows = [row for row in rows if row["code"] == rows[-1]["code"]]
    config = {row["arm"]: _without_seed(row) for row in rows}
    return tuple({(r["arm"], r["seed"]): r for r in rows if _without_seed(r) == config[r["arm"]]}.values())


def _without_seed(row: Row) -> dict[str, object]:
    return {**row["config"], "seed": None}
