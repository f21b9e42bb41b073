"""One dataclass for each family of nets: its paper, its fields with defaults and bounds, and the rules between them.

`config.model` is one of these. A family has only the fields that its net reads, beside those that all families share
(`ModelConfig`). The layers stand in the other files of this folder; `nets/model.py` says which function makes which
net. Nothing here needs jax, so launch configs may import it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from fcn_jax.config import Config, ModelConfig, UserError, bounded, chosen
from fcn_jax.config_fields import from_dict

WIDTH = (1, 2**20)
"""Bounds of a number of channels."""
WINDOW = (1, 1024)
"""Bounds of a kernel, a stride, a dilation or a number of blocks."""
SIDE = (1, 65536)
"""Bounds of the side of an input."""


def config_from_json(values: Any) -> Config:
    """The config of a parsed config.json. It is read here, where all families are known.

    Raises:
        UserError: an unknown, missing or mistyped field.
    """
    return from_dict(Config, values)


def each(number: int, values: tuple[int, ...]) -> tuple[int, ...]:
    """A value for each of `number` layers; one value serves all."""
    return values * number if len(values) == 1 else values


@dataclass
class Windowed(ModelConfig):
    """The fields of families whose convolutions have any window; one value serves all convolutions."""

    channels: tuple[int, ...] = bounded((32, 64, 128), *WIDTH)
    """The channels of each convolution."""
    kernel: tuple[int, ...] = bounded((4,), *WINDOW)
    """The side of each window, in positions."""
    stride: tuple[int, ...] = bounded((2,), *WINDOW)
    """The step of each window, in positions."""
    dilation: tuple[int, ...] = bounded((1,), *WINDOW)
    """The distance between the positions that a window sees."""
    padding: tuple[int, ...] = bounded((1,), 0, 1024)
    """The zeros on every side of each map, in positions."""

    def check(self) -> None:
        super().check()
        self.check_lengths(len(self.channels), "kernel", "stride", "dilation", "padding")


@dataclass
class FCN(Windowed):
    """Convolutions, then a head that takes any number of positions (Long et al., arXiv:1411.4038): the default net."""

    name: str = "fcn"
    adaptive_pool: int = bounded(0, 0, 1024)
    """The cells on a side of an average pool between convolutions, whatever the size of the map; 0: no such pool."""
    adaptive_pool_after: int = bounded(1, 0)
    """The number of convolutions before that pool."""

    def check(self) -> None:
        super().check()
        if self.adaptive_pool and self.adaptive_pool_after > len(self.channels):
            raise UserError(
                f"config.model.adaptive_pool_after is {self.adaptive_pool_after}, but the net has "
                f"{len(self.channels)} convolutions"
            )


@dataclass
class AllCNN(ModelConfig):
    """All-CNN (Springenberg et al., arXiv:1412.6806), narrower and with BatchNorm.

    The paper's All-CNN-C has channels=(96, 192) and norm=none.
    """

    name: str = "all_cnn"
    channels: tuple[int, ...] = bounded((32, 64), *WIDTH)
    """The channels of each stage, which has three convolutions; the two last convolutions have those of the last."""


@dataclass
class NIN(ModelConfig):
    """Network in Network (Lin et al., arXiv:1312.4400), narrower and with BatchNorm.

    The paper's has channels=(192, 160, 96, 192, 192, 192, 192, 192) and norm=none.
    """

    name: str = "nin"
    channels: tuple[int, ...] = bounded((48, 40, 24, 48, 48, 48, 48, 48), *WIDTH)
    """The channels of each convolution: three a block, but two in the last block, whose third is the head's."""
    kernel: tuple[int, ...] = bounded((5, 5, 3), *WINDOW)
    """The window of the first convolution of each block; one value serves all blocks."""

    @property
    def num_blocks(self) -> int:
        return (len(self.channels) + 1) // 3

    def check(self) -> None:
        super().check()
        if len(self.channels) % 3 != 2:
            raise UserError(
                f"config.model.channels has {len(self.channels)} values, but nin has three convolutions a block and "
                "two in the last: 2, 5, 8, ..."
            )
        self.check_lengths(self.num_blocks, "kernel")


