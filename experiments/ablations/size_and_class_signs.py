"""The ablation size_and_class on traffic signs: GTSRB in the folder .cache/data/gtsrb, as configs/gtsrb.py reads it."""

from configs import gtsrb
from experiments.ablation import Form
from experiments.ablations.forms import FULL_SEEDS, SHORT_SEEDS
from experiments.ablations.size_and_class import on_other_data
from fcn_jax.config import Config

FOLDER = ".cache/data/gtsrb"
STEPS = {"schedule.examples_per_step": 128, "train.evaluate_every_epochs": 0}
NET = {
    "model.num_classes": 43,
    "model.channels": (32, 64, 128),
    "model.kernel": (4,),
    "model.stride": (2,),
    "model.adaptive_pool": 0,
}


def small_signs() -> Config:
    """Return a config for signs of about 32×32 pixels, since every canvas has to hold every sign."""
    config = gtsrb.get_config(FOLDER)
    config.data.resize = "area:32"
    config.data.balance = 0.0
    config.data.augment.scale, config.data.augment.aspect, config.data.augment.crop = (1.0, 1.0), 0.0, 0.0
    config.data.augment.policy = "none"
    config.schedule.multiple_of = 1
    config.evaluate.scale = 1.0
    config.train.optimizer, config.train.learning_rate, config.train.weight_decay = "adamw", 1e-3, 0.01
    config.train.decay, config.train.ema_decay, config.train.precise_batch_norm = "cosine", 0.0, False
    return config


SIZE_AND_CLASS_SIGNS = on_other_data(
    "size_and_class_signs",
    "Do steps of like classes cost as much on photographs: traffic signs in 43 classes?",
    small_signs,
    short=Form(
        "short",
        "the training signs for 8 epochs in steps of 128, tested on other tracks",
        {**STEPS, **NET, "train.epochs": 8},
        num_seeds=SHORT_SEEDS,
        seconds_per_run=60,
    ),
    full=Form(
        "full",
        "the training signs for 24 epochs in steps of 128, tested on other tracks",
        {**STEPS, **NET, "train.epochs": 24},
        num_seeds=FULL_SEEDS,
        seconds_per_run=160,
    ),
    canvases=10,
    margin=0.01,
    remark=(
        "GTSRB is expected in .cache/data/gtsrb, in the folders that configs/gtsrb.py reads. Signs are resized to an "
        "area of 32×32 pixels. Each of the ten canvases has about four of the 43 classes at the most."
    ),
)
