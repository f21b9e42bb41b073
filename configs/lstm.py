"""A bidirectional LSTM on Japanese Vowels, which classifies by the mean of its states.

python -m fcn_jax train --config=configs/lstm.py --workdir=runs/lstm
python -m fcn_jax train --config=configs/lstm.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from configs import japanese_vowels
from fcn_jax.config import Config
from fcn_jax.nets.families import LSTM


def get_config(argument: str = "") -> Config:
    config = japanese_vowels.get_config(argument)
    config.model = LSTM(num_classes=config.model.num_classes, bidirectional=True)
    if argument == "tiny":
        config.model.channels = (8,)
    return config
