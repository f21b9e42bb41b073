"""Ablation of batches: which kinds does BatchNorm tolerate?

An image's shape depends on its class, so the examples of a batch of one shape are not i.i.d.
"""

import dataclasses

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, FILL, TRAIN_SECONDS

EVERY_SHAPE = 64
"""More buckets than shapes: MNIST, cropped to its ink and widened to 8, has 29 shapes (24 in the short form)."""
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
    question="The shape of an image depends on its class: which kinds of batches does BatchNorm tolerate?",
    base=mnist.get_config,
    arms=tuple(
        Arm(f"{batch}, {norm}", {**ROWS, **how, **which})
        for norm, which in NORMS.items()
        for batch, how in BATCHES_OF.items()
    ),
    metrics=(ACCURACY, FILL, TRAIN_SECONDS),
    claims=(
        Claim(
            "With BatchNorm, batches of one shape are worse than shuffled batches",
            ACCURACY,
            "one shape, BatchNorm",
            "shuffled, BatchNorm",
            "lower",
        ),
        Claim(
            "With BatchNorm, batches of one bucket are worse than shuffled batches",
            ACCURACY,
            "bucketed, BatchNorm",
            "shuffled, BatchNorm",
            "lower",
        ),
        Claim(
            "With BatchNorm, stratified batches are as good as shuffled batches",
            ACCURACY,
            "stratified, BatchNorm",
            "shuffled, BatchNorm",
            "equal",
            margin=0.003,
        ),
        Claim(
            "Re-estimating BatchNorm's statistics helps with batches of one shape",
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
    short=dataclasses.replace(short_mnist(25), num_seeds=10),
    full=dataclasses.replace(full_mnist(110), arms=tuple(f"{batch}, BatchNorm" for batch in BATCHES_OF)),
    remarks=(
        "Shuffled: all examples stand on the same 20×20 canvas, with masks. Stratified: every step holds one block of "
        "each of six buckets. Bucketed: every step holds one of six buckets. One shape: every shape is a bucket. The "
        "examples that remain of a shape after its last whole batch join the next larger shape, if that pads less than "
        "filler would.",
        "In the short form a step of one bucket holds 123 to 128 examples, any other 126 to 128. Of one shape there "
        "are 103 steps an epoch instead of 94, of which 61 % hold one shape only; four of them hold 4 to 26 examples, "
        "and each has an update of its own.",
        "Re-estimated: after training, the statistics of BatchNorm are computed again over the training data, in "
        "stratified steps (config.train.precise_batch_norm).",
    ),
)
