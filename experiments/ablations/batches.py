"""Which batches can BatchNorm stand? Shape goes with class, so batches of one shape are not i.i.d."""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, FILL, TRAIN_SECONDS

EVERY_SHAPE = 64
"""More buckets than the 29 shapes of MNIST cropped to its ink and widened to 8 (24 of them in the short form)."""
ROWS = {"schedule.examples_per_step": 128}
BATCHES_OF = {
    "shuffled": {"schedule.kind": "bucketed", "schedule.max_buckets": 1},
    "stratified": {"schedule.kind": "stratified", "schedule.max_buckets": 6},
    "bucketed": {"schedule.kind": "bucketed", "schedule.max_buckets": 6},
    "one shape": {"schedule.kind": "bucketed", "schedule.max_buckets": EVERY_SHAPE},
}
NORMS = {
    "BatchNorm": {"model.norm": "batch"},
    "re-estimated BatchNorm": {"model.norm": "batch", "train.precise_batch_norm": True},
    "GroupNorm": {"model.norm": "group"},
}

BATCHES = Ablation(
    name="batches",
    question="Shape goes with class: which batches can BatchNorm stand?",
    base=mnist.get_config,
    arms=tuple(
        Arm(f"{batch}, {norm}", {**ROWS, **how, **which})
        for norm, which in NORMS.items()
        for batch, how in BATCHES_OF.items()
    ),
    metrics=(ACCURACY, FILL, TRAIN_SECONDS),
    claims=(
        Claim(
            "Batches of one shape are worse than shuffled ones with BatchNorm",
            ACCURACY,
            "one shape, BatchNorm",
            "shuffled, BatchNorm",
            "lower",
        ),
        Claim(
            "So are batches of one bucket",
            ACCURACY,
            "bucketed, BatchNorm",
            "shuffled, BatchNorm",
            "lower",
        ),
        Claim(
            "Stratified batches are as good as shuffled ones with BatchNorm",
            ACCURACY,
            "stratified, BatchNorm",
            "shuffled, BatchNorm",
            "equal",
            margin=0.003,
        ),
        Claim(
            "Re-estimating BatchNorm's statistics mends batches of one shape",
            ACCURACY,
            "one shape, re-estimated BatchNorm",
            "one shape, BatchNorm",
            "higher",
        ),
        Claim(
            "Batches of one shape are better with GroupNorm than with BatchNorm",
            ACCURACY,
            "one shape, GroupNorm",
            "one shape, BatchNorm",
            "higher",
        ),
    ),
    plots=(Dots(ACCURACY),),
    short=short_mnist(25),
    full=full_mnist(110),
    remarks=(
        "Shuffled: every example on one 20×20 canvas, masked. Stratified: one block of each of six buckets in every "
        "step. Bucketed: one of six buckets a step. One shape: a bucket for every shape; what is left of a shape after "
        "its last whole batch joins the next larger shape, where that pads less than filler would: 87 % of the steps "
        "of the short form are of one shape.",
        "Steps of 128 examples in all arms.",
        "Re-estimated: after training, the statistics of BatchNorm are taken anew over the training data, in "
        "stratified steps (config.train.precise_batch_norm).",
    ),
)
