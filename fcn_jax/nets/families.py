"""One dataclass for each family of nets: its paper, its fields with defaults and bounds, and the rules between them.

`config.model` is one of these. A family has the fields that all families share (`ModelConfig`), and the fields that its
own net reads. Those with published weights are in `published_families.py`; this file hands them on. The layers are in
the other files of this folder; `nets/model.py` says which function makes which net.
Nothing here needs JAX, so launch configs may import it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from fcn_jax.config import Config, ModelConfig, UserError
from fcn_jax.config_fields import from_dict
from fcn_jax.config_values import bounded, chosen
from fcn_jax.nets.published_families import (  # noqa: F401
    WIDTH,
    WINDOW,
    ConvNeXt,
    EfficientNet,
    Published,
    ResNet,
    each,
)

SIDE = (1, 65536)
"""Bounds of the side of an input."""


def config_from_json(values: Any) -> Config:
    """Make the config of a parsed config.json. The function is here because this file knows all families.

    Raises:
        UserError: a field is unknown, missing or of the wrong type.
    """
    return from_dict(Config, values)


@dataclass
class Windowed(ModelConfig):
    """The fields of families whose convolutions may have any window; one value serves all convolutions."""

    channels: tuple[int, ...] = bounded((32, 64, 128), *WIDTH)
    """The channels of each convolution."""
    kernel: tuple[int, ...] = bounded((4,), *WINDOW)
    """The side of each window, in positions."""
    stride: tuple[int, ...] = bounded((2,), *WINDOW)
    """The step of each window, in positions."""
    dilation: tuple[int, ...] = bounded((1,), *WINDOW)
    """The distance between neighbouring positions of a window; 1: no gaps."""
    padding: tuple[int, ...] = bounded((1,), 0, 1024)
    """The zeros on every side of each map, in positions."""
    balanced: bool = False
    """True: what the strides leave over at an end of a map is at a drawn end in training and at both in evaluation, so
    that no size is favoured (Alsallakh et al., "Mind the pool", ICLR 2023)."""

    def check(self) -> None:
        super().check()
        self.check_lengths(len(self.channels), "kernel", "stride", "dilation", "padding")


@dataclass
class FCN(Windowed):
    """The default net: convolutions, then a head that takes any number of positions (Long et al., arXiv:1411.4038)."""

    name: str = "fcn"
    adaptive_pool: int = bounded(0, 0, 1024)
    """The number of cells per side of an average pool between convolutions, for any size of map; 0: no such pool."""
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
    """The channels of each stage of three convolutions. Two more convolutions follow, as wide as the last stage."""


@dataclass
class NIN(ModelConfig):
    """Network in Network (Lin et al., arXiv:1312.4400), narrower and with BatchNorm.

    The paper's net has channels=(192, 160, 96, 192, 192, 192, 192, 192) and norm=none.
    """

    name: str = "nin"
    channels: tuple[int, ...] = bounded((48, 40, 24, 48, 48, 48, 48, 48), *WIDTH)
    """The channels of each convolution: three per block, but two in the last block, whose third one is in the head."""
    kernel: tuple[int, ...] = bounded((5, 5, 3), *WINDOW)
    """The side of the window of each block's first convolution; one value serves all blocks."""

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
class FCN1D(ModelConfig):
    """The fully convolutional net of time series (Wang et al., arXiv:1611.06455): convolutions of stride 1."""

    name: str = "fcn1d"
    channels: tuple[int, ...] = bounded((128, 256, 128), *WIDTH)
    """The channels of each convolution."""
    kernel: tuple[int, ...] = bounded((8, 5, 3), *WINDOW)
    """The side of each convolution's window; the padding is half of it. One value serves all."""

    def check(self) -> None:
        super().check()
        self.check_lengths(len(self.channels), "kernel")


@dataclass
class WaveNet(ModelConfig):
    """WaveNet (van den Oord et al., arXiv:1609.03499) as a classifier; it has no norm."""

    name: str = "wavenet"
    channels: tuple[int, ...] = bounded((64, 128), *WIDTH)
    """Two numbers: the channels of the gated blocks, and the channels of their skip connections to the end."""
    kernel: tuple[int, ...] = bounded((2,), *WINDOW)
    """The side of the window of all causal convolutions."""
    dilation: tuple[int, ...] = bounded((1, 2, 4, 8, 1, 2, 4, 8), *WINDOW)
    """The dilation of each gated block; its length is the number of blocks."""
    norm: str = chosen("none")

    def check(self) -> None:
        super().check()
        if len(self.channels) != 2:
            raise UserError(
                f"config.model.channels has {len(self.channels)} values, but wavenet has 2: of the blocks, and of "
                "their skip connections"
            )
        if not self.dilation:
            raise UserError("config.model.dilation is (), but wavenet needs one for every gated block: (1, 2, 4)")
        self.check_lengths(1, "kernel")


@dataclass
class LSTM(ModelConfig):
    """Long short-term memory (Hochreiter and Schmidhuber, Neural Computation 1997) over signals; it has no norm."""

    name: str = "lstm"
    channels: tuple[int, ...] = bounded((64,), *WIDTH)
    """The number of units of each layer, in each direction."""
    bidirectional: bool = False
    """True: read the signals backwards too."""
    norm: str = chosen("none")
    takes_images: ClassVar[bool] = False


@dataclass
class Tacotron2Encoder(ModelConfig):
    """The encoder of Tacotron 2 (Shen et al., arXiv:1712.05884), narrower, as a classifier of signals."""

    name: str = "tacotron2_encoder"
    channels: tuple[int, ...] = bounded((128, 128, 128), *WIDTH)
    """The channels of each convolution. The LSTM that follows has half of the last number in each direction."""
    kernel: tuple[int, ...] = bounded((5,), *WINDOW)
    """The side of each convolution's window; the padding is half of it. One value serves all."""
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
    """A baseline for inputs of one size: convolutions, then a dense layer (LeCun et al., Proc. IEEE 1998)."""

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
    """A baseline for inputs up to one size: they are padded to it with zeros, and dense layers follow."""

    name: str = "dense"
    channels: tuple[int, ...] = bounded((128, 128), *WIDTH)
    """The units of each hidden layer."""
    input_side: int = bounded(28, *SIDE)
    """Both sides of the largest image, in pixels, or the length of the longest signal."""
