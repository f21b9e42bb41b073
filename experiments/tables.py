"""The table of an ablation's results, as rows of text."""

import math

from experiments.results import Results
from experiments.statistics import effect_size, holm
from experiments.words import arm_text, difference_text, probability
from fcn_jax.reports.html import Table


def results_table(results: Results) -> Table:
    """Return a table with one row per arm: the first metric, its difference to the baseline, the other metrics."""
    first, *others = results.ablation.metrics
    baseline = results.ablation.arms[0].name
    compared = ("p", "p, Holm", "g")
    columns = ("arm", first.name, "n", f"difference to {baseline} [95 %]", *compared, *(m.name for m in others))
    differences = {arm: results.difference(arm, baseline, first) for arm in results.arms if arm != baseline}
    p = {arm: math.nan if found is None else found.p for arm, found in differences.items()}
    corrected = dict(zip(p, holm([*p.values()]), strict=True))
    rows = []
    for arm in results.arms:
        cells = ("baseline", "", "", "")
        if arm != baseline:
            g = effect_size(results.values(arm, first), results.values(baseline, first))
            ps = (probability(p[arm]), probability(corrected[arm]))
            cells = (
                difference_text(first, differences[arm]),
                *ps,
                "–" if math.isnan(g) else f"{g:+.1f}".replace("-", "−"),
            )
        n = str(len(results.values(arm, first)))
        rows.append((arm, arm_text(results, arm, first), n, *cells, *(arm_text(results, arm, m) for m in others)))
    return Table(columns, tuple(rows))
