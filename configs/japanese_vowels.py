"""Japanese Vowels at native lengths: tell nine speakers apart by signals of 7 to 29 frames of 12 channels.

python -m fcn_jax train --config=configs/japanese_vowels.py --workdir=runs/vowels
python -m fcn_jax train --config=configs/japanese_vowels.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.nets.families import FCN


def get_config(argument: str = "") -> Config:
    config = Config(model=FCN(num_classes=9, channels=(64, 64, 64), kernel=(3,), stride=(1,)))
    config.data.source = "japanese_vowels"
    config.data.channels = 12
    config.data.mean = (0.87, -0.55, 0.25, -0.27, 0.22, -0.21, -0.17, -0.05, -0.20, -0.18, -0.02, 0.09)
    config.data.std = (0.49, 0.39, 0.30, 0.31, 0.27, 0.17, 0.16, 0.19, 0.19, 0.12, 0.10, 0.13)
    config.schedule.max_buckets = 6
    config.schedule.examples_per_step = 64
    config.evaluate.examples_per_step = 64
    config.train.epochs = 40
    config.train.evaluate_every_epochs = 5
    config.train.label_smoothing = 0.1
    if argument == "tiny":
        mnist.shrink(config)
        config.data.train_split = "train[:128]"
        config.data.validation_split = "validation"
        config.schedule.examples_per_step = 32
    elif argument:
        raise ValueError(f"configs/japanese_vowels.py knows the argument 'tiny', not {argument!r}")
    return config
