"""The families of nets that have published weights: each a dataclass, as in `families.py`, which hands them on.

Their nets have stages of blocks. `init_from` begins with the weights of a file (see `nets/pretrained.py`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from fcn_jax.config import ModelConfig, UserError
from fcn_jax.config_values import bounded, chosen

WIDTH = (1, 2**20)
"""Bounds of a number of channels."""
WINDOW = (1, 1024)
"""Bounds of a kernel, a stride, a dilation or a number of blocks."""


def each(number: int, values: tuple[int, ...]) -> tuple[int, ...]:
    """Return a value for each of `number` layers; one value serves all layers."""
    return values * number if len(values) == 1 else values


@dataclass
class Published(ModelConfig):
    """The fields of families that have published weights: stages of blocks, and a file of initial weights."""

    blocks: tuple[int, ...] = bounded((2,), *WINDOW)
    """The number of blocks in each stage; one value serves all stages."""
    stochastic_depth: float = bounded(0.0, 0, 0.95)
    """The probability that training leaves out the branch of the last block for an example; it grows linearly from 0 at
    the first block (arXiv:1603.09382)."""
    init_from: str = ""
    """A .safetensors file of initial weights, with tensors named as in timm or, for a resnet, torchvision. If its
    number of classes differs, the classifier keeps its random initial weights."""

    def check(self) -> None:
        super().check()
        self.check_lengths(len(self.channels), "blocks")

    def check_norm_of_weights(self) -> None:
        """Check that the net has the norm of the published weights, where that is BatchNorm."""
        if self.init_from and self.norm != "batch":
            raise UserError(
                f"config.model.init_from is {self.init_from!r}, but config.model.norm is {self.norm!r}: published "
                f"weights of {self.name} have BatchNorm; set config.model.norm=batch"
            )

    @property
    def drop_rates(self) -> Iterator[float]:
        """The probability of leaving out the branch of each block, one after the other."""
        number = sum(each(len(self.channels), self.blocks))
        return iter(self.stochastic_depth * block / max(1, number - 1) for block in range(number))


@dataclass
class ResNet(Published):
    """Residual nets (He et al., arXiv:1512.03385), version 1.5: the 3×3 convolution of a bottleneck strides.

    The defaults are a small net for small images; `of_depth` makes the paper's nets for ImageNet.
    """

    name: str = "resnet"
    channels: tuple[int, ...] = bounded((32, 64, 128), *WIDTH)
    """The channels of the 3×3 convolutions of each stage; a bottleneck's output has four times as many."""
    bottleneck: bool = False
    """True: a block has 1×1, 3×3, 1×1 convolutions. False: 3×3, 3×3."""
    squeeze_excite: bool = False
    """True: every block weighs its channels by their averages over the example (Hu et al., arXiv:1709.01507)."""
    zero_init: bool = True
    """The last scale of every block begins as 0, so that every block begins as its shortcut (arXiv:1706.02677)."""
    deep_stem: bool = False
    """True: the stem has three convolutions, the first two half as wide, as in ResNet-D (arXiv:1812.01187)."""
    pool_shortcut: bool = False
    """True: a shortcut halves its size by an average pool of 2×2, as in ResNet-D, not by a stride."""
    stem_kernel: int = bounded(3, 1, 1023)
    """The side of the windows of the stem's convolutions: an odd number. The padding is half of it."""
    stem_stride: int = bounded(1, *WINDOW)
    """The stride of the first convolution."""
    stem_pool: bool = False
    """True: a max pool that halves the size follows the first convolution."""

    DEPTHS: ClassVar[dict[int, tuple[tuple[int, ...], bool]]] = {
        18: ((2, 2, 2, 2), False),
        34: ((3, 4, 6, 3), False),
        50: ((3, 4, 6, 3), True),
    }
    """{layers with weights: (blocks of each stage, whether they are bottlenecks)}, as in the paper."""

    @classmethod
    def of_depth(cls, depth: int, **fields: Any) -> "ResNet":
        """Return the config of ResNet-18, -34 or -50 with its stem for ImageNet; `fields` sets other fields."""
        blocks, bottleneck = cls.DEPTHS[depth]
        shape: dict[str, Any] = {"channels": (64, 128, 256, 512), "blocks": blocks, "bottleneck": bottleneck}
        stem: dict[str, Any] = {"stem_kernel": 7, "stem_stride": 2, "stem_pool": True}
        return cls(**{**shape, **stem, **fields})

    def check(self) -> None:
        super().check()
        if self.stem_kernel % 2 == 0:
            raise UserError(f"config.model.stem_kernel is {self.stem_kernel}, but it must be odd")
        multiple = 2 * (self.group_size if self.norm == "group" else 1)
        if self.deep_stem and self.channels[0] % multiple:
            raise UserError(
                f"config.model.channels begins with {self.channels[0]}, but a deep stem begins with half as many "
                f"channels: let it begin with a multiple of {multiple}, or set config.model.deep_stem=False"
            )
        self.check_norm_of_weights()


