"""WaveNet (van den Oord et al., arXiv:1609.03499) as a classifier of Japanese Vowels.

python -m fcn_jax train --config=configs/wavenet.py --workdir=runs/wavenet
python -m fcn_jax train --config=configs/wavenet.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from configs import japanese_vowels
from fcn_jax.config import Config


def get_config(argument: str = "") -> Config:
    config = japanese_vowels.get_config(argument)
    config.model.name = "wavenet"
    config.model.channels = (64, 128)
    config.model.kernel = (2,)
    config.model.dilation = (1, 2, 4, 8, 1, 2, 4, 8)
    if argument == "tiny":
        config.model.channels = (8, 16)
    return config
