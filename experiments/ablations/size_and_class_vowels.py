"""The ablation size_and_class on signals: Japanese Vowels, nine speakers."""

from configs import japanese_vowels
from experiments.ablation import Form
from experiments.ablations.forms import FULL_SEEDS, SHORT_SEEDS
from experiments.ablations.size_and_class import on_other_data

STEPS = {"schedule.examples_per_step": 25, "train.evaluate_every_epochs": 0}

SIZE_AND_CLASS_VOWELS = on_other_data(
    "size_and_class_vowels",
    "Do steps of like classes cost as much on signals: Japanese Vowels?",
    japanese_vowels.get_config,
    short=Form(
        "short",
        "all 225 training examples of Japanese Vowels for 40 epochs, in steps of 25 instead of 64, tested on all 370",
        STEPS,
        num_seeds=SHORT_SEEDS,
        seconds_per_run=14,
    ),
    full=Form(
        "full",
        "all 225 training examples of Japanese Vowels for 80 epochs, in steps of 25 instead of 64, tested on all 370",
        {**STEPS, "train.epochs": 80},
        num_seeds=FULL_SEEDS,
        seconds_per_run=22,
    ),
    canvases=3,
    margin=0.01,
    remark=(
        "One test example is 0.27 percentage points. At the most, each of three canvases has three of the nine "
        "speakers and makes three steps an epoch."
    ),
)
