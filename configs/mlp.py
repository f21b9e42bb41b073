"""A baseline without convolutions: a multilayer perceptron on MNIST, every digit padded to 20×20.

python -m fcn_jax train --config=configs/mlp.py --workdir=runs/mlp
python -m fcn_jax train --config=configs/mlp.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.nets.families import MLP


def get_config(argument: str = "") -> Config:
    config = mnist.get_config(argument)
    config.model = MLP(channels=(8,) if argument == "tiny" else (256, 256), input_side=20)
    return config
