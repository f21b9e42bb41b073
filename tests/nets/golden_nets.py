"""The nets of `golden/`: narrow and shallow, as timm builds them, with random weights, images and timm's logits.

`tests/interop/make_golden.py` makes the files; nothing here needs PyTorch.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from fcn_jax.config import Config, ModelConfig
from fcn_jax.core.block import Block
from fcn_jax.core.net import Model
from fcn_jax.nets.families import ConvNeXt, EfficientNet, Published, ResNet

GOLDEN = Path(__file__).parent / "golden"
SIZES = ((64, 64), (48, 80), (71, 53))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETS = (
    *("resnet_basic", "resnet_bottleneck", "resnet_d", "convnext_linear", "convnext_convolution", "convnext_v2"),
    *("efficientnet", "efficientnet_same"),
)


def golden_config(name: str) -> Config:
    """The config of a golden net, with its weights as those to begin with."""
    model = golden_model(name)
    model.num_classes = 5
    model.init_from = str(GOLDEN / f"{name}.safetensors")
    return photographs(model)


def golden_model(name: str) -> Published:
    """The fields that make a golden net."""
    match name.partition("_")[0]:
        case "resnet":
            fields: dict[str, Any] = {"bottleneck": name == "resnet_bottleneck"}
            if name == "resnet_d":
                fields |= {"deep_stem": True, "stem_kernel": 3, "pool_shortcut": True}
            return ResNet.of_depth(50, channels=(4, 8, 8, 12), blocks=(1, 2, 1, 1), **fields)
        case "convnext":
            return ConvNeXt(channels=(8, 8, 12, 16), blocks=(1, 1, 2, 1), response_norm=name == "convnext_v2")
        case "efficientnet":
            fields = {"kernel": (3, 5), "stride": (1, 2), "expansion": (1, 4), "stem_channels": 8, "head_channels": 16}
            if name == "efficientnet_same":
                fields |= {"padding": "same", "norm_epsilon": 1e-3, "squeeze_excite": False, "activation": "relu6"}
            return EfficientNet(channels=(8, 12), blocks=(1, 2), **fields)
        case _:
            raise AssertionError(name)


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

    return np.concatenate(jax.jit(evaluate)(state, blocks))
