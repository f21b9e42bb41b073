"""MNIST cropped to its ink, at native sizes: the default run.

make train
python -m fcn_jax train --config=configs/mnist.py --workdir=runs/mnist
python -m fcn_jax train --config=configs/mnist.py:tiny --workdir=runs/tiny     (seconds, to see it work)
"""

from fcn_jax.config import Config
from fcn_jax.nets.families import FCN


def get_config(argument: str = "") -> Config:
    config = Config(model=FCN())
    config.data.augment.rotate = 15.0
    config.data.augment.shear = 15.0
    config.data.augment.stretch = 0.15
    config.train.label_smoothing = 0.1
    if argument == "tiny":
        shrink(config)
    elif argument:
        raise ValueError(f"configs/mnist.py knows the argument 'tiny', not {argument!r}")
    return config


def shrink(config: Config) -> None:
    """Make a config run in seconds; the code that runs is the same."""
    config.data.train_split = "train[:512]"
    config.data.validation_split = "validation[:128]"
    config.data.test_split = "test[:128]"
    config.schedule.max_buckets = 2
    config.schedule.num_programs = 1
    config.schedule.examples_per_step = 64
    config.evaluate.examples_per_step = 64
    config.model.channels = tuple(min(8 * 2**i, width) for i, width in enumerate(config.model.channels))
    config.train.epochs = 2
    config.train.log_every_steps = 2
    config.checkpoint.every_steps = 4
