"""A masked convolution, and two ways to compute it: XLA's own, or one matrix product over gathered patches.

Both compute in the type of the maps, whatever the type of the parameters.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.core.geometry import BalancedWindow, Window
from fcn_jax.core.layers import Layer, Map, Maps, full_precision, masked, placed, size_after
from fcn_jax.core.random_layers import keys_of_examples


class Convolution(Layer):
    """A masked convolution with explicit zero padding.

    Args:
        features: (input channels, output channels).
        window: kernel, stride, dilation and padding, the same on every axis. The padding is symmetric, or that of a
            `SameWindow` or a `BalancedWindow`.
        rank: 2 for images, 1 for signals.
        groups: number of groups of channels; no group sees another. One group for each channel makes it depthwise.
        bias: True adds a bias to every output channel. It is of no use before BatchNorm, which subtracts the mean.
        patches: True computes one matrix product over gathered patches, in place of XLA's convolution: on two CPU cores
            2.7 times faster for the default net, but slower on GPU and TPU. XLA always computes more than one group.
            See `prefers_patches`.
        number: number of the layer among those of its net that draw; a `BalancedWindow` needs it.
        init_scale: variance of the initial kernel × fan-in: 2 before a ReLU (He et al., arXiv:1502.01852), else 1.
        dtype: type of the parameters.
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
        number: int = 0,
        rngs: nnx.Rngs,
        init_scale: float = 2.0,
        dtype=jnp.float32,
    ):
        assert features[0] % groups == features[1] % groups == 0, (features, groups)
        self.window, self.rank, self.groups, self.patches, self.number = window, rank, groups, patches, number
        init = nnx.initializers.variance_scaling(init_scale, "fan_in", "uniform")
        shape = (*[window.kernel] * rank, features[0] // groups, features[1])
        self.kernel = nnx.Param(init(rngs.params(), shape, dtype))
        self.bias = nnx.Param(jnp.zeros(features[1], dtype)) if bias else None

    @property
    def windows(self) -> tuple[Window, ...]:
        return (self.window,)

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for (x, size), drawn in zip(maps, self._drawn(maps, training=training), strict=True):
            kernel, window = self.kernel[...].astype(x.dtype), self.window.computed
            padded = placed(x, size, self.window, drawn=drawn)
            if self.patches and self.groups == 1:
                y = convolve_patches(padded, kernel, window)
            else:
                y = convolve_direct(padded, kernel, window, groups=self.groups)
            if self.bias is not None:
                y = (full_precision(y) + self.bias[...]).astype(x.dtype)
            outputs.append(masked(Map(y, size_after(self.window, size))))
        return tuple(outputs)

    def _drawn(self, maps: Maps, *, training: bool) -> Sequence[Float[Array, "_ r"] | None]:
        """Return the numbers that decide where a `BalancedWindow` begins in every map."""
        draws = training and isinstance(self.window, BalancedWindow)
        keys = keys_of_examples(self.number, len(maps)) if draws else None
        if keys is None:
            return [None] * len(maps)
        return [jax.vmap(lambda key: jax.random.uniform(key, (self.rank,)))(own) for own in keys]

    def __str__(self) -> str:
        groups = f", {self.groups} groups" if self.groups != 1 else ""
        return f"Convolution {self.window.describe(self.rank)}{groups}"


def prefers_patches(features: tuple[int, int], window: Window) -> bool:
    """Return whether patches are likely faster than XLA's convolution on CPU.

    Measured on two cores: forward and gradient of 64 images with kernel 3, in ms, XLA's / patches.
    Stride 2: 32 -> 64 channels at 24² 17 / 9 and at 48² 82 / 50, 64 -> 128 at 24² 42 / 23, 128 -> 256 at 12² 26 / 18.
    Stride 1: 32 channels at 24² 30 / 40 and at 48² 139 / 162, 64 at 24² 113 / 91, 128 at 12² 51 / 57 and at 24²
    279 / 237. Where patches win with stride 1, they do so by using a second core that XLA leaves idle.
    A training step of a net of six layers, four of them with stride 2, on 64 images of 36² and 64²: 103 with XLA's
    alone, 93 with patches alone, 87 by this rule.
    """
    return window.stride > 1 or window.kernel == 1 or features[0] < 8


def convolve_direct(
    x: Float[Array, "b *spatial c"], kernel: Float[Array, "*k c_of_group d"], window: Window, *, groups: int = 1
):
    """Return the convolution as XLA computes it."""
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
    """Return the same convolution, as one matrix product over gathered patches.

    If the stride divides the kernel, cells of stride × stride positions first become channels (space to depth). What
    is left is a convolution of stride 1 with a smaller kernel. For kernel 4 and stride 2 it needs a quarter of the
    slices, and compiles in half the seconds.
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
    """Return x @ kernel. The gradient is written by hand, because the automatic one is slow on CPU.

    The automatic gradient of the kernel is the transpose of (dy^T x). For it, XLA on CPU writes a transposed dy, and
    computes everything that dy depends on a second time. With it a training step of the default net took 57 ms, not 34.
    """
    return x @ kernel


def _matmul_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _matmul_backward(saved, dy):
    x, kernel = saved
    flat_x, flat_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    return (flat_dy @ kernel.T).reshape(x.shape), _kernel_gradient(flat_x, flat_dy)


PARTS, WIDE, MANY_ROWS = 4, 256, 4096
"""Parts of the rows that make the gradient of a kernel, from so many columns and so many rows on."""


def _kernel_gradient(x: Float[Array, "n c"], dy: Float[Array, "n d"]) -> Float[Array, "c d"]:
    """Return x^T dy.

    XLA on CPU computes the plain product with one core if c is large. So many rows are split in parts, whose products
    run side by side, and dy is transposed beforehand; of few rows, x is. On two cores, in ms, plain / this:
    12,800 × 512 × 64 (n × c × d) 13.9 / 7.1, 2,048 × 1,024 × 128 6.3 / 4.2; 51,200 × 16 × 32 takes 0.5 plain, and 1.4
    in parts. A step of the default net on 512 images of 20² takes 72 in place of 84.
    """
    rows, columns = x.shape
    if columns < WIDE:
        return x.T @ dy
    if rows < MANY_ROWS or rows % PARTS:
        return lax.optimization_barrier(x.T) @ dy
    parts = dy.reshape(PARTS, -1, dy.shape[1]).swapaxes(1, 2)
    products = jnp.einsum("pdn,pnc->pdc", lax.optimization_barrier(parts), x.reshape(PARTS, -1, columns))
    return products.sum(0).T


_matmul.defvjp(_matmul_forward, _matmul_backward)


def _offsets(steps: int, rank: int):
    """Return the positions of a kernel of side `steps`, row by row."""
    return [(i,) for i in range(steps)] if rank == 1 else [(i, j) for i in range(steps) for j in range(steps)]


def _space_to_depth(x, stride: int, padding: int, sides: list[int]):
    """Fold [b, H, W, c] to [b, *sides, stride² c].

    First pad with `padding` on the left, then pad or cut on the right to `sides` cells of `stride` positions.
    """
    rank = len(sides)
    around = [(padding, side * stride - padding - n, 0) for side, n in zip(sides, x.shape[1:-1], strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    x = x.reshape(x.shape[0], *[n for side in sides for n in (side, stride)], x.shape[-1])
    cells, inner = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    return x.transpose(0, *cells, *inner, 2 * rank + 1).reshape(x.shape[0], *sides, -1)


def _kernel_space_to_depth(kernel, stride: int):
    """Fold a kernel [k, k, c, d] to [k / stride, k / stride, stride² c, d], to match `_space_to_depth`."""
    rank = kernel.ndim - 2
    steps = kernel.shape[0] // stride
    kernel = kernel.reshape(*[steps, stride] * rank, *kernel.shape[-2:])
    cells, inner = range(0, 2 * rank, 2), range(1, 2 * rank, 2)
    kernel = kernel.transpose(*cells, *inner, 2 * rank, 2 * rank + 1)
    return kernel.reshape(*[steps] * rank, -1, kernel.shape[-1])
