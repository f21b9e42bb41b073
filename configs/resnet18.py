"""ResNet-18 (v1.5), on ImageNet or on any other images. SOURCE is a value of `data.source`.

python -m fcn_jax train --config=configs/resnet18.py:SOURCE --workdir=runs/resnet18
python -m fcn_jax train --config=configs/resnet18.py:folder:DIR --config.model.num_classes=N --workdir=runs/mine
python -m fcn_jax train --config=configs/resnet18.py:folder:DIR --config.model.num_classes=N --workdir=runs/tuned \
    --config.model.init_from=FILE.safetensors --config.train.learning_rate=0.01 --config.train.backbone_rate=0.1
python -m fcn_jax shapes --config=configs/resnet18.py --size=224x224     (needs no data)
python -m fcn_jax train --config=configs/resnet18.py:tiny --workdir=runs/tiny     (seconds, on MNIST, to see it work)
"""

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.nets.families import ResNet

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of red, green and blue; most weights of timm and torchvision were trained with them."""


def get_config(argument: str = "") -> Config:
    source, _, size = ("mnist_native,tiny" if argument == "tiny" else argument).partition(",")
    if size not in ("", "tiny"):
        raise ValueError(f"configs/resnet18.py takes SOURCE, SOURCE,tiny or tiny as its argument, not {argument!r}")
    model = ResNet.of_depth(18, num_classes=10 if source == "mnist_native" else 1000, dtype="auto")
    config = Config(model=model)
    config.data.source = source or "tfds:imagenet2012"
    config.data.channels = 3
    config.data.mean, config.data.std = IMAGENET_MEAN, IMAGENET_STD
    config.data.resize = "area:224"
    config.data.background = 124
    config.data.augment.flip = True
    config.schedule.max_buckets = 0
    config.schedule.multiple_of = 8
    config.schedule.examples_per_step = 1024
    config.train.epochs = 90
    config.train.optimizer = "sgd"
    config.train.learning_rate = 0.4
    config.train.warmup_epochs = 5.0
    # Ten times the 1e-4 of He et al.: their decay passes through the momentum of 0.9, which multiplies it by ten. This
    # decay does not pass through it.
    config.train.weight_decay = 1e-3
    config.train.label_smoothing = 0.1
    if size == "tiny":
        mnist.shrink(config)
        config.data.resize = "area:64"
        model.blocks = (1,)
    return config
