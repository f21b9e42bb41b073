"""A baseline for signals: dense layers on Japanese Vowels, padded with zeros to 29 frames.

python -m fcn_jax train --config=configs/dense.py --workdir=runs/dense
python -m fcn_jax train --config=configs/dense.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from configs import japanese_vowels
from fcn_jax.config import Config
from fcn_jax.nets.families import Dense


def get_config(argument: str = "") -> Config:
    config = japanese_vowels.get_config(argument)
    channels = (8,) if argument == "tiny" else (128, 128)
    config.model = Dense(num_classes=config.model.num_classes, channels=channels, input_side=29)
    return config
