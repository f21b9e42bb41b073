"""Masked convolutions with explicit symmetric zero padding, and the ways to compute one.

They compute in the type of the maps, whatever that of the parameters.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Layer, Map, Maps, full_precision, masked, size_after


class Convolution(Layer):
    """A masked convolution with explicit symmetric zero padding.

    Args:
        features: (input channels, output channels).
        groups: that the channels fall into, which do not see each other; as many as channels: a depthwise convolution.
        window: kernel, stride, dilation, padding, the same on every axis.
        rank: 2 for images, 1 for signals.
        bias: leave it out before BatchNorm, whose mean takes it away.
        patches: one matrix product over gathered patches in place of XLA's convolution: on two CPU cores 2.7 times
            faster for the default net, slower on GPU and TPU. Groups are always left to XLA. See `prefers_patches`.
        init_scale: of the variance over fan-in; 2 before a ReLU (He et al., arXiv:1502.01852), else 1.
    """

    def __init__(
        self,
        features: tuple[int, int],
        window: Window,
        *,
        rank: int,
        groups: int = 1,
        bias: bool,
        patches: bool = False,
        rngs: nnx.Rngs,
        init_scale: float = 2.0,
        dtype=jnp.float32,
    ):
        assert features[0] % groups == features[1] % groups == 0, (features, groups)
        self.window, self.rank, self.groups, self.patches = window, rank, groups, patches
        init = nnx.initializers.variance_scaling(init_scale, "fan_in", "uniform")
        shape = (*[window.kernel] * rank, features[0] // groups, features[1])
        self.kernel = nnx.Param(init(rngs.params(), shape, dtype))
        self.bias = nnx.Param(jnp.zeros(features[1], dtype)) if bias else None

    @property
    def windows(self) -> tuple[Window, ...]:
        return (self.window,)

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for x, size in maps:
            kernel = self.kernel[...].astype(x.dtype)
            if self.patches and self.groups == 1:
                y = convolve_patches(x, kernel, self.window)
            else:
                y = convolve_direct(x, kernel, self.window, groups=self.groups)
            if self.bias is not None:
                y = (full_precision(y) + self.bias[...]).astype(x.dtype)
            outputs.append(masked(Map(y, size_after(self.window, size))))
        return tuple(outputs)

    def __str__(self) -> str:
        groups = f", {self.groups} groups" if self.groups != 1 else ""
        return f"Convolution {self.window.describe(self.rank)}{groups}"


def prefers_patches(input_channels: int, window: Window) -> bool:
    """Whether patches are the faster way on CPU.

    Forward and gradient of 64 images, kernel 3, two cores, ms direct / patches. Stride 2: 32 -> 64 channels at 24²
    17 / 9 and at 48² 82 / 50, 64 -> 128 at 24² 42 / 23, 128 -> 256 at 12² 26 / 18. Stride 1: 32 channels at 24²
    30 / 40 and at 48² 139 / 162, 64 at 24² 113 / 91, 128 at 12² 51 / 57 and at 24² 279 / 237; where patches win there,
    it is by a second core that XLA leaves idle. A train step of a net of six layers, four of which stride, 64 images
    of 36² and 64²: 103 direct, 93 patches, 87 by this rule.
    """
    return window.stride > 1 or window.kernel == 1 or input_channels < 8


def convolve_direct(
    x: Float[Array, "b *spatial c"], kernel: Float[Array, "*k c_of_group d"], window: Window, *, groups: int = 1
):
    """XLA's own convolution."""
    rank = x.ndim - 2
    letters = "HW"[:rank]
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(window.stride,) * rank,
        padding=[(window.padding, window.padding)] * rank,
        rhs_dilation=(window.dilation,) * rank,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        feature_group_count=groups,
    )


def convolve_patches(x: Float[Array, "b *spatial c"], kernel: Float[Array, "*k c d"], window: Window):
    """The same, as one matrix product over gathered patches.

    Where the stride divides the kernel, positions are first folded into channels (space to depth), stride by stride,
    and the convolution is one of stride 1 with a smaller kernel: a quarter of the slices for kernel 4 and stride 2,
    and half the seconds to compile.
    """
    rank = x.ndim - 2
    outputs = [window.output_side(side) for side in x.shape[1:-1]]
    stride, steps = window.stride, window.kernel
    if stride > 1 and window.dilation == 1 and window.kernel % stride == 0:
        steps = window.kernel // stride
        x = _space_to_depth(x, stride, window.padding, [output - 1 + steps for output in outputs])
        kernel = _kernel_space_to_depth(kernel, stride)
        stride = 1
    else:
        x = jnp.pad(x, [(0, 0), *[(window.padding, window.padding)] * rank, (0, 0)])
    patches = []
    for offset in _offsets(steps, rank):
        start = [window.dilation * o for o in offset]
        stop = [s + (output - 1) * stride + 1 for s, output in zip(start, outputs, strict=True)]
        patches.append(lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *[stride] * rank, 1)))
    patch = jnp.concatenate(patches, axis=-1) if len(patches) > 1 else patches[0]
    return _matmul(patch, kernel.reshape(-1, kernel.shape[-1]))


@jax.custom_vjp
def _matmul(x: Float[Array, "*n c"], kernel: Float[Array, "c d"]):
    """x @ kernel, with a gradient of the kernel that is written out.

    Derived, it would be the transpose of (dy^T x), for which XLA on CPU writes dy transposed and computes all that dy
    is made of once more on the way: the train step of the default net took 57 ms in place of 34.
    """
    return x @ kernel


def _matmul_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _matmul_backward(saved, dy):
    x, kernel = saved
    flat_x, flat_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    return (flat_dy @ kernel.T).reshape(x.shape), flat_x.T @ flat_dy


_matmul.defvjp(_matmul_forward, _matmul_backward)


def _offsets(steps: int, rank: int):
    return [(i,) for i in range(steps)] if rank == 1 else [(i, j) for i in range(steps) for j in range(steps)]


def _space_to_depth(x, stride: int, padding: int, sides: list[int]):
    """[b, H, W, c] -> [b, *sides, stride² c]: padded on the left, then cut or padded to `sides` cells of `stride`."""
    rank = len(sides)
    around = [(padding, side * stride - padding - n, 0) for side, n in zip(sides, x.shape[1:-1], strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    x = x.reshape(x.shape[0], *[n for side in sides for n in (side, stride)], x.shape[-1])
    cells, inner = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    return x.transpose(0, *cells, *inner, 2 * rank + 1).reshape(x.shape[0], *sides, -1)


def _kernel_space_to_depth(kernel, stride: int):
    """[k, k, c, d] -> [k / stride, k / stride, stride² c, d]."""
    rank = kernel.ndim - 2
    steps = kernel.shape[0] // stride
    kernel = kernel.reshape(*[steps, stride] * rank, *kernel.shape[-2:])
    cells, inner = range(0, 2 * rank, 2), range(1, 2 * rank, 2)
    kernel = kernel.transpose(*cells, *inner, 2 * rank, 2 * rank + 1)
    return kernel.reshape(*[steps] * rank, -1, kernel.shape[-1])
