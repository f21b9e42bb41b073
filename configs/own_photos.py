"""A good start for your own photographs: DIR/{train,validation,test}/<class>/* or DIR/<class>/*.

python -m fcn_jax train --config=configs/own_photos.py:DIR --workdir=runs/mine
python -m fcn_jax train --config=configs/own_photos.py:DIR,pretrained=FILE.safetensors --workdir=runs/tuned
python -m fcn_jax train --config=configs/own_photos.py:DIR,tiny --workdir=runs/tiny     (seconds, to see it work)

It keeps the state of the best validation, which predict and export then use, and ends when no validation was better
for `patience` epochs. FILE holds weights of a ResNet-18 (see docs/models.md). `configs/folder.py` has the same net
without this recipe. If several files show one object, name their group with `--config.data.group_pattern=REGEX`:
otherwise validation sees what training saw. Where a mirror image is of another class, as with traffic signs, set
`--config.data.augment.flip=False`. benchmarks/own_photos.md compares this recipe with CutMix and mixup.
"""

from configs import folder
from fcn_jax.config import Config
from fcn_jax.nets.families import ResNet

PRETRAINED = "pretrained="


def get_config(argument: str = "") -> Config:
    directory, _, option = argument.partition(",")
    if not directory or not (option in ("", "tiny") or (option.startswith(PRETRAINED) and option != PRETRAINED)):
        raise ValueError(
            f"configs/own_photos.py takes DIR, DIR,tiny or DIR,{PRETRAINED}FILE as its argument, not {argument!r}"
        )
    config = folder.get_config(f"{directory},tiny" if option == "tiny" else directory)
    augment = config.data.augment
    augment.flip, augment.policy, augment.erase = True, "trivial", 0.1
    augment.rotate = augment.shear = augment.stretch = 0.0  # Operations of the policy do this.
    augment.brightness = augment.contrast = augment.saturation = 0.0
    config.model.dropout = 0.1
    config.train.clip_norm = 1.0
    # A rate that never falls suits a run that ends when nothing gets better; averaged weights take its place.
    config.train.decay, config.train.ema_decay, config.train.precise_batch_norm = "constant", 0.999, True
    config.checkpoint.best = "accuracy"
    if option == "tiny":
        return config
    config.train.epochs, config.train.patience = 80, 20
    if option:
        model = ResNet.of_depth(18, num_classes=config.model.num_classes, dtype="auto")
        model.init_from, model.dropout, model.stochastic_depth = option.removeprefix(PRETRAINED), 0.1, 0.05
        config.model = model
        config.data.resize = "area:224"
        config.train.learning_rate, config.train.layer_decay, config.train.epochs = 1e-3, 0.75, 30
        config.train.patience = 10
        config.train.decay, config.train.ema_decay, config.train.precise_batch_norm = "cosine", 0.998, False
    return config
