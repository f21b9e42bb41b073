"""ConvNeXt of any size, on ImageNet or on any other images. PRESET is atto, femto, pico, nano, tiny, small or base.

python -m fcn_jax train --config=configs/convnext.py:PRESET --workdir=runs/convnext
python -m fcn_jax train --config=configs/convnext.py:atto,folder:DIR --config.model.num_classes=N --workdir=runs/mine
python -m fcn_jax shapes --config=configs/convnext.py:tiny --size=224x224     (needs no data)
python -m fcn_jax train --config=configs/convnext.py:atto,tiny --workdir=runs/tiny     (seconds, on MNIST)

The recipe is that of the paper (Liu et al., arXiv:2201.03545, table 5), on one quarter of its batch:

| published                                   | here                                                             |
|---------------------------------------------|------------------------------------------------------------------|
| AdamW, learning rate 4e-3 for a batch of 4096 | train.optimizer=adamw, learning_rate=1e-3 for examples_per_step=1024 |
| weight decay 0.05                           | train.weight_decay=0.05                                          |
| 300 epochs, 20 of linear warm-up, cosine    | train.epochs=300, warmup_epochs=20, decay=cosine                 |
| RandAugment (9, 0.5) | data.augment: policy=rand, operations=2, magnitude=9, magnitude_noise=0.5 |
| mixup 0.8, CutMix 1.0                       | train.mixup=0.8, cutmix=1.0; each example draws which            |
| random erasing 0.25                         | data.augment.erase=0.25                                          |
| label smoothing 0.1                         | train.label_smoothing=0.1                                        |
| stochastic depth 0.1 / 0.4 / 0.5 for tiny / small / base | model.stochastic_depth; 0.1 for the smaller ones too   |
| layer scale 1e-6                            | nets/convnext.py                                                 |
| moving average 0.9999                       | train.ema_decay=0.9999                                           |

Random crops are not in the recipe: images keep their own height / width (`resnet18.py`).
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
    config.train.mixup, config.train.cutmix = 0.8, 1.0
    augment = config.data.augment
    augment.policy, augment.operations, augment.magnitude, augment.erase = "rand", 2, 9.0, 0.25
    augment.magnitude_noise = 0.5
    config.model.stochastic_depth = {"small": 0.4, "base": 0.5}.get(preset, 0.1)
    if rest.split(",")[-1] == "tiny":
        config.model = ConvNeXt(
            num_classes=config.model.num_classes, channels=(8, 16, 32, 64), blocks=(1,), stochastic_depth=0.1
        )
        config.train.epochs, config.train.warmup_epochs, config.train.ema_decay = 2, 1.0, 0.0
    return config
