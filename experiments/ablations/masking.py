"""Ablation of masks: what happens when padding grows at test time?

Masked layers ignore the padding. Unmasked layers take it for a part of the image.
"""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots, ExtraEvaluation, Lines
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, accuracy_of, drift_of

PADDINGS = (0, 2, 8, 32, 128)
FIRST = "padding 0"
PART = {"data.test_split": "test[:2000]", "evaluate.examples_per_step": 64}

MASKING = Ablation(
    name="masking",
    question="When padding grows at test time, what do masked layers keep, and what do unmasked layers lose?",
    base=mnist.get_config,
    arms=(
        Arm("masked", {"model.masked": True}),
        Arm("unmasked", {"model.masked": False}),
        Arm("unmasked, one canvas", {"model.masked": False, "schedule.max_buckets": 1}),
    ),
    evaluations=tuple(
        ExtraEvaluation(f"padding {side}", {**PART, "evaluate.padding": side}, drift_from=FIRST if side else "")
        for side in PADDINGS
    ),
    metrics=(
        ACCURACY,
        *(accuracy_of(f"padding {side}") for side in PADDINGS),
        *(drift_of(f"padding {side}") for side in PADDINGS[1:]),
    ),
    claims=(
        Claim(
            "With masked layers, 128 pixels of padding do not change the logits",
            drift_of("padding 128"),
            "masked",
            None,
            "equal",
            margin=1e-4,
        ),
        Claim(
            "With unmasked layers, 32 pixels of padding cost accuracy",
            accuracy_of("padding 32"),
            "unmasked",
            "masked",
            "lower",
        ),
        Claim(
            "With unmasked layers trained on one canvas, 32 pixels of padding cost accuracy too",
            accuracy_of("padding 32"),
            "unmasked, one canvas",
            "masked",
            "lower",
        ),
    ),
    plots=(
        Lines(
            "Accuracy as padding grows",
            "padding added at test time, pixels a side",
            "test accuracy, %",
            tuple((side, accuracy_of(f"padding {side}")) for side in PADDINGS),
            log_x=True,
        ),
        Lines(
            "How far the logits drift",
            "padding added at test time, pixels a side",
            "largest change of a logit, mean over examples",
            tuple((side, drift_of(f"padding {side}")) for side in PADDINGS[1:]),
            log_x=True,
            log_y=True,
        ),
        Dots(ACCURACY),
    ),
    short=short_mnist(42),
    full=full_mnist(120),
    remarks=(
        "Padding is added to every canvas in both directions, below and to the right. These evaluations take the first "
        "2,000 test examples. Drift is the largest change of a logit, averaged over examples. The six buckets of "
        "training already pad a little, so unmasked layers have seen some padding.",
    ),
)
