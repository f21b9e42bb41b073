"""WaveNet (van den Oord et al., arXiv:1609.03499) as a classifier of Japanese Vowels.

python -m fcn_jax train --config=configs/wavenet.py --workdir=runs/wavenet
python -m fcn_jax train --config=configs/wavenet.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from configs import japanese_vowels
from fcn_jax.config import Config
from fcn_jax.nets.families import WaveNet


def get_config(argument: str = "") -> Config:
    config = japanese_vowels.get_config(argument)
    config.model = WaveNet(num_classes=config.model.num_classes)
    if argument == "tiny":
        config.model.channels = (8, 16)
    return config
