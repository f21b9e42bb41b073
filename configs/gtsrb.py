"""German traffic signs (GTSRB) at native sizes: DIR/{train,test}/<class>/<track>_<frame>.jpg.

python -m fcn_jax train --config=configs/gtsrb.py:DIR --workdir=runs/gtsrb

The frames of a track are nearly equal, so validation takes whole tracks from train. A class has few tracks, each at
a few sizes, so a plain convolutional net memorises them. Here a layer pools every image to a fixed grid, so that all
signs have the same scale and place (benchmarks/gtsrb.md).
"""

from configs import folder
from fcn_jax.config import Config
from fcn_jax.nets.families import FCN


def get_config(argument: str = "") -> Config:
    config = folder.get_config(argument)
    config.data.group_pattern = r"(\w+/\w+)_\w+\.\w+$"
    config.data.resize = "none"
    augment = config.data.augment
    augment.scale, augment.aspect, augment.crop = (0.6, 1.1), 0.15, 0.2
    augment.rotate, augment.shear, augment.stretch = 15.0, 10.0, 0.15
    augment.brightness = augment.contrast = augment.saturation = 0.5
    config.train.weight_decay = 0.2
    if not argument.endswith(",tiny"):
        config.schedule.multiple_of = 4
        config.model = FCN(
            num_classes=config.model.num_classes,
            channels=(24, 64, 96, 128, 128),
            kernel=(3, 4, 3, 4, 3),
            stride=(1, 2, 1, 2, 1),
            adaptive_pool=24,
            adaptive_pool_after=1,
        )
        config.train.epochs = 20
    config.model.head = "pyramid"
    return config
