"""Ablation of the batch policy: should all steps hold the same number of examples, or of pixels?

With constant pixels, a step of large images holds fewer examples. Should such a step weigh less?
"""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, EXAMPLES_PER_SECOND, FILL

SHARED = {
    "schedule.kind": "bucketed",
    "schedule.max_buckets": 8,
    "schedule.examples_per_step": 128,
    "model.norm": "group",
    "data.augment.scale": (0.5, 2.0),
}
PIXELS = {**SHARED, "schedule.positions_per_step": 77_000}

BATCH_POLICY = Ablation(
    name="batch_policy",
    question=(
        "Should all steps hold the same number of examples or of pixels, and should the learning rate follow the "
        "number of examples?"
    ),
    base=mnist.get_config,
    arms=(
        Arm("examples", SHARED),
        Arm("pixels", PIXELS),
        Arm("pixels, rate ∝ √examples", {**PIXELS, "train.rate_scaling": "sqrt"}),
        Arm("pixels, rate ∝ examples", {**PIXELS, "train.rate_scaling": "linear"}),
        Arm("pixels, loss by the epoch", {**PIXELS, "train.loss_mean": "epoch"}),
    ),
    metrics=(ACCURACY, FILL, EXAMPLES_PER_SECOND),
    claims=(
        Claim(
            "Steps of constant pixels are as good as steps of constant examples",
            ACCURACY,
            "pixels",
            "examples",
            "equal",
            margin=0.003,
        ),
        Claim(
            "At constant pixels, a learning rate that follows the root of the examples is better than a constant one",
            ACCURACY,
            "pixels, rate ∝ √examples",
            "pixels",
            "higher",
        ),
        Claim(
            "At constant pixels, a learning rate that follows the examples is better than a constant one",
            ACCURACY,
            "pixels, rate ∝ examples",
            "pixels",
            "higher",
        ),
    ),
    plots=(Dots(ACCURACY),),
    short=short_mnist(46),
    full=full_mnist(160),
    remarks=(
        "The net trains at random scales of 0.5 to 2, so areas differ by a factor of 16, and is tested at native size. "
        "Every step holds one bucket, and the norm is GroupNorm. 77,000 pixels a step are 128 examples of mean area.",
    ),
)
