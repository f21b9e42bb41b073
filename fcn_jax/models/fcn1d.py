"""The fully convolutional net of time series (Wang et al., arXiv:1611.06455), for signals and, as it is, for images.

128, 256 and 128 channels with kernels 8, 5 and 3, each with BatchNorm and ReLU, then the global average. Padding is
half a kernel on both sides: an even kernel, which no symmetric padding keeps the length of, makes the map one longer,
so that each of its taps sees each of the frames, and a signal of any length survives.
"""

from collections.abc import Sequence

from fcn_jax.geometry import Window
from fcn_jax.models.fcn import make_fcn
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.net import Net


def make_fcn1d(
    input_channels: int,
    channels: Sequence[int],
    kernels: Sequence[int],
    *,
    num_classes: int,
    head: str,
    make: LayerMaker,
) -> Net:
    """Convolutions of stride 1.

    Args:
        input_channels: of the signal.
        channels, kernels: of every convolution.
        head: see `make_head`; the paper's is `average_last`.
    """
    windows = [Window(kernel, padding=kernel // 2) for kernel in kernels]
    return make_fcn(input_channels, channels, windows, num_classes=num_classes, head=head, make=make)
