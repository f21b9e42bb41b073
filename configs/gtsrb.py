"""German traffic signs (GTSRB) at native sizes: DIR/{train,test}/<class>/<track>_<frame>.jpg.

python -m fcn_jax train --config=configs/gtsrb.py:DIR --workdir=runs/gtsrb

The frames of a track are nearly equal, so validation takes whole tracks from train. A class has few tracks, each at
a few sizes, so a plain convolutional net memorises them. Here a layer pools every image to a fixed grid, so that all
signs have the same scale and place. Rare classes are drawn more often, and many images are made dark, pale or small,
as the frames that nets get wrong are (benchmarks/gtsrb.md).
"""

from configs import folder
from fcn_jax.config import Config
from fcn_jax.nets.families import FCN


def get_config(argument: str = "") -> Config:
    config = folder.get_config(argument)
    config.data.group_pattern = r"(\w+/\w+)_\w+\.\w+$"
    config.data.resize = "none"
    config.data.balance = 0.5
    augment = config.data.augment
    augment.scale, augment.aspect, augment.crop = (0.35, 1.05), 0.15, 0.2
    augment.rotate, augment.shear, augment.stretch = 15.0, 10.0, 0.15
    augment.brightness, augment.contrast, augment.saturation = 0.8, 0.8, 0.5
    augment.policy, augment.operations, augment.magnitude = "rand", 1, 6.0
    # Averaged weights take the place of a falling rate, at whose end this net memorises the tracks. The statistics of
    # BatchNorm that belong to them are measured at the end.
    config.train.optimizer, config.train.learning_rate, config.train.decay = "muon", 5e-3, "constant"
    config.train.ema_decay, config.train.precise_batch_norm = 0.999, True
    config.train.weight_decay = 0.2
    config.evaluate.scale = 0.8
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
        config.train.epochs = 32
    config.model.head = "pyramid"
    return config
