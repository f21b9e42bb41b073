"""The baseline of signals: Japanese Vowels padded with zeros to 29 frames, then dense layers.

python -m fcn_jax train --config=configs/dense.py --workdir=runs/dense
python -m fcn_jax train --config=configs/dense.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from configs import japanese_vowels
from fcn_jax.config import Config


def get_config(argument: str = "") -> Config:
    config = japanese_vowels.get_config(argument)
    config.model.name = "dense"
    config.model.input_side = 29
    config.model.channels = (8,) if argument == "tiny" else (128, 128)
    return config
