"""The files of an evaluation: one HTML page, its numbers as JSON, and a CSV table of the predictions.

The page shows the accuracy, also by size and class, calibration, coverage, confusions and the worst mistakes.
"""

import csv
import io
import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from fcn_jax.core.geometry import format_size
from fcn_jax.data.pictures import shown_pixels, to_pillow
from fcn_jax.data.transforms import Resize
from fcn_jax.inference.evaluation import Evaluation
from fcn_jax.inference.inputs import SIDES
from fcn_jax.inference.statistics import Bin, Proportion, balanced_accuracy, confusion_matrix, macro_f1
from fcn_jax.reports.evaluation_plots import (
    accuracy_by,
    accuracy_by_scale,
    confusion_picture,
    coverage_picture,
    percent,
    reliability,
    with_interval,
)
from fcn_jax.reports.html import Picture, Table, document, figure, png_of
from fcn_jax.system.console import as_line
from fcn_jax.system.machine import describe_versions


def evaluation_json(evaluations: Sequence[Evaluation], shown: Evaluation) -> dict[str, Any]:
    """Return the numbers of the page, ready for JSON.

    Args:
        evaluations: evaluations of one split, one for each test scale.
        shown: one of them; everything but `scales` describes it.
    """
    found, names = shown.findings, shown.label_names
    return {
        **_headline_numbers(shown),
        "scales": [_headline_numbers(each) for each in evaluations],
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
        "coverage": [
            {"threshold": one.threshold, "coverage": one.share, "accuracy": one.accuracy.value}
            for one in found.coverages
        ],
        "confusions": [
            {"label": names[one.label], "predicted": names[one.predicted], "count": one.examples}
            for one in found.confusions
        ],
        "worst_mistakes": [_example(shown, row) for row in found.worst.tolist()],
        "bad_examples": [{"name": name, "reason": reason} for name, reason in shown.bad.items()],
    }


def predictions_csv(evaluations: Sequence[Evaluation]) -> str:
    """Return a CSV table with one row for every example and test scale, in the order of the split."""
    with io.StringIO() as text:
        sides = SIDES[evaluations[0].dataset.rank]
        columns = ("scale", "index", "name", *sides, "label", "predicted", "probability")
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        for each in evaluations:
            rows = range(each.answers.accuracy.examples)
            table.writerows({"scale": f"{each.scale:g}", **_in_csv(_example(each, row))} for row in rows)
        return text.getvalue()


