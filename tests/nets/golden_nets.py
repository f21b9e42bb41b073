"""The nets of `golden/`: narrow and shallow, as timm builds them, with random weights, images and timm's logits.

`tests/interop/make_golden.py` makes the files; nothing here needs PyTorch.
"""

from pathlib import Path

import jax
import numpy as np
from flax import nnx

from fcn_jax.config import Config, ModelConfig
from fcn_jax.core.block import Block
from fcn_jax.core.net import Model
from fcn_jax.nets.families import ConvNeXt, Published, ResNet
from tests.core.padding import QUICK

GOLDEN = Path(__file__).parent / "golden"
SIZES = ((64, 64), (48, 80), (71, 53))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETS = ("resnet_basic", "resnet_bottleneck", "convnext_linear", "convnext_convolution")


def golden_config(name: str) -> Config:
    """The config of a golden net, with its weights as those to begin with."""
    config = resnet(channels=(4, 8, 8, 12), blocks=(1, 2, 1, 1), bottleneck=name == "resnet_bottleneck")
    if name.startswith("convnext"):
        config = convnext(channels=(8, 8, 12, 16), blocks=(1, 1, 2, 1))
    assert isinstance(config.model, Published)
    config.model.num_classes = 5
    config.model.init_from = str(GOLDEN / f"{name}.safetensors")
    return config


def resnet(
    *, channels: tuple[int, ...], blocks: tuple[int, ...], bottleneck: bool = False, squeeze_excite: bool = False
) -> Config:
    fields = {"bottleneck": bottleneck, "squeeze_excite": squeeze_excite}
    return photographs(ResNet.of_depth(50, channels=channels, blocks=blocks, **fields))


def convnext(*, channels: tuple[int, ...], blocks: tuple[int, ...]) -> Config:
    return photographs(ConvNeXt(channels=channels, blocks=blocks))


def photographs(model: ModelConfig) -> Config:
    config = Config(model=model)
    config.data.channels, config.data.mean, config.data.std = 3, MEAN, STD
    return config


def make_images(sizes=SIZES) -> list[np.ndarray]:
    """Bytes, and not too noisy: neighbours are alike."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3)) for height, width in sizes]
    images = [np.kron(c, np.ones((8, 8, 1)))[:height, :width] for c, (height, width) in zip(coarse, sizes, strict=True)]
    return [np.clip(image + rng.normal(0, 20, image.shape), 0, 255).astype(np.uint8) for image in images]


def logits_of(model: Model, blocks: tuple[Block, ...]) -> np.ndarray:
    """Return the logits of all rows of all blocks in evaluation."""
    graphdef, state = nnx.split(model)

    def evaluate(state, blocks):
        return [prediction.logits for prediction in nnx.merge(graphdef, state)(blocks, training=False)]

    return np.concatenate(jax.jit(evaluate, compiler_options=QUICK)(state, blocks))
