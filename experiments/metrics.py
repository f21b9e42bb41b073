"""The numbers that ablations read from the row of a run, each defined once."""

from experiments.ablation import Metric, Row

ACCURACY = Metric("test accuracy, %", lambda row: row["summary"]["accuracy"])
PARAMETERS = Metric("parameters", lambda row: row["summary"]["parameters"], unit="count")
EXAMPLES_PER_SECOND = Metric("examples/s", lambda row: _examples_per_second(row["summary"]), unit="count")
TRAIN_SECONDS = Metric("training, s", lambda row: row["summary"]["train_seconds"], unit="seconds")
FILL = Metric("fill, %", lambda row: row["summary"]["fill"])
PROGRAMS = Metric("programs", lambda row: row["summary"]["compile_count"], unit="count")
COMPILE_SECONDS = Metric(
    "compilation, s", lambda row: row["summary"]["compile_seconds"], unit="seconds", from_first_seed=True
)


CANVAS_BITS = Metric("bits of class", lambda row: row["summary"]["canvas_class_bits"], unit="number")
GRADIENT_VARIANCE, VARIANCE_WITHIN, GRADIENT_BIAS = (
    Metric(title, lambda row, name=name: row["probe"].get(name), unit="number", from_first_seed=True)
    for title, name in (
        ("gradient variance", "variance"),
        ("within canvases", "variance_within"),
        ("gradient bias", "bias"),
    )
)
"""How the gradients of one fixed net differ from step to step: see `experiments/probes.py`."""


def accuracy_of(evaluation: str) -> Metric:
    """Return the metric: the accuracy of an evaluation after training."""
    return Metric(f"{evaluation}, %", lambda row: _evaluated(row, evaluation, "accuracy"))


def drift_of(evaluation: str) -> Metric:
    """Return the metric: how far the logits of an evaluation are from those it is compared with.

    The distance of an example is the largest change of one of its logits. The metric is its mean over examples.
    """
    return Metric(f"drift, {evaluation}", lambda row: _evaluated(row, evaluation, "drift"), unit="number")


def training_seconds_to(accuracy: float) -> Metric:
    """Return the metric: seconds of training until validation first reaches an accuracy; None if it never does."""

    def value(row: Row) -> float | None:
        reached = [point["train_seconds"] for point in row["validation"] if point["accuracy"] >= accuracy]
        return min(reached, default=None)

    return Metric(f"training to {100 * accuracy:g} %, s", value, unit="seconds")


def total_seconds_to(accuracy: float) -> Metric:
    """Return the metric: seconds of training and compilation until then, measured once per arm."""
    training = training_seconds_to(accuracy)

    def value(row: Row) -> float | None:
        seconds = training.value(row)
        return None if seconds is None else seconds + row["summary"]["compile_seconds"]

    return Metric(f"total to {100 * accuracy:g} %, s", value, unit="seconds", from_first_seed=True)


def _evaluated(row: Row, evaluation: str, name: str) -> float | None:
    """Return a number of an evaluation; None where the arm skips that evaluation."""
    return row["evaluations"].get(evaluation, {}).get(name)


def _examples_per_second(summary: Row) -> float:
    """Return the speed of a run, which has one name for signals and another for images."""
    return summary["examples_per_second"] if "examples_per_second" in summary else summary["images_per_second"]
