"""The encoder of Tacotron 2 (Shen et al., arXiv:1712.05884), narrower, as a classifier of Japanese Vowels.

python -m fcn_jax train --config=configs/tacotron2_encoder.py --workdir=runs/tacotron2_encoder
python -m fcn_jax train --config=configs/tacotron2_encoder.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from configs import japanese_vowels
from fcn_jax.config import Config
from fcn_jax.nets.families import Tacotron2Encoder


def get_config(argument: str = "") -> Config:
    config = japanese_vowels.get_config(argument)
    config.model = Tacotron2Encoder(num_classes=config.model.num_classes)
    if argument == "tiny":
        config.model.channels = (8, 8, 8)
    return config