def _in_csv(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an example with names that a CSV table can hold; JSON can hold any."""
    return {**values, **{key: as_line(values[key]) for key in ("name", "label", "predicted")}}


def _headline_numbers(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "split": evaluation.split,
        "step": evaluation.step,
        "scale": evaluation.scale,
        **evaluation.means,
        "accuracy_interval": _interval(evaluation.answers.accuracy),
        "balanced_accuracy": balanced_accuracy(evaluation.findings.classes),
        "macro_f1": macro_f1(evaluation.findings.classes),
        "top5_accuracy": _top5(evaluation),
        "expected_calibration_error": evaluation.findings.calibration_error,
        "mean_probability": float(evaluation.answers.probability.mean()),
    }


def _top5(evaluation: Evaluation) -> float | None:
    """Return the share of examples whose class is among the five most probable; None if there are no more classes."""
    if len(evaluation.label_names) <= 5:
        return None
    return float((evaluation.answers.rank < 5).mean())


def _example(evaluation: Evaluation, row: int) -> dict[str, Any]:
    """Return one example with its size, label, prediction and probability.

    Args:
        row: the row of the answers.
    """
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
    """Return the value, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


LONGEST_SIDE = 160
"""Longest side of a picture on the page, pixels. Larger images are reduced; smaller ones grow by a whole factor."""
MOST_LINES = 4
"""Most channels that are drawn as lines. A signal with more becomes an image, with one row for each channel."""


def mistake_pictures(evaluation: Evaluation) -> list[Picture]:
    """Return pictures of the worst mistakes, the most confident first."""
    return [_mistake(evaluation, row) for row in evaluation.findings.worst.tolist()]


def _mistake(evaluation: Evaluation, row: int) -> Picture:
    """Return the picture of one example, given by its row of the answers."""
    answers, names, dataset = evaluation.answers, evaluation.label_names, evaluation.dataset
    index, size = int(answers.index[row]), format_size(answers.size[row].tolist())
    size = size if dataset.rank == 2 else f"length {size}"
    true, predicted = names[answers.label[row]], names[answers.predicted[row]]
    said = f"{true}, predicted as {predicted} with probability {answers.probability[row]:.3f}"
    where = f"{size}, {evaluation.names[row]}"
    example = dataset.example(index)
    kind, png = ("Image", png_of_image(example)) if dataset.rank == 2 else ("Signal", png_of_signal(example))
    return Picture(f"mistake_{index}", f"{said}; {where}", f"{kind} of {said}: {where}", png)


def png_of_image(image: Num[np.ndarray, "h w c"]) -> bytes:
    """Return an image as a PNG file with a longest side near LONGEST_SIDE; pixels of a small image become squares."""
    picture = to_pillow(shown_pixels(Resize("longest", LONGEST_SIDE).apply(image, background=0)))
    times = max(1, LONGEST_SIDE // max(picture.size))
    enlarged = picture.resize((times * picture.width, times * picture.height), Image.Resampling.NEAREST)
    with io.BytesIO() as file:
        enlarged.save(file, format="png")
        return file.getvalue()


def png_of_signal(signal: Num[np.ndarray, "t c"]) -> bytes:
    """Return a plot of a signal as a PNG file: one line for each channel, or an image if there are many."""
    figure = Figure(figsize=(2.2, 1.5), layout="constrained")
    axes = figure.add_subplot()
    if signal.shape[1] <= MOST_LINES:
        axes.plot(signal, linewidth=1)
        axes.margins(x=0)
    else:
        axes.imshow(signal.T, aspect="auto", cmap="viridis", interpolation="nearest")
        axes.set_ylabel("channel", fontsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel("position", fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelsize=7)
    return png_of(figure)


MOST_CLASSES_IN_MATRIX = 50
MOST_CLASSES_IN_SIGHT = 50
"""Classes beyond this number are folded away."""
MOST_CONFUSIONS, MOST_BAD = 20, 100


def evaluation_page(evaluations: Sequence[Evaluation], shown: Evaluation, *, subject: str, command: str) -> str:
    """Return the page as HTML.

    Args:
        evaluations: evaluations of one split, one for each test scale.
        shown: one of them; everything but the comparison of the scales describes it.
        subject: names of the run, its net and its data.
        command: the command that makes the page.
    """
    answers = shown.answers
    return document(
        f"Evaluation: {shown.split}",
        f"<h1>Accuracy on {escape(shown.split)}: {percent(answers.accuracy.value)} %</h1>",
        f"<p>{escape(subject)}</p>",
        *_headline(shown),
        *(_scales(evaluations, shown) if len(evaluations) > 1 else ()),
        *_sizes(shown),
        *_calibration(shown),
        *_coverage(shown),
        *_classes(shown),
        *_confusions(shown),
        *_mistakes(shown),
        *_bad(shown),
        f"<h2>How to make this page</h2><pre>{escape(command)}</pre>",
        f'<p class="small">{escape(_provenance())}</p>',
    )


def _headline(shown: Evaluation) -> list[str]:
    answers = shown.answers
    accuracy = answers.accuracy
    rows = (
        ("accuracy, % [95 % interval]", with_interval(accuracy)),
        ("balanced accuracy (mean recall of the classes), %", percent(balanced_accuracy(shown.findings.classes))),
        ("macro F1, %", percent(macro_f1(shown.findings.classes))),
        *([("top-5 accuracy, %", percent(top5))] if (top5 := _top5(shown)) is not None else []),
        ("mistakes", f"{accuracy.examples - accuracy.hits:,}"),
        ("examples", f"{accuracy.examples:,}"),
        ("examples that could not be read", f"{len(shown.bad):,}"),
        ("loss (cross entropy, nats)", f"{answers.mean_loss:.4f}"),
        ("mean probability of the predicted class, %", percent(float(answers.probability.mean()))),
        ("expected calibration error, percentage points", percent(shown.findings.calibration_error)),
        ("test scale", f"{shown.scale:g}"),
        ("training step of the checkpoint", f"{shown.step:,}"),
    )
    return [
        _scrolling(Table(("", "value"), rows)),
        _small(
            "Intervals are 95 % confidence intervals (Wilson's). They assume that examples are independent; if "
            "some are near copies of others, the true intervals are wider."
        ),
    ]


def _scales(evaluations: Sequence[Evaluation], shown: Evaluation) -> list[str]:
    rows = tuple(
        (f"{each.scale:g}", with_interval(each.answers.accuracy), f"{each.answers.mean_loss:.4f}")
        for each in evaluations
    )
    picture = accuracy_by_scale([each.scale for each in evaluations], [each.answers.accuracy for each in evaluations])
    return [
        "<h2>Test scales</h2>",
        figure(picture),
        _scrolling(Table(("test scale", "accuracy, % [95 % interval]", "loss"), rows)),
        _small(f"The rest of this page is about test scale {shown.scale:g}."),
    ]


def _sizes(shown: Evaluation) -> list[str]:
    overall, parts = shown.answers.accuracy.value, []
    for name, bins in shown.findings.by_size.items():
        heading, what, digits = {
            "length": ("By length", "length in samples", 0),
            "side": ("By size", "side √(height × width) in pixels", 1),
            "aspect": ("By aspect ratio", "aspect ratio (height / width)", 2),
        }[name]
        parts += [f"<h2>{heading}</h2>", figure(accuracy_by(bins, what, name=name, overall=overall, digits=digits))]
    return [*parts, _small("These are the sizes of the examples as stored, before any resizing.")]


def _calibration(shown: Evaluation) -> list[str]:
    found, sure = shown.findings, float(shown.answers.probability.mean())
    lean = "overconfident" if sure > shown.answers.accuracy.value else "underconfident"
    return [
        "<h2>Calibration</h2>",
        f"<p>On average, the net gives its predicted class a probability of {percent(sure)} %, and "
        f"{percent(shown.answers.accuracy.value)} % of its predictions are right: the net is {lean}. Examples are put "
        f"into bins of equal width by that probability; {len(found.calibration)} bins hold examples. The expected "
        "calibration error is the mean gap between probability and accuracy in these bins, weighted by their examples: "
        f"{percent(found.calibration_error)} percentage points.</p>",
        figure(reliability(found.calibration)),
    ]


def _coverage(shown: Evaluation) -> list[str]:
    rows = tuple(
        (f"{one.threshold:.4f}", f"{percent(one.share)} %", with_interval(one.accuracy))
        for one in shown.findings.coverages
    )
    return [
        "<h2>Coverage and accuracy</h2>",
        "<p>If only predictions with at least some probability are accepted, fewer examples are answered, but more of "
        "the answers are right.</p>",
        figure(coverage_picture(shown.findings.coverages)),
        _scrolling(Table(("smallest probability", "examples answered", "accuracy, % [95 % interval]"), rows)),
    ]


def _classes(shown: Evaluation) -> list[str]:
    names = shown.label_names
    rows = [
        (
            names[row.label],
            f"{row.recall.examples:,}",
            with_interval(row.recall) if row.recall.examples else "–",
            "–" if math.isnan(row.precision.value) else percent(row.precision.value),
            "–" if row.taken_for is None else names[row.taken_for],
        )
        for row in shown.findings.classes
    ]
    columns = ("class", "examples", "recall, % [95 % interval]", "precision, %", "most often mistaken for")
    first, rest = rows[:MOST_CLASSES_IN_SIGHT], rows[MOST_CLASSES_IN_SIGHT:]
    return [
        "<h2>By class, the worst first</h2>",
        _scrolling(Table(columns, tuple(first))),
        f"<details><summary>{len(rest):,} more classes</summary>{_scrolling(Table(columns, tuple(rest)))}</details>"
        if rest
        else "",
        _small(
            "Recall: the share of the examples of the class that the net predicts as this class. Precision: the "
            "share of the predictions of the class that are right."
        ),
    ]


def _confusions(shown: Evaluation) -> list[str]:
    names, found = shown.label_names, shown.findings.confusions
    parts = ["<h2>Confusions</h2>"]
    if len(names) <= MOST_CLASSES_IN_MATRIX:
        matrix = confusion_matrix(shown.answers, len(names))
        parts.append(figure(confusion_picture(matrix, names, found[:MOST_CONFUSIONS])))
    if not found:
        return [*parts, "<p>The net made no mistake.</p>"]
    rows = tuple((names[one.label], names[one.predicted], f"{one.examples:,}") for one in found[:MOST_CONFUSIONS])
    of = f"The {len(rows)} most frequent of {len(found):,} pairs." if len(rows) < len(found) else ""
    return [*parts, _scrolling(Table(("true class", "predicted class", "examples"), rows)), _small(of) if of else ""]


def _mistakes(shown: Evaluation) -> list[str]:
    pictures = mistake_pictures(shown)
    if not pictures:
        return []
    return [
        "<h2>The worst mistakes</h2>",
        f"<p>The {len(pictures)} wrong predictions with the highest probability. In some, the label may be wrong.</p>",
        f'<div class="cards">{"".join(map(figure, pictures))}</div>',
    ]


def _bad(shown: Evaluation) -> list[str]:
    if not shown.bad:
        return []
    rows = tuple(list(shown.bad.items())[:MOST_BAD])
    more = f"{len(shown.bad) - len(rows):,} more are listed in evaluation.json." if len(rows) < len(shown.bad) else ""
    return [
        "<h2>Examples that could not be read</h2>",
        "<p>They count neither as right nor as wrong: the numbers above leave them out.</p>",
        _scrolling(Table(("name", "reason"), rows)),
        _small(more) if more else "",
    ]


def _provenance() -> str:
    described = describe_versions()
    versions = ", ".join(f"{name} {number}" for name, number in described["versions"].items())
    commit = described["git_commit"]
    return f"{f'Commit {commit}; ' if commit else ''}on {described['device']}; {versions}."


def _scrolling(table: Table) -> str:
    return f'<div class="scroll">{table.to_html()}</div>'


def _small(text: str) -> str:
    return f'<p class="small">{escape(text)}</p>'
