"""Ablation of the number of buckets: fewer buckets pad more, and more buckets take longer to compile.

Two arms measure what one canvas, or one square for all images, costs instead.
"""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots, Form
from experiments.ablations.forms import FULL_SEEDS, SHORT_SEEDS
from experiments.metrics import (
    ACCURACY,
    COMPILE_SECONDS,
    EXAMPLES_PER_SECOND,
    FILL,
    PROGRAMS,
    total_seconds_to,
    training_seconds_to,
)

TO_99, TOTAL_TO_99 = training_seconds_to(0.99), total_seconds_to(0.99)
EVERY_SHAPE = 64
"""More buckets than the 29 shapes of the data."""

BUCKETS = Ablation(
    name="buckets",
    question="How many buckets are worth their compilation, and what does one canvas or one square for all cost?",
    base=mnist.get_config,
    arms=(
        *(
            Arm(f"{count} bucket{'s' * (count > 1)}", {"schedule.max_buckets": count, "schedule.num_programs": 1})
            for count in (1, 2, 4, 8, 16)
        ),
        Arm("every shape", {"schedule.max_buckets": EVERY_SHAPE, "schedule.num_programs": 1}),
        Arm("chosen", {"schedule.max_buckets": 0, "schedule.num_programs": 0}),
        Arm("canvas 28×28", {"data.resize": "canvas:28x28", "schedule.max_buckets": 1}),
        Arm("square 20×20", {"data.resize": "square:20", "schedule.max_buckets": 1}),
    ),
    metrics=(EXAMPLES_PER_SECOND, ACCURACY, FILL, PROGRAMS, COMPILE_SECONDS, TO_99, TOTAL_TO_99),
    claims=(
        Claim(
            "Eight buckets train more images per second than one bucket",
            EXAMPLES_PER_SECOND,
            "8 buckets",
            "1 bucket",
            "higher",
        ),
        Claim(
            "One bucket trains more images per second than the 28×28 canvas",
            EXAMPLES_PER_SECOND,
            "canvas 28×28",
            "1 bucket",
            "lower",
        ),
        Claim(
            "The number of buckets does not change the accuracy",
            ACCURACY,
            "8 buckets",
            "1 bucket",
            "equal",
            margin=0.002,
        ),
        Claim("One square for all images costs accuracy", ACCURACY, "square 20×20", "1 bucket", "lower"),
        Claim("The chosen schedule trains to 99 % sooner than one bucket", TO_99, "chosen", "1 bucket", "lower"),
        Claim("The chosen schedule computes less padding than eight buckets", FILL, "chosen", "8 buckets", "higher"),
    ),
    plots=(Dots(EXAMPLES_PER_SECOND), Dots(TO_99), Dots(ACCURACY)),
    short=Form(
        "short",
        "all 55,000 training examples (fewer do not reach 99 %) for 4 epochs instead of 16, in steps of 256 instead of "
        "512, tested on all 10,000",
        {"train.epochs": 4, "schedule.examples_per_step": 256},
        num_seeds=SHORT_SEEDS,
        seconds_per_run=42,
    ),
    full=Form(
        "full",
        "all 55,000 training examples for 16 epochs, tested on all 10,000",
        {},
        num_seeds=FULL_SEEDS,
        seconds_per_run=115,
    ),
    measures_time=True,
    remarks=(
        "Steps are stratified: one training program takes a block of every bucket. The other programs are those of "
        "evaluation, one per bucket. Chosen: the joint search picks buckets and programs for the least total time.",
        "Seconds to 99 % are the seconds of training until validation, once an epoch, first reaches 99 %. The total "
        "adds compilation with an empty cache, measured once per arm.",
        "On the canvas and in the square every pixel counts as image, so their fill cannot be compared.",
    ),
)
