"""The files of an evaluation where examples may have several labels: a page, its numbers as JSON, and the predictions.

A confusion matrix would not say what is taken for what here. So each class has its precision, recall and average
precision.
"""

import csv
import io
import math
from collections.abc import Sequence
from html import escape
from typing import Any

from fcn_jax.inference.evaluation import LabelEvaluation
from fcn_jax.inference.inputs import SIDES
from fcn_jax.inference.label_statistics import Mistake, OfLabel
from fcn_jax.reports.evaluation_parts import (
    bad_examples,
    classes_table,
    interval_of,
    or_none,
    picture_of,
    provenance,
    scales_table,
    scrolling,
    small,
)
from fcn_jax.reports.evaluation_plots import percent, with_interval
from fcn_jax.reports.html import Table, document, figure
from fcn_jax.system.console import as_line

MOST_MISTAKES = 24


def labels_json(evaluations: Sequence[LabelEvaluation], shown: LabelEvaluation) -> dict[str, Any]:
    """Return the numbers of the page, ready for JSON.

    Args:
        evaluations: evaluations of one split, one for each test scale.
        shown: one of them; everything but `scales` describes it.
    """
    return {
        **_headline_numbers(shown),
        "scales": [_headline_numbers(each) for each in evaluations],
        "by_class": [_class_numbers(shown, row) for row in shown.answers.classes],
        "worst_mistakes": [
            {
                **_example(shown, one.row),
                "class": shown.label_names[one.label],
                "probability": round(one.probability, 7),
            }
            for one in shown.answers.worst(MOST_MISTAKES)
        ],
        "bad_examples": [{"name": name, "reason": reason} for name, reason in shown.bad.items()],
    }


def labels_csv(evaluations: Sequence[LabelEvaluation]) -> str:
    """Return a CSV table with one row for every example and test scale, and a column for each class's probability."""
    with io.StringIO() as text:
        sides, names = SIDES[evaluations[0].dataset.rank], evaluations[0].label_names
        table = csv.writer(text, lineterminator="\n")
        probabilities = [f"probability_{as_line(name)}" for name in names]
        table.writerow(["scale", "index", "name", *sides, "labels", "predicted", *probabilities])
        for each in evaluations:
            for row, values in enumerate(each.answers.probabilities.round(7).tolist()):
                one = _example(each, row)
                labels = [";".join(map(as_line, one[key])) for key in ("labels", "predicted")]
                place = [one["index"], as_line(one["name"]), *(one[side] for side in sides)]
                table.writerow([f"{each.scale:g}", *place, *labels, *values])
        return text.getvalue()


def _headline_numbers(evaluation: LabelEvaluation) -> dict[str, Any]:
    answers = evaluation.answers
    return {
        "split": evaluation.split,
        "step": evaluation.step,
        "scale": evaluation.scale,
        **evaluation.means,
        "accuracy_interval": interval_of(answers.accuracy),
        "macro_f1": or_none(answers.macro_f1),
    }


def _class_numbers(evaluation: LabelEvaluation, row: OfLabel) -> dict[str, Any]:
    return {
        "label": evaluation.label_names[row.label],
        "count": row.recall.examples,
        "recall": or_none(row.recall.value),
        "recall_interval": interval_of(row.recall),
        "predicted": row.precision.examples,
        "precision": or_none(row.precision.value),
        "f1": or_none(row.f1),
        "average_precision": or_none(row.average_precision),
    }


def _example(evaluation: LabelEvaluation, row: int) -> dict[str, Any]:
    """Return one example with its size, its labels and those that are predicted."""
    answers, names = evaluation.answers, evaluation.label_names
    return {
        "index": int(answers.index[row]),
        "name": evaluation.names[row],
        **dict(zip(SIDES[evaluation.dataset.rank], answers.size[row].tolist(), strict=True)),
        "labels": [names[k] for k in answers.targets[row].nonzero()[0].tolist()],
        "predicted": [names[k] for k in answers.predicted[row].nonzero()[0].tolist()],
    }


