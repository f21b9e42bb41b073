"""What an ablation is: a question, arms that differ in a few fields of a config, what is measured, what it supports.

Pure data: the files under `ablations/` fill these in, everything else here works on them. Arms are compared with the
first one, seed by seed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fcn_jax.config import Config

Overrides = Mapping[str, Any]
"""{'train.epochs': 3}: values at dotted paths of a config."""
Row = dict[str, Any]
"""What is known of one finished run, a line of runs.jsonl."""
Unit = Literal["percent", "seconds", "number", "count"]


@dataclass(frozen=True)
class Arm:
    """One of the things compared."""

    name: str
    overrides: Overrides = field(default_factory=dict)
    base: Callable[[], Config] | None = None
    """Another config to start from than the ablation's."""
    skips: tuple[str, ...] = ()
    """Evaluations whose sizes its model does not take."""


@dataclass(frozen=True)
class ExtraEvaluation:
    """The test set once more after training, under other conditions."""

    name: str
    overrides: Overrides = field(default_factory=dict)
    by_length: bool = False
    """Count hits for every length (or height) too."""
    drift_from: str = ""
    """An evaluation before this one: how far the logits are from those it found."""


@dataclass(frozen=True)
class Metric:
    """A number that every finished run has, or None where it has none."""

    name: str
    value: Callable[[Row], float | None]
    unit: Unit = "percent"
    """percent: the value is a fraction. number: of any size. count: whole."""
    from_first_seed: bool = False
    """Measured once an arm, by the run of its first seed, which finds no compiled programs."""


@dataclass(frozen=True)
class Claim:
    """A sentence that the results support, contradict, or leave open.

    The confidence interval of the difference `arm` - `against` decides: all of it has to lie above 0 (higher), below
    0 (lower), or within ± `margin` (equal).
    """

    sentence: str
    metric: Metric
    arm: str
    against: str | None
    """An arm; None: the number 0."""
    expected: Literal["higher", "lower", "equal"]
    margin: float = 0.0


@dataclass(frozen=True)
class Dots:
    """Every seed of every arm as a dot, with mean and confidence interval."""

    metric: Metric


@dataclass(frozen=True)
class Lines:
    """A line an arm over a few numbers, with the spread over seeds."""

    title: str
    x_label: str
    y_label: str
    points: tuple[tuple[float, Metric], ...]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class HeatMap:
    """Arms × metrics."""

    title: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class ByLength:
    """Accuracy of every arm against the length of the examples, of all seeds together."""

    evaluation: str
    x_label: str


Plot = Dots | Lines | HeatMap | ByLength


@dataclass(frozen=True)
class Form:
    """How long the runs are: the short form is what is committed, the full one is there for whoever has the time."""

    name: Literal["short", "full"]
    text: str
    """What is left out, for the page."""
    overrides: Overrides
    num_seeds: int
    seconds_per_run: float
    """Measured or extrapolated on two CPU cores, two runs at a time (one, where time is measured); for estimates."""


@dataclass(frozen=True)
class Ablation:
    """One question and how it is answered. The first arm is the baseline, the first metric decides."""

    name: str
    question: str
    base: Callable[[], Config]
    arms: tuple[Arm, ...]
    metrics: tuple[Metric, ...]
    claims: tuple[Claim, ...]
    plots: tuple[Plot, ...]
    short: Form
    full: Form
    evaluations: tuple[ExtraEvaluation, ...] = ()
    measures_time: bool = False
    """Its runs go one at a time, since beside each other they are slower."""
    remarks: tuple[str, ...] = ()
    """What a reader has to know to judge the numbers."""

    def form(self, *, full: bool) -> Form:
        return self.full if full else self.short

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)
