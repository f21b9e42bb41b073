"""EfficientNet on ImageNet or on any other images. PRESET is b0, b1, b2, b3, b4 or lite0.

python -m fcn_jax train --config=configs/efficientnet.py:PRESET --workdir=runs/efficientnet
python -m fcn_jax train --config=configs/efficientnet.py:b0,folder:DIR --config.model.num_classes=N --workdir=runs/mine
python -m fcn_jax shapes --config=configs/efficientnet.py:lite0 --size=224x224     (needs no data)
python -m fcn_jax train --config=configs/efficientnet.py:b0,tiny --workdir=runs/tiny     (seconds, on MNIST)

Areas, dropout, stochastic depth and the momentum of BatchNorm are those of the paper (Tan and Le, arXiv:1905.11946).
The optimiser and its rates are those of `resnet18.py`; the paper's is RMSProp, over 350 epochs. Weights of TensorFlow,
which timm names tf_..., also need --config.model.padding=same --config.model.norm_epsilon=0.001.
"""

from configs import resnet18
from fcn_jax.config import Config
from fcn_jax.nets.families import EfficientNet

SIDES = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "lite0": 224}
DROPOUT = {"b2": 0.3, "b3": 0.3, "b4": 0.4}


def get_config(argument: str = "") -> Config:
    preset, _, rest = argument.partition(",")
    preset = preset or "b0"
    if preset not in EfficientNet.SIZES:
        raise ValueError(
            f"configs/efficientnet.py takes PRESET, PRESET,SOURCE, PRESET,SOURCE,tiny or PRESET,tiny as its argument, "
            f"where PRESET is one of {', '.join(EfficientNet.SIZES)}, not {argument!r}"
        )
    config = resnet18.get_config(rest)
    config.model = EfficientNet.of_size(
        preset,
        num_classes=config.model.num_classes,
        dropout=DROPOUT.get(preset, 0.2),
        stochastic_depth=0.2,
        norm_momentum=0.99,
        dtype="auto",
    )
    config.data.resize = f"area:{SIDES[preset]}"
    config.schedule.rows_multiple_of = 8  # For clusters: up to eight devices share a block without filler.
    if rest.split(",")[-1] == "tiny":
        config.data.resize = "area:64"
        model = EfficientNet(channels=(8, 16, 24), blocks=(1,), kernel=(3, 5, 3), stride=(1, 2, 2), expansion=(1, 4, 4))
        model.num_classes, model.stem_channels, model.head_channels = config.model.num_classes, 8, 64
        config.model = model
    return config
