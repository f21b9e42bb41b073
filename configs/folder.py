"""Your own folder of pictures, at native sizes: DIR/{train,validation,test}/<class>/* or DIR/<class>/*.

python -m fcn_jax train --config=configs/folder.py:DIR --workdir=runs/mine
python -m fcn_jax train --config=configs/folder.py:DIR,tiny --workdir=runs/tiny     (seconds, to see it work)

A missing split is taken from train. `--config.data.group_pattern=REGEX` keeps the files of a group in one split.
"""

from pathlib import Path

from configs import mnist
from fcn_jax.config import Config, DataConfig, UserError
from fcn_jax.data.folder import class_names
from fcn_jax.nets.families import FCN


def get_config(argument: str = "") -> Config:
    directory, _, size = argument.partition(",")
    if not directory or size not in ("", "tiny"):
        raise ValueError(f"configs/folder.py takes DIR or DIR,tiny as its argument, not {argument!r}")
    config = photographs()
    config.data.source = f"folder:{directory}"
    config.model.num_classes = max(2, count_classes(Path(directory).expanduser()))
    if size == "tiny":
        shrink(config)
    return config


def photographs() -> Config:
    """Return a config for colour images of any kind."""
    config = Config(
        model=FCN(channels=(32, 64, 64, 128, 128, 256), kernel=(4, 4, 3, 4, 3, 4), stride=(2, 2, 1, 2, 1, 2))
    )
    config.data.channels = 3
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.resize = "area:128"
    config.data.background = 124
    config.data.augment.scale, config.data.augment.aspect, config.data.augment.crop = (0.6, 1.2), 0.1, 0.1
    config.data.augment.rotate, config.data.augment.shear, config.data.augment.stretch = 10.0, 5.0, 0.1
    config.data.augment.brightness = config.data.augment.contrast = config.data.augment.saturation = 0.3
    config.schedule.max_buckets = 0
    config.schedule.multiple_of = 8
    config.schedule.examples_per_step = 64
    config.evaluate.examples_per_step = 64
    config.train.label_smoothing = 0.1
    config.train.ema_decay = 0.998
    return config


def shrink(config: Config) -> None:
    """Make a config run in seconds; the code that runs is the same."""
    mnist.shrink(config)
    config.model.channels = (8, 8, 8, 8, 8, 16)


def count_classes(directory: Path) -> int:
    """Return the number of classes; 0 if the folder breaks a rule, which the data source then reports."""
    try:
        return len(class_names(directory, DataConfig()))
    except UserError:
        return 0
