"""How positions become one prediction: accuracy, parameters, and what happens at other sizes than that of training."""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots, ExtraEvaluation, Lines
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, PARAMETERS, accuracy_of

OTHER_SCALES = (0.5, 0.75, 1.5, 2.0)
EVALUATIONS = tuple(ExtraEvaluation(f"scale {scale:g}", {"evaluate.scale": scale}) for scale in OTHER_SCALES)
FLATTEN = {"model.name": "flatten", "model.input_side": 20, "data.resize": "canvas:20x20"}

HEADS = Ablation(
    name="heads",
    question="How should positions become one prediction, and which way survives another size?",
    base=mnist.get_config,
    arms=(
        *(Arm(head, {"model.head": head}) for head in ("average_last", "max", "logsumexp", "attention", "pyramid")),
        Arm("flatten", FLATTEN, skips=tuple(evaluation.name for evaluation in EVALUATIONS)),
    ),
    evaluations=EVALUATIONS,
    metrics=(ACCURACY, PARAMETERS, *(accuracy_of(evaluation.name) for evaluation in EVALUATIONS)),
    claims=(
        Claim(
            "A pyramid, which keeps where things are, is better than the average at the size of training",
            ACCURACY,
            "pyramid",
            "average_last",
            "higher",
        ),
        Claim(
            "Flattening, which fixes the size, is no better than the average",
            ACCURACY,
            "flatten",
            "average_last",
            "equal",
            margin=0.003,
        ),
        Claim(
            "At twice the size the average is better than the maximum",
            accuracy_of("scale 2"),
            "average_last",
            "max",
            "higher",
        ),
    ),
    plots=(
        Dots(ACCURACY),
        Lines(
            "Accuracy against the size at test time",
            "scale at test time",
            "test accuracy, %",
            (
                *((scale, accuracy_of(f"scale {scale:g}")) for scale in (0.5, 0.75)),
                (1.0, ACCURACY),
                *((scale, accuracy_of(f"scale {scale:g}")) for scale in (1.5, 2.0)),
            ),
        ),
    ),
    short=short_mnist(37),
    full=full_mnist(110),
    remarks=(
        "Flatten: every digit in the middle of a 20×20 canvas, the same convolutions, a dense layer over all "
        "positions; it takes no other size.",
        "Scaled to a half, no side goes below 8, the smallest the net survives.",
    ),
)