@dataclass
class Published(ModelConfig):
    """The fields of families for which others have published weights: stages of blocks, and a file to begin with."""

    blocks: tuple[int, ...] = bounded((2,), *WINDOW)
    """The number of blocks in each stage; one value serves all stages."""
    init_from: str = ""
    """A .safetensors file of initial weights, with the names of timm or, for a resnet, torchvision. With another
    number of classes the head stays newly drawn."""

    def check(self) -> None:
        super().check()
        self.check_lengths(len(self.channels), "blocks")


@dataclass
class ResNet(Published):
    """Residual nets (He et al., arXiv:1512.03385), version 1.5: the 3×3 convolution of a bottleneck strides.

    The defaults are a small net for small images; `of_depth` makes those of ImageNet.
    """

    name: str = "resnet"
    channels: tuple[int, ...] = bounded((32, 64, 128), *WIDTH)
    """The channels of each stage, inside a bottleneck; a bottleneck is four times as wide outside."""
    bottleneck: bool = False
    """Blocks are 1×1, 3×3, 1×1 convolutions in place of 3×3, 3×3."""
    zero_init: bool = True
    """The last scale of every block begins as 0, so that every block begins as its shortcut (arXiv:1706.02677)."""
    stem_kernel: int = bounded(3, 1, 1023)
    """The window of the first convolution; it is odd, and half of it is the padding."""
    stem_stride: int = bounded(1, *WINDOW)
    """The stride of the first convolution."""
    stem_pool: bool = False
    """A max pool that halves the size follows the first convolution."""

    DEPTHS: ClassVar[dict[int, tuple[tuple[int, ...], bool]]] = {
        18: ((2, 2, 2, 2), False),
        34: ((3, 4, 6, 3), False),
        50: ((3, 4, 6, 3), True),
    }
    """{layers with weights: (blocks of each stage, whether they are bottlenecks)}, as in the paper."""

    @classmethod
    def of_depth(cls, depth: int, **fields: Any) -> "ResNet":
        """ResNet-18, -34 or -50, with its stem for ImageNet; `fields` are other fields of the config."""
        blocks, bottleneck = cls.DEPTHS[depth]
        shape: dict[str, Any] = {"channels": (64, 128, 256, 512), "blocks": blocks, "bottleneck": bottleneck}
        stem: dict[str, Any] = {"stem_kernel": 7, "stem_stride": 2, "stem_pool": True}
        return cls(**{**shape, **stem, **fields})

    def check(self) -> None:
        super().check()
        if self.stem_kernel % 2 == 0:
            raise UserError(f"config.model.stem_kernel is {self.stem_kernel}, but it must be odd")
        if self.init_from and self.norm != "batch":
            raise UserError(
                f"config.model.init_from is {self.init_from!r}, but config.model.norm is {self.norm!r}: published "
                "weights of a resnet have BatchNorm; set config.model.norm=batch"
            )


@dataclass
class ConvNeXt(Published):
    """ConvNeXt (Liu et al., arXiv:2201.03545), which always has LayerNorm; the defaults are ConvNeXt-atto of timm."""

    name: str = "convnext"
    channels: tuple[int, ...] = bounded((40, 80, 160, 320), *WIDTH)
    """The channels of each stage."""
    blocks: tuple[int, ...] = bounded((2, 2, 6, 2), *WINDOW)
    """The number of blocks in each stage; one value serves all stages."""
    kernel: tuple[int, ...] = bounded((7,), *WINDOW)
    """The odd window of the depthwise convolutions of each stage; one value serves all stages."""
    patch: int = bounded(4, *WINDOW)
    """The side of the patches that the first convolution makes into positions."""
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
    """{size: (channels of the first stage, which each that follows doubles, blocks of each stage)}, as in timm."""

    @classmethod
    def of_size(cls, size: str, **fields: Any) -> "ConvNeXt":
        """ConvNeXt of a size from atto to base; `fields` are other fields of the config."""
        width, blocks = cls.SIZES[size]
        shape: dict[str, Any] = {"channels": tuple(width * 2**stage for stage in range(4)), "blocks": blocks}
        return cls(**{**shape, **fields})

    def check(self) -> None:
        super().check()
        self.check_lengths(len(self.channels), "kernel")
        if any(kernel % 2 == 0 for kernel in self.kernel):
            raise UserError(f"config.model.kernel is {self.kernel}, but convnext needs odd kernels, such as (7,)")


