"""MNIST at native sizes with a deeper net than the default one: five convolutions, two of which halve the size.

python -m fcn_jax train --config=configs/mnist_deep.py --workdir=runs/mnist_deep
"""

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.nets.families import FCN


def get_config(argument: str = "") -> Config:
    config = mnist.get_config()
    config.model = FCN(channels=(32, 48, 64, 96, 128), kernel=(3, 4, 3, 4, 3), stride=(1, 2, 1, 2, 1))
    config.schedule.examples_per_step = 128
    config.train.epochs = 15
    # Averaged weights take the place of a falling rate; the statistics that belong to them are measured at the end.
    config.train.optimizer, config.train.learning_rate, config.train.decay = "muon", 5e-3, "constant"
    config.train.ema_decay, config.train.precise_batch_norm = 0.999, True
    if argument == "tiny":
        mnist.shrink(config)
    elif argument:
        raise ValueError(f"configs/mnist_deep.py knows the argument 'tiny', not {argument!r}")
    return config
