"""The short and the full form of ablations on the embedded data."""

from experiments.ablation import Form

SHORT_SEEDS, FULL_SEEDS = 5, 10


def short_mnist(seconds_per_run: float) -> Form:
    """Return the short form, which two CPU cores finish in a few minutes per ablation."""
    return Form(
        "short",
        "the first 12,000 of MNIST's 55,000 training examples for 4 epochs instead of 16, in steps of 128 instead of "
        "512, tested on all 10,000",
        {
            "data.train_split": "train[:12000]",
            "schedule.examples_per_step": 128,
            "train.epochs": 4,
            "train.evaluate_every_epochs": 0,
        },
        num_seeds=SHORT_SEEDS,
        seconds_per_run=seconds_per_run,
    )


def full_mnist(seconds_per_run: float) -> Form:
    return Form(
        "full",
        "all 55,000 training examples for 16 epochs, tested on all 10,000",
        {"train.evaluate_every_epochs": 0},
        num_seeds=FULL_SEEDS,
        seconds_per_run=seconds_per_run,
    )
