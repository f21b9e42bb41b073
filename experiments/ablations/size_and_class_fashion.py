"""The ablation size_and_class on Fashion-MNIST, cropped to its ink; `python -m experiments.fashion_mnist` writes it."""

from configs import mnist
from experiments.ablation import Form
from experiments.ablations.forms import FULL_SEEDS, SHORT_SEEDS
from experiments.ablations.size_and_class import on_other_data
from fcn_jax.config import Config

STEPS = {"schedule.examples_per_step": 128, "train.evaluate_every_epochs": 0}


def fashion() -> Config:
    config = mnist.get_config()
    config.data.source = "folder:.cache/data/fashion_mnist"
    config.data.augment.rotate, config.data.augment.shear, config.data.augment.stretch = 5.0, 5.0, 0.1
    return config


SIZE_AND_CLASS_FASHION = on_other_data(
    "size_and_class_fashion",
    "Do steps of like classes cost as much on other pictures: Fashion-MNIST, cropped to its ink?",
    fashion,
    short=Form(
        "short",
        "12,000 training examples for 4 epochs in steps of 128, tested on all 10,000",
        {**STEPS, "train.epochs": 4},
        num_seeds=SHORT_SEEDS,
        seconds_per_run=40,
    ),
    full=Form(
        "full",
        "12,000 training examples for 16 epochs in steps of 128, tested on all 10,000",
        {**STEPS, "train.epochs": 16},
        num_seeds=FULL_SEEDS,
        seconds_per_run=130,
    ),
    canvases=10,
    margin=0.005,
    remark="The pictures are those that `python -m experiments.fashion_mnist` writes.",
)
