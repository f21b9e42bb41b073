"""All-CNN (Springenberg et al., arXiv:1412.6806), narrower and with BatchNorm, on MNIST at native sizes.

python -m fcn_jax train --config=configs/all_cnn.py --workdir=runs/all_cnn
python -m fcn_jax train --config=configs/all_cnn.py:tiny --workdir=runs/tiny     (seconds, to see it work)

The paper's All-CNN-C: --config.model.channels='(96, 192)' --config.model.norm=none.
"""

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.nets.families import AllCNN


def get_config(argument: str = "") -> Config:
    config = mnist.get_config(argument)
    config.model = AllCNN(channels=(4, 8) if argument == "tiny" else (32, 64))
    if argument != "tiny":
        config.schedule.examples_per_step = 256
        config.train.epochs = 12
        config.train.ema_decay = 0.998
    return config
