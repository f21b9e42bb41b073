"""Network in Network (Lin et al., arXiv:1312.4400), narrower and with BatchNorm, on MNIST at native sizes.

python -m fcn_jax train --config=configs/nin.py --workdir=runs/nin
python -m fcn_jax train --config=configs/nin.py:tiny --workdir=runs/tiny     (seconds, to see it work)

The paper's net: --config.model.channels='(192, 160, 96, 192, 192, 192, 192, 192)' --config.model.norm=none.
"""

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.nets.families import NIN


def get_config(argument: str = "") -> Config:
    config = mnist.get_config(argument)
    config.model = NIN(channels=(8,) * 8 if argument == "tiny" else (48, 40, 24, 48, 48, 48, 48, 48))
    return config
