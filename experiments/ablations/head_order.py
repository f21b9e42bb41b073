"""Ablation of the order in the head: 1×1 convolution then average, or average then dense layer?

The two orders are the same function, so they should give the same result.
"""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots, Metric
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, TRAIN_SECONDS

LOSS = Metric("test loss", lambda row: row["summary"]["loss"], unit="number")
UNTRAINED = {"train.epochs": 1, "train.learning_rate": 0.0}

HEAD_ORDER = Ablation(
    name="head_order",
    question="1×1 convolution then average, or average then dense layer: the same function and the same accuracy?",
    base=mnist.get_config,
    arms=(
        Arm("average_last", {"model.head": "average_last"}),
        Arm("average_first", {"model.head": "average_first"}),
        Arm("average_last, untrained", {"model.head": "average_last", **UNTRAINED}),
        Arm("average_first, untrained", {"model.head": "average_first", **UNTRAINED}),
    ),
    metrics=(ACCURACY, LOSS, TRAIN_SECONDS),
    claims=(
        Claim(
            "Before training, the two orders are the same function",
            LOSS,
            "average_first, untrained",
            "average_last, untrained",
            "equal",
            margin=1e-4,
        ),
        Claim(
            "After training, the two orders are equally good",
            ACCURACY,
            "average_first",
            "average_last",
            "equal",
            margin=0.003,
        ),
    ),
    plots=(Dots(ACCURACY),),
    short=short_mnist(18),
    full=full_mnist(90),
    remarks=(
        "Untrained: one epoch with a learning rate of 0, so BatchNorm has statistics but the weights stay the initial "
        "ones. The same seed draws the same weights in both orders.",
    ),
)
