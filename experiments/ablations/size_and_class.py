"""Ablation of batches of like classes: how much of what bucketing costs is the class that a step's canvas tells?

Padding changes nothing here, so an example may stand on any canvas that holds it. The arms deal the same canvases out
to the same examples, so that a canvas tells more or less of the class (fcn_jax/core/canvas_choice.py). Nothing else
differs between the levels: the net is the same function, and as many examples stand on each canvas.

The predictions are the claims below. They were written before the first run:
1. Where the canvas tells nothing, steps of one canvas are as good as shuffled ones. This one could refute the others.
2. The more the canvas tells, the more accuracy steps of one canvas lose, with any norm and with none.
3. BatchNorm loses most.
4. Stratified steps lose nothing, whatever the canvas tells.
5. Re-estimated statistics of BatchNorm give back a part. The gradients of a step remain those of like examples.
6. Canvases by size cost what canvases cost that tell as many bits. Size matters through the class alone.

Some claims were added when the first runs of seed 0 were known, since those before did not decide a prediction: of
steps that hold each class as often as steps by size do, but examples of any size (6); of the most, for BatchNorm (3);
of stratified steps against shuffled ones (4); of what re-estimated statistics give back at one bit beyond what they
give at none (5).

One more prediction was written when five seeds of all arms above were known, but no run of its own:
7. If like classes cost accuracy because the gradient varies more between steps, they cost less at a third of the
learning rate, which averages over more steps.

One more was written when seed 0 of these arms had contradicted 7 with every norm:
8. A net at a third of the rate for as many epochs is also trained less. Where it is trained for thrice as long, like
classes cost less.

The last one was written when four seeds of these arms were known, but no run at the whole rate for thrice as long:
9. It is not the length alone. For thrice as long, like classes cost less at a third of the rate than at the whole rate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Differences, Form, Overrides, Series
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, CANVAS_BITS, GRADIENT_BIAS, GRADIENT_VARIANCE, VARIANCE_WITHIN
from fcn_jax.config import Config

NORMS: dict[str, Overrides] = {
    "BatchNorm": {"model.norm": "batch"},
    "GroupNorm": {"model.norm": "group"},
    "LayerNorm": {"model.norm": "layer"},
    "no norm": {"model.norm": "none"},
}
RE_ESTIMATED: Overrides = {"model.norm": "batch", "train.precise_batch_norm": True}
RATES: dict[str, Overrides] = {
    "at a third of the rate": {"train.learning_rate": 1e-3},
    "at a third of the rate for thrice as long": {"train.learning_rate": 1e-3, "train.epochs": 12},
    "at the whole rate for thrice as long": {"train.epochs": 12},
}
"""{how an arm trains: what that changes in the short form}"""
LESS_LOST = (
    ("at a third of the rate", ""),
    ("at a third of the rate for thrice as long", ""),
    ("at a third of the rate for thrice as long", "at the whole rate for thrice as long"),
)
"""(how some arms train, how others do; empty: as the form says): the first should lose less."""
SHUFFLED: Overrides = {"schedule.kind": "bucketed", "schedule.max_buckets": 1}
PROBE: Overrides = {**SHUFFLED, "schedule.canvases": "smallest", "train.precise_batch_norm": False}
"""The net whose gradients are measured is trained with shuffled steps, the same for all arms of a norm."""


BY_SIZE = {"by size": "size", "class as by size": "class:size"}
"""{level of an arm: the rule by which its canvases are dealt out}, where it is no number of bits."""


def against(norm: str) -> str:
    """Return the name of the arm with which those of a norm are compared."""
    return f"shuffled, {norm}"


def arm_name(kind: str, norm: str, level: str) -> str:
    return f"{kind}, {norm}, {level}{'' if level == 'most' or level in BY_SIZE else ' bits'}"


def rule_of(level: str) -> str:
    """Return the value of `schedule.canvases` for a level."""
    return BY_SIZE.get(level, f"class:{level}")


def arms(
    *,
    bucketed: Sequence[str],
    stratified: Sequence[str],
    canvases: int,
    seeds: Mapping[str, int],
    other_rates: Sequence[str] = (),
) -> tuple[Arm, ...]:
    """Return the arms of all norms.

    Args:
        bucketed, stratified: how much the canvas tells of the class in these arms: bits, `most`, or a key of BY_SIZE.
        canvases: number of canvases.
        seeds: {norm: seeds of the short form}, for the norms that have more than its own.
        other_rates: the norms that have arms at other rates or of other length too: shuffled, and of one bit.
    """

    def dealt(kind: str, norm: str, level: str, changes: Overrides) -> Arm:
        schedule = {"schedule.kind": kind, "schedule.max_buckets": canvases, "schedule.canvases": rule_of(level)}
        if kind == "stratified":
            schedule["schedule.num_programs"] = 1
        return Arm(
            arm_name(kind, norm, level), {**schedule, **changes}, against=against(norm), short_seeds=seeds.get(norm, 0)
        )

    def shuffled(norm: str, changes: Overrides) -> Arm:
        return Arm(against(norm), {**SHUFFLED, **changes}, against=against(norm), short_seeds=seeds.get(norm, 0))

    made = []
    for norm, changes in NORMS.items():
        made.append(shuffled(norm, changes))
        made += [dealt("bucketed", norm, level, changes) for level in bucketed]
        made += [dealt("stratified", norm, level, changes) for level in stratified]
    made.append(shuffled("re-estimated BatchNorm", RE_ESTIMATED))
    made += [dealt("bucketed", "re-estimated BatchNorm", level, RE_ESTIMATED) for level in ("0", "1", "most")]
    for how, rate in RATES.items():
        for norm in other_rates:
            changes = {**NORMS[norm], **rate}
            made += [shuffled(f"{norm} {how}", changes), dealt("bucketed", f"{norm} {how}", "1", changes)]
    return tuple(made)


def claims(*, margin: float, stratified: bool, by_size: str = "", other_rates: Sequence[str] = ()) -> tuple[Claim, ...]:
    """Return the predictions.

    Args:
        margin: the difference of accuracies that counts as none.
        stratified: whether there are arms of stratified steps.
        by_size: the bits that size tells of the class, if there are arms by size.
        other_rates: the norms that have arms at other rates.
    """
    made = []
    for norm in NORMS:
        nothing, one, most = (arm_name("bucketed", norm, level) for level in ("0", "1", "most"))
        text = f"With {norm}, steps of one canvas are as good as shuffled ones if the canvas tells nothing of the class"
        made.append(Claim(text, ACCURACY, nothing, against(norm), "equal", margin=margin))
        text = f"With {norm}, steps of one canvas are worse if the canvas tells one bit of the class"
        made.append(Claim(text, ACCURACY, one, nothing, "lower"))
        text = f"With {norm}, they are worse still if the canvas tells the most it can"
        made.append(Claim(text, ACCURACY, most, one, "lower"))
        if stratified:
            text = f"With {norm}, stratified steps lose nothing, whatever the canvas tells"
            one_end, other = (arm_name("stratified", norm, level) for level in ("most", "0"))
            made.append(Claim(text, ACCURACY, one_end, other, "equal", margin=margin))
            text = f"With {norm}, stratified steps are as good as shuffled ones if the canvas tells the most it can"
            made.append(Claim(text, ACCURACY, one_end, against(norm), "equal", margin=margin))
        if by_size:
            text = f"With {norm}, canvases by size cost what canvases cost that tell as many bits"
            of_size, of_class = (arm_name("bucketed", norm, level) for level in ("by size", by_size))
            made.append(Claim(text, ACCURACY, of_size, of_class, "equal", margin=margin))
            text = f"With {norm}, canvases by size cost what canvases cost that hold each class as often"
            of_class = arm_name("bucketed", norm, "class as by size")
            made.append(Claim(text, ACCURACY, of_size, of_class, "equal", margin=margin))
    nothing, one = (arm_name("bucketed", "BatchNorm", level) for level in ("0", "1"))
    for norm in list(NORMS)[1:]:
        for level, where in (("1", "At one bit"), ("most", "At the most")):
            text = f"{where}, BatchNorm loses more than {norm}"
            others = (arm_name("bucketed", norm, level), arm_name("bucketed", norm, "0"))
            made.append(
                Claim(text, ACCURACY, arm_name("bucketed", "BatchNorm", level), nothing, "lower", beyond=others)
            )
    precise = arm_name("bucketed", "re-estimated BatchNorm", "1")
    text = "At one bit, re-estimated statistics of BatchNorm give accuracy back"
    made.append(Claim(text, ACCURACY, precise, one, "higher"))
    text = "At one bit, re-estimated statistics give more than they give if the canvas tells nothing"
    at_nothing = (arm_name("bucketed", "re-estimated BatchNorm", "0"), nothing)
    made.append(Claim(text, ACCURACY, precise, one, "higher", beyond=at_nothing))
    text = "At one bit, re-estimated statistics do not give all of it back"
    made.append(Claim(text, ACCURACY, precise, arm_name("bucketed", "re-estimated BatchNorm", "0"), "lower"))
    for how, elsewhere in LESS_LOST:
        for norm in other_rates:
            text = f"With {norm}, steps of one canvas that tells one bit lose less {how}"
            here, there = f"{norm} {how}", f"{norm} {elsewhere}".strip()
            others = (arm_name("bucketed", there, "1"), against(there))
            text += f" than {elsewhere}" if elsewhere else ""
            made.append(Claim(text, ACCURACY, arm_name("bucketed", here, "1"), against(here), "higher", beyond=others))
    return tuple(made)


def plots(*, bucketed: Sequence[str]) -> tuple[Differences, ...]:
    """Return the two figures: accuracy lost against what the canvas tells, and against the noise of the gradients."""
    series = tuple(
        Series(
            norm,
            tuple(arm_name("bucketed", norm, level) for level in bucketed if level not in BY_SIZE),
            against(norm),
            tuple((level, arm_name("bucketed", norm, level)) for level in bucketed if level in BY_SIZE),
        )
        for norm in NORMS
    )
    title = "Steps of one canvas against shuffled steps"
    return (
        Differences(f"{title}, by how much the canvas tells of the class", CANVAS_BITS, ACCURACY, series),
        Differences(
            f"{title}, by how the gradient varies between steps", GRADIENT_VARIANCE, ACCURACY, series, log_x=True
        ),
    )


def on_other_data(
    name: str,
    question: str,
    base: Callable[[], Config],
    *,
    short: Form,
    full: Form,
    canvases: int,
    margin: float,
    remark: str,
) -> Ablation:
    """Return the ablation on other data: three levels, without stratified steps."""
    levels = ("0", "1", "most")
    return Ablation(
        name=name,
        question=question,
        base=base,
        arms=arms(bucketed=levels, stratified=(), canvases=canvases, seeds={}),
        metrics=METRICS,
        claims=claims(margin=margin, stratified=False),
        plots=plots(bucketed=levels),
        short=short,
        full=full,
        probe=PROBE,
        shares_programs=True,
        remarks=(remark, *REMARKS),
    )


METRICS = (ACCURACY, CANVAS_BITS, GRADIENT_VARIANCE, VARIANCE_WITHIN, GRADIENT_BIAS)
REMARKS = (
    "Shuffled: all examples stand on one canvas. Bucketed: every step holds one canvas. Stratified: every step holds "
    "all canvases. A level is the mutual information between the canvas and the class of a training example. At the "
    "most, each canvas is given whole classes. What does not fill a step may move to a larger canvas, so the table has "
    "the bits that remain. Steps of one canvas are about 2 % more than shuffled ones, and a little smaller.",
    "Every run checks that its canvases change nothing but by rounding: the logits of the untrained net in evaluation, "
    "and its gradient in training.",
    "Gradient variance: that between the steps of an epoch, at the parameters of one net, in units of the variance of "
    "shuffled steps. Within canvases: the part of it that steps of the same canvas have. Gradient bias: the squared "
    "distance of the mean gradient from that of shuffled steps, in the same units; for shuffled steps, from that of "
    "another order. The mean counts every example once, while in training each step counts as much. The net has the "
    "norm of the arm and was trained with shuffled steps of seed 0. All three are "
    "measured once per arm.",
)
LEVELS = ("0", "0.1", "0.3", "by size", "class as by size", "0.6", "1", "1.6", "2.4", "most")
AT_OTHER_RATES = ("BatchNorm", "GroupNorm", "no norm")
ARMS = arms(
    bucketed=LEVELS,
    stratified=("0", "1", "most"),
    canvases=10,
    seeds={"BatchNorm": 10, "no norm": 10},
    other_rates=AT_OTHER_RATES,
)
SIZE_AND_CLASS = Ablation(
    name="size_and_class",
    question="Batches of like sizes are batches of like classes: what does it cost, with which norms, what cures it?",
    base=mnist.get_config,
    arms=ARMS,
    metrics=METRICS,
    claims=claims(margin=0.003, stratified=True, by_size="0.3", other_rates=AT_OTHER_RATES),
    plots=plots(bucketed=LEVELS),
    short=short_mnist(30),
    full=replace(full_mnist(130), arms=tuple(arm.name for arm in ARMS if "train.epochs" not in arm.overrides)),
    probe=PROBE,
    shares_programs=True,
    remarks=(
        "Ten canvases from 20×20 to 25×24 hold all digits. By size, they tell 0.28 of at most 3.32 bits; six buckets "
        "as in the default run tell 0.36, and all 24 shapes of the short form 0.40. Class as by size: as many digits "
        "of each class stand on each canvas as by size, but which ones is drawn, so the digits of a step are alike in "
        "their class alone.",
        "At a third of the rate: a learning rate of 0.001, not 0.003. For thrice as long: 12 epochs, not 4.",
        *REMARKS,
    ),
)