@dataclass
class ConvNeXt(Published):
    """ConvNeXt (Liu et al., arXiv:2201.03545), which always has LayerNorm; the defaults are ConvNeXt-atto of timm.

    ConvNeXt V2 (Woo et al., arXiv:2301.00808) is the same with `response_norm`.
    """

    name: str = "convnext"
    channels: tuple[int, ...] = bounded((40, 80, 160, 320), *WIDTH)
    """The channels of each stage."""
    blocks: tuple[int, ...] = bounded((2, 2, 6, 2), *WINDOW)
    """The number of blocks in each stage; one value serves all stages."""
    kernel: tuple[int, ...] = bounded((7,), *WINDOW)
    """The side of the depthwise windows of each stage: an odd number; one value serves all stages."""
    patch: int = bounded(4, *WINDOW)
    """The side of the image patches that the first convolution turns into positions, in pixels."""
    response_norm: bool = False
    """True: global response normalisation in every block, and no layer scale, as in ConvNeXt V2."""
    norm: str = chosen("layer")

    SIZES: ClassVar[dict[str, tuple[int, tuple[int, ...]]]] = {
        "atto": (40, (2, 2, 6, 2)),
        "femto": (48, (2, 2, 6, 2)),
        "pico": (64, (2, 2, 6, 2)),
        "nano": (80, (2, 2, 8, 2)),
        "tiny": (96, (3, 3, 9, 3)),
        "small": (96, (3, 3, 27, 3)),
        "base": (128, (3, 3, 27, 3)),
    }
    """{size: (first stage's channels, blocks of each stage)}, as in timm; every next stage has twice the channels."""

    @classmethod
    def of_size(cls, size: str, **fields: Any) -> "ConvNeXt":
        """Return the config of a ConvNeXt of a size from atto to base; `fields` sets other fields."""
        width, blocks = cls.SIZES[size]
        shape: dict[str, Any] = {"channels": tuple(width * 2**stage for stage in range(4)), "blocks": blocks}
        return cls(**{**shape, **fields})

    def check(self) -> None:
        super().check()
        self.check_lengths(len(self.channels), "kernel")
        if any(kernel % 2 == 0 for kernel in self.kernel):
            raise UserError(f"config.model.kernel is {self.kernel}, but convnext needs odd kernels, such as (7,)")


@dataclass
class EfficientNet(Published):
    """EfficientNet (Tan and Le, arXiv:1905.11946); the defaults are EfficientNet-B0, `of_size` makes the others.

    The weights of the authors, and those of timm that begin with tf_, need padding=same and norm_epsilon=0.001.
    """

    name: str = "efficientnet"
    channels: tuple[int, ...] = bounded((16, 24, 40, 80, 112, 192, 320), *WIDTH)
    """The channels of each stage."""
    blocks: tuple[int, ...] = bounded((1, 2, 2, 3, 3, 4, 1), *WINDOW)
    """The number of blocks in each stage; one value serves all stages."""
    kernel: tuple[int, ...] = bounded((3, 3, 5, 3, 5, 5, 3), *WINDOW)
    """The side of the depthwise windows of each stage: an odd number; one value serves all stages."""
    stride: tuple[int, ...] = bounded((1, 2, 2, 2, 1, 2, 1), *WINDOW)
    """The stride of the first block of each stage; one value serves all stages."""
    expansion: tuple[int, ...] = bounded((1, 6, 6, 6, 6, 6, 6), 1, 64)
    """The channels of the depthwise windows of each stage, divided by those of the block's input."""
    stem_channels: int = bounded(32, *WIDTH)
    """The channels of the first convolution, which halves the size."""
    head_channels: int = bounded(1280, *WIDTH)
    """The channels of the 1×1 convolution behind the last stage."""
    squeeze_excite: bool = True
    """True: every block weighs its channels by their averages over the example (Hu et al., arXiv:1709.01507)."""
    activation: str = chosen("swish", "relu6")
    padding: str = chosen("symmetric", "same")
    """symmetric: half a window on both sides, as in PyTorch. same: TensorFlow's SAME, which pads an even side less
    before its first position than an odd one; here by the true size of each example."""
    norm_epsilon: float = bounded(1e-5, 1e-12, 1)
    """The number that BatchNorm and GroupNorm add to the variance."""

    SIZES: ClassVar[dict[str, tuple[float, float]]] = {
        "b0": (1.0, 1.0),
        "b1": (1.0, 1.1),
        "b2": (1.1, 1.2),
        "b3": (1.2, 1.4),
        "b4": (1.4, 1.8),
        "lite0": (1.0, 1.0),
    }
    """{size: (factor on all channels, factor on the blocks of every stage)}, as in the paper."""

    @classmethod
    def of_size(cls, size: str, **fields: Any) -> "EfficientNet":
        """Return the config of EfficientNet-B0 to -B4, or -Lite0 (`lite0`); `fields` sets other fields."""
        wider, deeper = cls.SIZES[size]
        base = cls()
        shape: dict[str, Any] = {
            "channels": tuple(rounded_width(wider * width) for width in base.channels),
            "blocks": tuple(math.ceil(deeper * number) for number in base.blocks),
            "stem_channels": rounded_width(wider * base.stem_channels),
            "head_channels": rounded_width(wider * base.head_channels),
        }
        if size.startswith("lite"):
            shape |= {"squeeze_excite": False, "activation": "relu6"}
        return cls(**{**shape, **fields})

    def check(self) -> None:
        super().check()
        self.check_lengths(len(self.channels), "kernel", "stride", "expansion")
        if any(kernel % 2 == 0 for kernel in self.kernel):
            raise UserError(f"config.model.kernel is {self.kernel}, but efficientnet needs odd kernels, such as (3,)")
        for field, number in (("stem_channels", self.stem_channels), ("head_channels", self.head_channels)):
            if self.norm == "group" and number % self.group_size:
                raise UserError(
                    f"config.model.{field} is {number}, but config.model.group_size must divide it, and it is "
                    f"{self.group_size}: set config.model.group_size={math.gcd(self.group_size, number)}"
                )
        self.check_norm_of_weights()


def rounded_width(width: float) -> int:
    """Return the multiple of 8 that is nearest to a number of channels, and not below nine tenths of it."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded
