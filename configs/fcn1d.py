"""The fully convolutional net for time series (Wang et al., arXiv:1611.06455) on Japanese Vowels.

python -m fcn_jax train --config=configs/fcn1d.py --workdir=runs/fcn1d
python -m fcn_jax train --config=configs/fcn1d.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from configs import japanese_vowels
from fcn_jax.config import Config
from fcn_jax.nets.families import FCN1D


def get_config(argument: str = "") -> Config:
    config = japanese_vowels.get_config(argument)
    config.model = FCN1D(num_classes=config.model.num_classes)
    if argument == "tiny":
        config.model.channels = (8, 16, 8)
    return config
