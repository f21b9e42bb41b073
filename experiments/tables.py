"""The table of an ablation's results, as rows of text."""

from experiments.results import Results
from experiments.words import arm_text, difference_text, probability
from fcn_jax.reports.html import Table


def results_table(results: Results) -> Table:
    """Return a table with one row per arm: the first metric, its difference to the baseline, the other metrics."""
    first, *others = results.ablation.metrics
    baseline = results.ablation.arms[0].name
    columns = ("arm", first.name, "n", f"difference to {baseline} [95 %]", "p", *(metric.name for metric in others))
    rows = []
    for arm in results.arms:
        difference = results.difference(arm, baseline, first)
        compared = (
            ("baseline", "") if arm == baseline else (difference_text(first, difference), probability(difference))
        )
        n = str(len(results.values(arm, first)))
        rows.append((arm, arm_text(results, arm, first), n, *compared, *(arm_text(results, arm, m) for m in others)))
    return Table(columns, tuple(rows))
