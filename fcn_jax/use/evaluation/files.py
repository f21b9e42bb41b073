"""The numbers of an evaluation for programs: evaluation.json, and predictions.csv with a row an example and scale."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from fcn_jax.use.evaluation.evaluation import Evaluation
from fcn_jax.use.evaluation.numbers import Bin, Proportion
from fcn_jax.use.inference.recipe import SIDES


def evaluation_json(evaluations: Sequence[Evaluation], shown: Evaluation) -> dict[str, Any]:
    """What the page says.

    Args:
        evaluations: of one split at several scales.
        shown: the one of them that everything but `scales` is about.
    """
    found, names = shown.findings, shown.label_names
    return {
        **_headline(shown),
        "scales": [_headline(each) for each in evaluations],
        **{f"by_{name}": [_bin(one) for one in bins] for name, bins in found.by_size.items()},
        "by_class": [
            {
                "label": names[row.label],
                "count": row.recall.examples,
                "recall": _number(row.recall.value),
                "recall_interval": _interval(row.recall),
                "predicted": row.precision.examples,
                "precision": _number(row.precision.value),
            }
            for row in found.classes
        ],
        "calibration": [_bin(one) for one in found.calibration],
        "confusions": [
            {"label": names[one.label], "predicted": names[one.predicted], "count": one.examples}
            for one in found.confusions
        ],
        "worst_mistakes": [_example(shown, row) for row in found.worst.tolist()],
        "bad_examples": [{"name": name, "reason": reason} for name, reason in shown.bad.items()],
    }


def predictions_csv(evaluations: Sequence[Evaluation]) -> str:
    """A row an example and scale, in the order of the split."""
    with io.StringIO() as text:
        sides = SIDES[evaluations[0].dataset.rank]
        columns = ("scale", "index", "name", *sides, "label", "predicted", "probability")
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        for each in evaluations:
            rows = range(each.answers.accuracy.examples)
            table.writerows({"scale": f"{each.scale:g}", **_example(each, row)} for row in rows)
        return text.getvalue()


def _headline(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "split": evaluation.split,
        "step": evaluation.step,
        "scale": evaluation.scale,
        **evaluation.means,
        "accuracy_interval": _interval(evaluation.answers.accuracy),
        "expected_calibration_error": evaluation.findings.calibration_error,
        "mean_probability": float(evaluation.answers.probability.mean()),
    }


def _example(evaluation: Evaluation, row: int) -> dict[str, Any]:
    """A row of the answers."""
    answers, names = evaluation.answers, evaluation.label_names
    return {
        "index": int(answers.index[row]),
        "name": evaluation.names[row],
        **dict(zip(SIDES[evaluation.dataset.rank], answers.size[row].tolist(), strict=True)),
        "label": names[answers.label[row]],
        "predicted": names[answers.predicted[row]],
        "probability": round(float(answers.probability[row]), 7),
    }


def _bin(one: Bin) -> dict[str, Any]:
    return {
        "from": one.low,
        "to": one.high,
        "mean": one.mean,
        "count": one.accuracy.examples,
        "accuracy": one.accuracy.value,
        "accuracy_interval": _interval(one.accuracy),
    }


def _interval(share: Proportion) -> list[float | None]:
    return [_number(end) for end in share.interval]


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
