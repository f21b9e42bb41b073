"""ConvNeXt of any size, on ImageNet or on any other images. PRESET is atto, femto, pico, nano, tiny, small or base.

python -m fcn_jax train --config=configs/convnext.py:PRESET --workdir=runs/convnext
python -m fcn_jax train --config=configs/convnext.py:atto,folder:DIR --config.model.num_classes=N --workdir=runs/mine
python -m fcn_jax shapes --config=configs/convnext.py:tiny --size=224x224     (needs no data)
python -m fcn_jax train --config=configs/convnext.py:atto,tiny --workdir=runs/tiny     (seconds, on MNIST)
"""

from configs import resnet18
from fcn_jax.config import Config
from fcn_jax.nets.families import ConvNeXt


def get_config(argument: str = "") -> Config:
    preset, _, rest = argument.partition(",")
    if (preset or "tiny") not in ConvNeXt.SIZES:
        raise ValueError(
            f"configs/convnext.py takes PRESET, PRESET,SOURCE, PRESET,SOURCE,tiny or PRESET,tiny as its argument, "
            f"where PRESET is one of {', '.join(ConvNeXt.SIZES)}, not {argument!r}"
        )
    config = resnet18.get_config(rest)
    config.model = ConvNeXt.of_size(preset or "tiny", num_classes=config.model.num_classes, dtype="auto")
    config.schedule.rows_multiple_of = 8  # For clusters: up to eight devices share a block without filler.
    config.train.optimizer = "adamw"
    config.train.learning_rate = 1e-3
    config.train.epochs = 300
    config.train.warmup_epochs = 20.0
    config.train.weight_decay = 0.05
    config.train.ema_decay = 0.9999
    if rest.split(",")[-1] == "tiny":
        config.model = ConvNeXt(num_classes=config.model.num_classes, channels=(8, 16, 32, 64), blocks=(1,))
        config.train.epochs, config.train.warmup_epochs, config.train.ema_decay = 2, 1.0, 0.0
    return config
