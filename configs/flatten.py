"""A baseline that flattens: the default net's convolutions, then a dense layer, on MNIST padded to 20×20.

python -m fcn_jax train --config=configs/flatten.py --workdir=runs/flatten
python -m fcn_jax train --config=configs/flatten.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.nets.families import Flatten


def get_config(argument: str = "") -> Config:
    config = mnist.get_config(argument)
    config.model = Flatten(channels=config.model.channels, input_side=20)
    return config
