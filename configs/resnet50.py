"""ResNet-50 (v1.5), on ImageNet or on any other images. SOURCE is a value of `data.source`.

python -m fcn_jax train --config=configs/resnet50.py:SOURCE --workdir=runs/resnet50
python -m fcn_jax shapes --config=configs/resnet50.py --size=224x224     (needs no data)
python -m fcn_jax train --config=configs/resnet50.py:tiny --workdir=runs/tiny     (seconds, on MNIST, to see it work)
"""

from configs import resnet18
from fcn_jax.config import Config
from fcn_jax.nets.families import ResNet


def get_config(argument: str = "") -> Config:
    config = resnet18.get_config(argument)
    model = ResNet.of_depth(50, num_classes=config.model.num_classes, dtype="auto")
    if argument.endswith("tiny"):
        model.channels, model.blocks = config.model.channels, (1,)
    config.model = model
    config.schedule.rows_multiple_of = 8  # For clusters: up to eight devices share a block without filler.
    return config
