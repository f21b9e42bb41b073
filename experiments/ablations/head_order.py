"""1×1 convolution then average, or average then dense: the same function, so the same result?"""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots, Metric
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, TRAIN_SECONDS

LOSS = Metric("test loss", lambda row: row["summary"]["loss"], unit="number")
UNTRAINED = {"train.epochs": 1, "train.learning_rate": 0.0}

HEAD_ORDER = Ablation(
    name="head_order",
    question="1×1 convolution then average, or average then dense: the same function and the same accuracy?",
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
            "Before training they are the same function",
            LOSS,
            "average_first, untrained",
            "average_last, untrained",
            "equal",
            margin=1e-4,
        ),
        Claim(
            "After training they are equally good",
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
        "Untrained: an epoch with a learning rate of 0, so that BatchNorm has statistics and the weights are those of "
        "the first step. The same seed draws the same weights in both orders.",
    ),
)
