"""Ablation of heads: which one should turn the outputs at all positions into one prediction?

The heads are compared by accuracy, by parameters, and by accuracy at other sizes than the size of training.
"""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots, ExtraEvaluation, Lines
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, PARAMETERS, accuracy_of

OTHER_SCALES = (0.5, 0.75, 1.5, 2.0)
EVALUATIONS = tuple(ExtraEvaluation(f"scale {scale:g}", {"evaluate.scale": scale}) for scale in OTHER_SCALES)
FLATTEN = {"model.name": "flatten", "model.input_side": 20, "data.resize": "canvas:20x20"}

HEADS = Ablation(
    name="heads",
    question="How should the outputs at all positions become one prediction, and which way works at another size?",
    base=mnist.get_config,
    arms=(
        *(Arm(head, {"model.head": head}) for head in ("average_last", "max", "logsumexp", "attention", "pyramid")),
        Arm("flatten", FLATTEN, skips=tuple(evaluation.name for evaluation in EVALUATIONS)),
    ),
    evaluations=EVALUATIONS,
    metrics=(ACCURACY, PARAMETERS, *(accuracy_of(evaluation.name) for evaluation in EVALUATIONS)),
    claims=(
        Claim(
            "At the size of training, a pyramid, which keeps where things are, is better than the average",
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
            "At twice the size of training, the average is better than the maximum",
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
        "Flatten: every digit stands in the middle of a 20×20 canvas. After the same convolutions comes a dense layer "
        "over all positions. This net accepts no other size.",
        "At scale 0.5 no side goes below 8, the smallest side that the net accepts.",
    ),
)
