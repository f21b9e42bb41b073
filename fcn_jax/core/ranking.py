"""How well scores rank the examples of every class: average precision; and the right answers of several labels."""

import math

import numpy as np
from jaxtyping import Bool, Float


def average_precision(score: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Return the average precision of scores: the sum, over thresholds, of precision times the growth of recall.

    Equal scores share a threshold, and nothing is interpolated, as in scikit-learn's `average_precision_score`. NaN if
    no example is positive.
    """
    order = np.argsort(-score, kind="stable")
    hits = positive[order].cumsum()
    if not len(hits) or not hits[-1]:
        return math.nan
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # The last of each group of equal scores.
    precision = hits[ends] / (ends + 1)
    return float((np.diff(hits[ends], prepend=0) * precision).sum() / hits[-1])


def average_precisions(scores: Float[np.ndarray, "n k"], positive: Bool[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Return the average precision of every class."""
    return np.array([average_precision(scores[:, k], positive[:, k]) for k in range(scores.shape[1])], np.float64)


def mean_average_precision(of_classes: Float[np.ndarray, " k"]) -> float:
    """Return the mean over the classes that have a positive example; NaN if none has."""
    known = of_classes[~np.isnan(of_classes)]
    return float(known.mean()) if len(known) else math.nan


def micro_f1(logits: Float[np.ndarray, "n k"], positive: Bool[np.ndarray, "n k"]) -> float:
    """Return F1 over all pairs of example and class, where a class is predicted from a probability of 0.5.

    NaN if no class is true or predicted anywhere.
    """
    said = logits > 0
    both = int(said.sum()) + int(positive.sum())
    return 2 * int((said & positive).sum()) / both if both else math.nan


def label_metrics(logits: Float[np.ndarray, "n k"], positive: Bool[np.ndarray, "n k"]) -> dict[str, float]:
    """Return {mean_average_precision, micro_f1} of several labels; what is not defined is left out."""
    found = {
        "mean_average_precision": mean_average_precision(average_precisions(logits, positive)),
        "micro_f1": micro_f1(logits, positive),
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}
