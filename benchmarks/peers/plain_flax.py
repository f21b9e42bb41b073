"""Nets of this repository in plain flax: the same convolutions and norms, without masks, on images of one size.

They serve to see what masks cost. The code is what flax's own examples do: `nnx.Conv`, `nnx.BatchNorm`, `nnx.max_pool`.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from fcn_jax.core.step import TrainState
from fcn_jax.nets.families import FCN, ResNet, each


class Convolved(nnx.Module):
    """A convolution, BatchNorm and perhaps ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, *, relu: bool, dtype, rngs):
        self.convolution = nnx.Conv(
            inputs,
            outputs,
            (kernel, kernel),
            strides=stride,
            padding=[(padding, padding)] * 2,
            use_bias=False,
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)
        self.relu = relu

    def __call__(self, x):
        x = self.norm(self.convolution(x), use_running_average=False)
        return nnx.relu(x) if self.relu else x


class Residual(nnx.Module):
    """A residual block with two or three convolutions."""

    def __init__(self, inputs: int, width: int, stride: int, *, bottleneck: bool, dtype, rngs):
        outputs = 4 * width if bottleneck else width
        shapes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        if not bottleneck:
            shapes = [(inputs, width, 3, stride), (width, width, 3, 1)]
        self.branch = nnx.List(
            Convolved(i, o, k, s, k // 2, relu=number + 1 < len(shapes), dtype=dtype, rngs=rngs)
            for number, (i, o, k, s) in enumerate(shapes)
        )
        changes = stride != 1 or inputs != outputs
        self.shortcut = (
            Convolved(inputs, outputs, 1, stride, 0, relu=False, dtype=dtype, rngs=rngs) if changes else None
        )

    def __call__(self, x):
        y = x
        for layer in self.branch:
            y = layer(y)
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Classifier(nnx.Module):
    """Scaling of the pixels, layers, the average, and a dense layer in float32."""

    def __init__(self, layers, features: int, classes: int, *, dtype, rngs):
        self.layers, self.dtype = nnx.List(layers), dtype
        self.dense = nnx.Linear(features, classes, rngs=rngs)

    def __call__(self, image):
        x = ((image.astype(jnp.float32) / 255 - 0.45) / 0.225).astype(self.dtype)
        for layer in self.layers:
            x = layer(x)
        return self.dense(x.astype(jnp.float32).mean((1, 2)))


class MaxPool(nnx.Module):
    def __call__(self, x):
        return nnx.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])  # type: ignore[arg-type]


def make_net(c: ResNet | FCN, channels: int, *, dtype) -> Classifier:
    """Make the net of a config of this repository."""
    rngs = nnx.Rngs(0)
    if isinstance(c, FCN):
        widths = (channels, *c.channels)
        number = len(c.channels)
        columns = zip(widths, widths[1:], *(each(number, v) for v in (c.kernel, c.stride, c.padding)), strict=False)
        layers = [Convolved(*column, relu=True, dtype=dtype, rngs=rngs) for column in columns]
        return Classifier(layers, widths[-1], c.num_classes, dtype=dtype, rngs=rngs)
    kernel = c.stem_kernel
    layers: list = [
        Convolved(channels, c.channels[0], kernel, c.stem_stride, kernel // 2, relu=True, dtype=dtype, rngs=rngs)
    ]
    if c.stem_pool:
        layers.append(MaxPool())
    features = c.channels[0]
    for stage, (width, number) in enumerate(zip(c.channels, each(len(c.channels), c.blocks), strict=True)):
        for block in range(number):
            stride = 2 if stage and not block else 1
            layers.append(Residual(features, width, stride, bottleneck=c.bottleneck, dtype=dtype, rngs=rngs))
            features = 4 * width if c.bottleneck else width
    return Classifier(layers, features, c.num_classes, dtype=dtype, rngs=rngs)


def make_step(graphdef, optimizer: optax.GradientTransformation, *, label_smoothing: float):
    """Return the update: (state, image, label) -> (state, loss)."""

    def loss_of(params, stats, image, label):
        model = nnx.merge(graphdef, params, stats)
        logits = model(image)
        targets = optax.smooth_labels(jax.nn.one_hot(label, logits.shape[-1]), label_smoothing)
        return optax.softmax_cross_entropy(logits, targets).mean(), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    def step(state: TrainState, image, label):
        (loss, stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params, state.stats, image, label)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, stats, opt_state, None), loss

    return step