@dataclass
class FCN1D(ModelConfig):
    """The fully convolutional net of time series (Wang et al., arXiv:1611.06455): convolutions of stride 1."""

    name: str = "fcn1d"
    channels: tuple[int, ...] = bounded((128, 256, 128), *WIDTH)
    """The channels of each convolution."""
    kernel: tuple[int, ...] = bounded((8, 5, 3), *WINDOW)
    """The window of each convolution, padded by half of it; one value serves all."""

    def check(self) -> None:
        super().check()
        self.check_lengths(len(self.channels), "kernel")


@dataclass
class WaveNet(ModelConfig):
    """WaveNet (van den Oord et al., arXiv:1609.03499) as a classifier; it has no norm."""

    name: str = "wavenet"
    channels: tuple[int, ...] = bounded((64, 128), *WIDTH)
    """Two numbers: the channels of the gated blocks, and the channels of what goes past the blocks to the end."""
    kernel: tuple[int, ...] = bounded((2,), *WINDOW)
    """The window of all causal convolutions."""
    dilation: tuple[int, ...] = bounded((1, 2, 4, 8, 1, 2, 4, 8), *WINDOW)
    """The dilation of each gated block; there are as many blocks."""
    norm: str = chosen("none")

    def check(self) -> None:
        super().check()
        if len(self.channels) != 2:
            raise UserError(
                f"config.model.channels has {len(self.channels)} values, but wavenet has 2: of the blocks, and of "
                "what goes past them"
            )
        if not self.dilation:
            raise UserError("config.model.dilation is (), but wavenet needs one for every gated block: (1, 2, 4)")
        self.check_lengths(1, "kernel")


@dataclass
class LSTM(ModelConfig):
    """Long short-term memory (Hochreiter and Schmidhuber, Neural Computation 1997) over signals; it has no norm."""

    name: str = "lstm"
    channels: tuple[int, ...] = bounded((64,), *WIDTH)
    """The units of each layer, in each direction."""
    bidirectional: bool = False
    """Read the signals backwards too."""
    norm: str = chosen("none")
    takes_images: ClassVar[bool] = False


@dataclass
class Tacotron2Encoder(ModelConfig):
    """The encoder of Tacotron 2 (Shen et al., arXiv:1712.05884), narrower, as a classifier of signals."""

    name: str = "tacotron2_encoder"
    channels: tuple[int, ...] = bounded((128, 128, 128), *WIDTH)
    """The channels of each convolution; the LSTM behind them has half of the last in each direction."""
    kernel: tuple[int, ...] = bounded((5,), *WINDOW)
    """The window of each convolution, padded by half of it; one value serves all."""
    takes_images: ClassVar[bool] = False

    def check(self) -> None:
        super().check()
        if self.channels[-1] % 2:
            raise UserError(
                f"config.model.channels is {self.channels}, but its last must be even: the LSTM has half each way"
            )
        self.check_lengths(len(self.channels), "kernel")


@dataclass
class Flatten(Windowed):
    """A baseline for inputs of one size: convolutions, flattened before the classes (LeCun et al., Proc. IEEE 1998)."""

    name: str = "flatten"
    input_side: int = bounded(28, *SIDE)
    """Both sides of every image, in pixels, or the length of every signal."""


@dataclass
class MLP(ModelConfig):
    """A baseline for inputs of one size: dense layers over the flattened input."""

    name: str = "mlp"
    channels: tuple[int, ...] = bounded((256, 256), *WIDTH)
    """The units of each hidden layer."""
    input_side: int = bounded(28, *SIDE)
    """Both sides of every image, in pixels, or the length of every signal."""


@dataclass
class Dense(ModelConfig):
    """A baseline for inputs up to one size: zeros pad them to that size, and dense layers follow."""

    name: str = "dense"
    channels: tuple[int, ...] = bounded((128, 128), *WIDTH)
    """The units of each hidden layer."""
    input_side: int = bounded(28, *SIDE)
    """Both sides of the largest image, in pixels, or the length of the longest signal."""
