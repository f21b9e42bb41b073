"""The part of an evaluation's page about near-duplicates: pairs of pictures, and the accuracy without them."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from fcn_jax.inference.evaluation import AnyEvaluation
from fcn_jax.inference.near_duplicates import CORRELATION, Neighbours
from fcn_jax.inference.opened_run import OpenedRun
from fcn_jax.inference.statistics import proportion_of
from fcn_jax.reports.evaluation_plots import percent, with_interval
from fcn_jax.reports.html import Picture, figure
from fcn_jax.reports.pictures import png_of_example, side_by_side

MOST_PAIRS = 24


def near_duplicates_json(shown: AnyEvaluation, run: OpenedRun, found: Sequence[Neighbours]) -> list[dict[str, Any]]:
    """Return all pairs, ready for JSON."""
    train = run.setup.train.dataset.source
    return [
        {
            "name": shown.dataset.source.name(pair.in_split),
            "in_train": train.name(pair.in_train),
            "correlation": round(pair.correlation, 4),
            "label": _named(shown, shown.dataset.labels[pair.in_split]),
            "label_in_train": _named(shown, train.labels[pair.in_train]),
        }
        for pair in found
    ]


def near_duplicates_part(shown: AnyEvaluation, run: OpenedRun, found: Sequence[Neighbours]) -> list[str]:
    """Return the HTML of the part."""
    answers = shown.answers
    is_copy = np.isin(answers.index, [pair.in_split for pair in found])
    split = escape(shown.split)
    if not found:
        return [
            "<h2>Near-duplicates in train</h2>",
            f"<p>No example of {split} looks nearly like one of train (correlation of {CORRELATION} or more).</p>",
        ]
    without = proportion_of(answers.hit[~is_copy])
    accuracy = f"The accuracy without these is {with_interval(without)} %" if without.examples else "None is left then"
    labels, train_labels = shown.dataset.labels, run.setup.train.dataset.labels
    differing = sum(not np.array_equal(labels[pair.in_split], train_labels[pair.in_train]) for pair in found)
    pairs = [_pair(shown, run, pair) for pair in found[:MOST_PAIRS]]
    share = percent(len(found) / len(answers.index))
    return [
        "<h2>Near-duplicates in train</h2>",
        f"<p>{len(found):,} of {len(answers.index):,} examples of {split} ({share} %) look nearly like one of train: "
        f"their values correlate by {CORRELATION} or more. {accuracy}; with them it is "
        f"{with_interval(answers.accuracy)} %. {differing:,} of them have another label in train. If the files of an "
        "object or a scene are in both splits, name their group with config.data.group_pattern.</p>",
        f'<div class="cards">{"".join(map(figure, pairs))}</div>',
    ]


def _pair(shown: AnyEvaluation, run: OpenedRun, pair: Neighbours) -> Picture:
    """Return a picture of both examples, side by side."""
    said, pngs = [], []
    for split, dataset, index in (
        (shown.split, shown.dataset, pair.in_split),
        ("train", run.setup.train.dataset, pair.in_train),
    ):
        label = _named(shown, dataset.labels[index])
        said.append(f"{split}: {label}, {dataset.source.name(index)}")
        pngs.append(png_of_example(dataset.example(index)))
    caption = f"correlation {pair.correlation:.3f}; {'; '.join(said)}"
    return Picture(f"pair_{pair.in_split}", caption, f"Near-duplicates. {'; '.join(said)}", side_by_side(pngs))


def _named(shown: AnyEvaluation, label: Any) -> str:
    """Return the name of a label, or the names of several labels, or of those with a share."""
    names = shown.label_names
    return names[label] if np.ndim(label) == 0 else "; ".join(names[k] for k in np.flatnonzero(label)) or "none"
