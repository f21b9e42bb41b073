"""The description of an ablation: a question, the arms, the metrics, and the claims that the results shall judge.

The arms differ in a few fields of a config. Each is compared with a baseline, seed by seed. All of this is data:
the files under `ablations/` fill in these classes, and the other modules of this package work on them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fcn_jax.config import Config

Overrides = Mapping[str, Any]
"""Values by their dotted path in a config, such as {'train.epochs': 3}."""
Row = dict[str, Any]
"""The record of one finished run: a line of runs.jsonl."""
Unit = Literal["percent", "seconds", "number", "count"]


@dataclass(frozen=True, eq=False)
class Arm:
    """One of the variants that an ablation compares."""

    name: str
    overrides: Overrides = field(default_factory=dict)
    base: Callable[[], Config] | None = None
    """The config that this arm starts from; None: the config of the ablation."""
    skips: tuple[str, ...] = ()
    """Names of the evaluations whose sizes the model of this arm does not accept."""
    against: str = ""
    """Name of the arm that the table compares this one with; empty: the first arm."""
    short_seeds: int = 0
    """Seeds of this arm in the short form; 0: as many as the form has."""


@dataclass(frozen=True)
class ExtraEvaluation:
    """One more evaluation of the trained model on the test set, under other conditions."""

    name: str
    overrides: Overrides = field(default_factory=dict)
    by_length: bool = False
    """True if hits are also counted for every length (or height)."""
    drift_from: str = ""
    """Name of an earlier evaluation. The change of the logits since that one is measured. Empty: it is not."""


@dataclass(frozen=True)
class Metric:
    """A number that is read from the row of a finished run; None where the run has no such number."""

    name: str
    value: Callable[[Row], float | None]
    unit: Unit = "percent"
    """percent: the value is a fraction, shown times 100. number: any real number. count: a whole number."""
    from_first_seed: bool = False
    """True if only the run of the first seed measures it, once per arm, since that run finds no compiled programs."""


@dataclass(frozen=True)
class Claim:
    """A sentence that the results support, contradict, or leave open.

    The confidence interval of the difference `arm` - `against` decides. The claim is supported if the whole interval
    lies above 0 (higher), below 0 (lower), or within ± `margin` (equal).
    """

    sentence: str
    metric: Metric
    arm: str
    against: str | None
    """The arm to compare with; None: compare with the number 0."""
    expected: Literal["higher", "lower", "equal"]
    margin: float = 0.0
    beyond: tuple[str, str] | None = None
    """Two more arms. Their difference, first - second, is subtracted: does `arm` differ from `against` by more?"""

    @property
    def arms(self) -> set[str]:
        """The arms that the claim speaks of."""
        return {self.arm, *(self.beyond or ()), *([] if self.against is None else [self.against])}


@dataclass(frozen=True)
class Dots:
    """A plot with a dot for every seed of every arm, and with the mean and the confidence interval of each arm."""

    metric: Metric


@dataclass(frozen=True)
class Lines:
    """A plot with one line per arm over a few numbers, and with the spread over seeds.

    Args:
        log_y: whether the vertical axis is logarithmic, with 0 at its bottom.
    """

    title: str
    x_label: str
    y_label: str
    points: tuple[tuple[float, Metric], ...]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class HeatMap:
    """A heat map of arms (rows) and metrics (columns)."""

    title: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class ByLength:
    """A plot of every arm's accuracy against the length of the examples, over all seeds together."""

    evaluation: str
    x_label: str


@dataclass(frozen=True)
class Series:
    """Some arms as one line of a plot, each compared with the same arm."""

    name: str
    arms: tuple[str, ...]
    against: str
    apart: tuple[tuple[str, str], ...] = ()
    """(label, arm) of arms that are no points of the line; they have open markers, one kind for each label."""


@dataclass(frozen=True)
class Differences:
    """A plot of what arms gain or lose, with 95 % intervals, against a number that was measured in their runs.

    Differences above one percentage point (or one) are drawn on a logarithmic scale.
    """

    title: str
    x: Metric
    metric: Metric
    series: tuple[Series, ...]
    log_x: bool = False


Plot = Dots | Lines | HeatMap | ByLength | Differences


@dataclass(frozen=True, eq=False)
class Form:
    """The length of the runs. Results of the short form are committed. The full form takes longer, with more seeds."""

    name: Literal["short", "full"]
    text: str
    """The data and the schedule of this form, in words for the page."""
    overrides: Overrides
    num_seeds: int
    seconds_per_run: float
    """Seconds of one run on two CPU cores, measured or extrapolated, for estimates.

    Two runs were made at a time; one, where the ablation measures time.
    """
    arms: tuple[str, ...] = ()
    """Names of the arms that this form has; (): all."""


@dataclass(frozen=True, eq=False)
class Ablation:
    """One question and the way to answer it. The first metric is the main one."""

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
    probe: Overrides | None = None
    """If given, every run checks that its canvases change no logit. The first seed of each arm also compares the
    gradients of its steps with those of the steps that these changes to the config make, at the net they train."""
    shares_programs: bool = False
    """True if all arms share compiled programs, so that their seconds of compilation mean nothing."""
    measures_time: bool = False
    """True if the runs must go one at a time, because runs at the same time slow each other down."""
    remarks: tuple[str, ...] = ()
    """Facts that a reader needs to judge the numbers."""

    def form(self, *, full: bool) -> Form:
        return self.full if full else self.short

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def baseline(self, name: str) -> str:
        """Return the name of the arm that an arm is compared with; its own name if it is a baseline itself."""
        return self.arm(name).against or self.arms[0].name

    def seeds(self, form: Form, arm: Arm) -> range:
        """Return the seeds of an arm in a form; none if the form does not have the arm."""
        if form.arms and arm.name not in form.arms:
            return range(0)
        return range((form.name == "short" and arm.short_seeds) or form.num_seeds)

    def num_runs(self, form: Form) -> int:
        return sum(len(self.seeds(form, arm)) for arm in self.arms)
