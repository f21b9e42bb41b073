"""Long short-term memory (Hochreiter and Schmidhuber, Neural Computation 1997) over signals, one way or both.

Every padded frame leaves the state unchanged. So padding after the end changes nothing: the forward state stays as it
was, and the backward state is still zero at the true end, where its reading begins. The head `last` reads the classes
from the forward state at the end and the backward state at the beginning; an average head reads the mean state.
`logits_2d` applies the same weights to the state at each frame. There is no norm.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Layer, Map, Maps, full_precision, mask_of, masked
from fcn_jax.core.net import LayerMaker, Net
from fcn_jax.nets import families
from fcn_jax.nets.convolutional import fcn_layers
from fcn_jax.nets.families import each
from fcn_jax.nets.heads import make_head

NUM_GATES = 4
"""Number of gates: input, forget, candidate, output, in this order, as in PyTorch."""


class Direction(nnx.Module):
    """An LSTM layer in one direction, forward or backward.

    The bias of the forget gate begins as 1 (Gers et al., Neural Computation 2000; Jozefowicz et al., ICML 2015). The
    recurrent weights of every gate begin orthogonal (Saxe et al., arXiv:1312.6120). With bfloat16, only the input
    product is computed in bfloat16: the state, which sums over all frames, is kept and advanced in float32.
    """

    def __init__(self, input_channels: int, units: int, *, backward: bool, rngs: nnx.Rngs, dtype=jnp.float32):
        self.backward = backward
        init = nnx.initializers.variance_scaling(1.0, "fan_in", "uniform")
        orthogonal = nnx.initializers.orthogonal()
        gates = [orthogonal(rngs.params(), (units, units), dtype) for _ in range(NUM_GATES)]
        self.kernel = nnx.Param(init(rngs.params(), (input_channels, NUM_GATES * units), dtype))
        self.recurrent = nnx.Param(jnp.concatenate(gates, axis=1))
        self.bias = nnx.Param(jnp.zeros(NUM_GATES * units, dtype).at[units : 2 * units].set(1))

    def __call__(self, m: Map) -> Float[Array, "b t u"]:
        """Return the hidden state at every frame; padded frames repeat the state carried to them."""
        recurrent = self.recurrent[...]
        inputs = full_precision(m.x @ self.kernel[...].astype(m.x.dtype)) + self.bias[...]
        inside = mask_of(m.size, m.x.shape[1:-1])
        start = jnp.zeros((m.x.shape[0], recurrent.shape[0]), inputs.dtype)

        def step(state, frame):
            x, is_true = frame
            after = advance(state, x + state[0] @ recurrent)
            state = tuple(jnp.where(is_true, new, old) for new, old in zip(after, state, strict=True))
            return state, state[0]

        frames = (inputs.swapaxes(0, 1), inside.swapaxes(0, 1))
        _, hidden = lax.scan(step, (start, start), frames, reverse=self.backward)
        return hidden.swapaxes(0, 1).astype(m.x.dtype)


def advance(state: tuple[Float[Array, "b u"], Float[Array, "b u"]], gates: Float[Array, "b four_u"]):
    """Return (hidden, cell) after one frame."""
    i, f, candidate, o = jnp.split(gates, NUM_GATES, axis=-1)
    cell = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(candidate)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


class LSTM(Layer):
    """A layer that outputs the hidden states at every frame; those of the backward direction come last.

    Args:
        units: number of units of every direction.
        bidirectional: whether to read backwards too (Schuster and Paliwal, IEEE Trans. Signal Processing 1997).
    """

    def __init__(self, input_channels: int, units: int, *, bidirectional: bool, make: LayerMaker):
        assert make.rank == 1, make.rank
        ways = (False, True) if bidirectional else (False,)
        self.directions = nnx.List(
            Direction(input_channels, units, backward=way, rngs=make.rngs, dtype=make.dtype) for way in ways
        )
        self.units, self.output_channels = units, units * len(ways)

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            hidden = jnp.concatenate([direction(m) for direction in self.directions], axis=-1)
            outputs.append(masked(Map(hidden, m.size)))
        return tuple(outputs)

    def __str__(self) -> str:
        return "LSTM, both ways" if len(self.directions) == 2 else "LSTM"


def make_lstm(c: families.LSTM, input_channels: int, make: LayerMaker) -> Net:
    """Make a net of LSTM layers."""
    layers, features, units = [], input_channels, 0
    for units in c.channels:
        layer = LSTM(features, units, bidirectional=c.bidirectional, make=make)
        layers.append(layer)
        features = layer.output_channels
    return Net(layers, make_head(c.head, features, c.num_classes, num_backward=features - units, make=make))


def make_tacotron2_encoder(c: families.Tacotron2Encoder, input_channels: int, make: LayerMaker) -> Net:
    """Make convolutions that keep the length, then a bidirectional LSTM with half as many units in each direction."""
    windows = [Window(kernel, padding=kernel // 2) for kernel in each(len(c.channels), c.kernel)]
    layers = fcn_layers(input_channels, c.channels, windows, make=make)
    units = c.channels[-1] // 2
    layers.append(LSTM(c.channels[-1], units, bidirectional=True, make=make))
    return Net(layers, make_head(c.head, 2 * units, c.num_classes, num_backward=units, make=make))