def labels_page(
    evaluations: Sequence[LabelEvaluation],
    shown: LabelEvaluation,
    *,
    subject: str,
    command: str,
    more: Sequence[str] = (),
) -> str:
    """Return the page as HTML.

    Args:
        evaluations: evaluations of one split, one for each test scale.
        shown: one of them; everything but the comparison of the scales describes it.
        subject: names of the run, its net and its data.
        command: the command that makes the page.
        more: the HTML of further parts.
    """
    mean = _percent(shown.answers.mean_average_precision)
    return document(
        f"Evaluation: {shown.split}",
        f"<h1>Mean average precision on {escape(shown.split)}: {mean} %</h1>",
        f"<p>{escape(subject)}</p>",
        *_headline(shown),
        *scales_table(evaluations, shown),
        *_classes(shown),
        *_mistakes(shown),
        *more,
        *bad_examples(shown.bad),
        f"<h2>How to make this page</h2><pre>{escape(command)}</pre>",
        f'<p class="small">{escape(provenance())}</p>',
    )


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else percent(share)


def _headline(shown: LabelEvaluation) -> list[str]:
    answers = shown.answers
    rows = (
        ("mean average precision of the classes, %", _percent(answers.mean_average_precision)),
        ("micro F1 at probability 0.5, %", _percent(answers.micro_f1)),
        ("macro F1 at probability 0.5, %", _percent(answers.macro_f1)),
        ("accuracy: all labels right, % [95 % interval]", with_interval(answers.accuracy)),
        ("examples", f"{answers.accuracy.examples:,}"),
        ("labels per example, true", f"{answers.targets.sum(1).mean():.2f}"),
        ("labels per example, predicted", f"{answers.predicted.sum(1).mean():.2f}"),
        ("examples that could not be read", f"{len(shown.bad):,}"),
        ("loss (mean of the classes' binary cross entropies, nats)", f"{answers.mean_loss:.4f}"),
        ("test scale", f"{shown.scale:g}"),
        ("training step of the checkpoint", f"{shown.step:,}"),
    )
    return [
        scrolling(Table(("", "value"), rows)),
        small(
            "The mean of the average precisions leaves out classes without an example. A class is predicted where its "
            "probability is above 0.5. Intervals are 95 % confidence intervals (Wilson's); they assume that examples "
            "are independent."
        ),
    ]


def _classes(shown: LabelEvaluation) -> list[str]:
    rows = [
        (
            shown.label_names[row.label],
            f"{row.recall.examples:,}",
            _percent(row.average_precision),
            with_interval(row.recall) if row.recall.examples else "–",
            _percent(row.precision.value),
            _percent(row.f1),
        )
        for row in shown.answers.classes
    ]
    columns = ("class", "examples", "average precision, %", "recall, % [95 % interval]", "precision, %", "F1, %")
    return [
        "<h2>By class, the worst first</h2>",
        *classes_table(columns, rows),
        small(
            "Recall: the share of the examples of the class for which it is predicted. Precision: the share of the "
            "predictions of the class that are right. Average precision: the area below the curve of precision against "
            "recall, over all thresholds on the probability."
        ),
    ]


def _mistakes(shown: LabelEvaluation) -> list[str]:
    mistakes = shown.answers.worst(MOST_MISTAKES)
    if not mistakes:
        return []
    pictures = [picture_of(shown, one.row, _said(shown, one)) for one in mistakes]
    return [
        "<h2>The worst mistakes</h2>",
        f"<p>The {len(pictures)} examples with the surest wrong answer to the question whether they have a class. In "
        "some, the label may be wrong.</p>",
        f'<div class="cards">{"".join(map(figure, pictures))}</div>',
    ]


def _said(shown: LabelEvaluation, one: Mistake) -> str:
    true = ", ".join(_example(shown, one.row)["labels"]) or "none of the classes"
    return f"{true}; probability {one.probability:.3f} for {shown.label_names[one.label]}"
