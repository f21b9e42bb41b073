"""The tables of an ablation: its expectations, its results, and what changed, as rows of text."""

import math

from experiments.results import Results
from experiments.statistics import effect_size, holm, paired_difference, spread
from experiments.words import VERDICTS, arm_text, compared, difference_text, mean_and_deviation, probability
from fcn_jax.reports.html import Table


def expectations_table(results: Results) -> Table:
    """Return a table with one row per claim: what was expected, the verdict, the difference found, and of what."""
    rows = []
    for claim in results.claims:
        verdict, difference = results.judge(claim)
        found = difference_text(claim.metric, difference)
        rows.append((claim.sentence, VERDICTS[verdict], found, compared(results, claim, difference)))
    return Table(("expectation", "verdict", "found [95 %]", "what was compared"), tuple(rows), texts=frozenset({3}))


def changes_table(results: Results) -> Table | None:
    """Return a table of the first metric before and now, for the arms that older code ran too; None if it ran none."""
    metric = results.ablation.metrics[0]
    rows = []
    for arm in results.arms:
        before, now = results.before(arm, metric), results.values(arm, metric)
        if seeds := before.keys() & now.keys():
            old, new = ([values[seed] for seed in sorted(seeds)] for values in (before, now))
            said = (mean_and_deviation(metric, spread(values)) for values in (old, new))
            rows.append((arm, *said, str(len(seeds)), difference_text(metric, paired_difference(now, before))))
    return Table(("arm", f"{metric.name}: before", "now", "n", "difference [95 %]"), tuple(rows)) if rows else None


def results_table(results: Results) -> Table:
    """Return a table with one row per arm: the first metric, its difference to the baseline, the other metrics."""
    first, *others = results.ablation.metrics
    baseline = {arm: results.ablation.baseline(arm) for arm in results.arms}
    compared = [arm for arm in results.arms if baseline[arm] != arm]
    differences = {arm: results.difference(arm, baseline[arm], first) for arm in compared}
    p = [math.nan if found is None else found.p for found in differences.values()]
    corrected = dict(zip(compared, holm(p), strict=True))
    to = f" to {next(iter(baseline.values()))}" if len({*baseline.values()}) == 1 else ""
    columns = ("arm", first.name, "n", f"difference{to} [95 %]", "p", "p, Holm", "g", *(m.name for m in others))
    rows = []
    for arm in results.arms:
        cells = ("baseline", "", "", "")
        if arm in differences:
            difference = differences[arm]
            g = effect_size(results.values(arm, first), results.values(baseline[arm], first))
            own = probability(math.nan if difference is None else difference.p)
            text = "–" if math.isnan(g) else f"{g:+.1f}".replace("-", "−")
            cells = (difference_text(first, difference), own, probability(corrected[arm]), text)
        n = str(len(results.values(arm, first)))
        rows.append((arm, arm_text(results, arm, first), n, *cells, *(arm_text(results, arm, m) for m in others)))
    return Table(columns, tuple(rows))
