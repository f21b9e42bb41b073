"""What is to be noticed of a run: what a rule says of it, and what the rules share.

A rule compares figures in a workdir with its limit. It says what it found in one sentence and, beyond the limit, what
that means and what to do; it says nothing where it lacks the figures. Limits are rules of thumb, chosen so that the
runs of the benchmarks pass.
"""

import math
from dataclasses import dataclass

from fcn_jax.use.report.records import Evaluation


@dataclass(frozen=True)
class Finding:
    """What a rule says."""

    is_warning: bool
    text: str


def standard_error(evaluation: Evaluation) -> float:
    """Of an accuracy, as a fraction; where all or nothing is right, that of about one mistake or hit."""
    count = max(evaluation.count, 1)
    accuracy = min(max(evaluation.accuracy, 1 / (count + 1)), count / (count + 1))
    return math.sqrt(accuracy * (1 - accuracy) / count)
