"""Texts of the reports: numbers with their units, intervals, verdicts, and the answer in a few sentences."""

import math

from experiments.ablation import Claim, Metric
from experiments.results import Results
from experiments.statistics import Difference, Spread, Verdict, spread

VERDICTS: dict[Verdict, str] = {
    "supported": "Supported",
    "contradicted": "Contradicted",
    "open": "Not decided",
}


def factor_of(metric: Metric) -> float:
    """Return the factor between a metric's value and the number that is shown."""
    return 100.0 if metric.unit == "percent" else 1.0


def number(metric: Metric, value: float) -> str:
    """Return a value of a metric as text."""
    match metric.unit:
        case "percent":
            return f"{100 * value:.2f}"
        case "seconds":
            return f"{value:.1f}"
        case "count":
            return f"{value:,.0f}"
        case "number":
            return f"{value:.3g}"


def signed(metric: Metric, value: float) -> str:
    """Return a difference as text, with its sign."""
    return f"{'−' if value < 0 else '+'}{number(metric, abs(value))}"


def mean_and_deviation(metric: Metric, found: Spread) -> str:
    """Return `97.38 ± 0.12`, or the mean alone if the deviation is 0 or unknown."""
    if math.isnan(found.deviation) or found.deviation == 0:
        return number(metric, found.mean)
    return f"{number(metric, found.mean)} ± {number(metric, found.deviation)}"


def difference_text(metric: Metric, difference: Difference | None) -> str:
    """Return a difference and its interval as text: `+0.31 [+0.10, +0.52]`."""
    if difference is None:
        return "no pair of runs yet"
    if math.isnan(difference.low):
        return f"{signed(metric, difference.mean)}, without an interval"
    return f"{signed(metric, difference.mean)} [{signed(metric, difference.low)}, {signed(metric, difference.high)}]"


def probability(p: float) -> str:
    """Return p of a test as text."""
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def compared(results: Results, claim: Claim, found: Difference | None) -> str:
    """Return what a claim compares: `test accuracy, %: “a” − “b”, expected below 0; 5 pairs`."""
    difference = _difference(claim.arm, claim.against)
    if claim.beyond is not None:
        difference = f"({difference}) − ({_difference(*claim.beyond)})"
    expected = {"higher": "above 0", "lower": "below 0", "equal": f"within ±{number(claim.metric, claim.margin)}"}
    number_of_pairs = 0 if found is None else found.n
    pairs = f"{number_of_pairs} pair{'' if number_of_pairs == 1 else 's'}"
    text = f"{claim.metric.name}: {difference}, expected {expected[claim.expected]}; {pairs}"
    if lacking := results.num_lacking(claim, found):
        text += f", and {lacking} more lack the number, which leaves this open"
    return text


def _difference(arm: str, against: str | None) -> str:
    return f"“{arm}”" if against is None else f"“{arm}” − “{against}”"


def answer(results: Results) -> str:
    """Return the answer, one sentence per verdict: `Supported: …; …. Contradicted: …. Not decided: ….`

    Where more than six claims have one verdict, the sentence gives their number.
    """
    if not results.rows:
        return "Nothing yet: no run has been made."
    claims = results.claims
    verdicts = [results.judge(claim)[0] for claim in claims]
    sentences = []
    for verdict, word in VERDICTS.items():
        found = [claim.sentence for claim, of_claim in zip(claims, verdicts, strict=True) if of_claim == verdict]
        if len(found) > 6:
            sentences.append(f"{word}: {len(found)} of {len(claims)} expectations.")
        elif found:
            sentences.append(f"{word}: {'; '.join(found)}.")
    return " ".join(sentences)


def arm_text(results: Results, arm: str, metric: Metric) -> str:
    """Return mean ± deviation of an arm. If some runs lack the number, the text says how many have it."""
    values = results.values(arm, metric)
    runs = sum(row["arm"] == arm for row in results.rows)
    if not values:
        return "–"
    text = mean_and_deviation(metric, spread([*values.values()]))
    return text if metric.from_first_seed or len(values) == runs else f"{text} ({len(values)} of {runs})"
