"""Your own folder of .wav files, at native lengths: DIR/{train,validation,test}/<class>/* or DIR/<class>/*.

python -m fcn_jax train --config=configs/signals.py:DIR --workdir=runs/mine
python -m fcn_jax train --config=configs/signals.py:DIR,tiny --workdir=runs/tiny     (seconds, to see it work)

Several channels are averaged to one; `--config.data.channels=2` keeps two. The net shrinks 16,000 samples to 31.
"""

from pathlib import Path

from configs import folder, mnist
from fcn_jax.config import Config
from fcn_jax.nets.families import FCN


def get_config(argument: str = "") -> Config:
    directory, _, size = argument.partition(",")
    if not directory or size not in ("", "tiny"):
        raise ValueError(f"configs/signals.py takes DIR or DIR,tiny as its argument, not {argument!r}")
    model = FCN(
        num_classes=max(2, folder.count_classes(Path(directory).expanduser())),
        channels=(32, 64, 64, 128, 128),
        kernel=(16, 8, 8, 8, 4),
        stride=(8, 4, 4, 2, 2),
        padding=(4, 2, 2, 3, 1),
    )
    config = Config(model=model)
    config.data.source = f"folder:{directory}"
    config.data.std = (0.1,)
    config.schedule.max_buckets = 0
    config.schedule.multiple_of = 64
    config.schedule.examples_per_step = 64
    config.evaluate.examples_per_step = 64
    config.train.learning_rate = 1e-3
    config.train.label_smoothing = 0.1
    if size == "tiny":
        mnist.shrink(config)
    return config
