"""Nets that go through signals agree with sums by hand: LSTM both ways, causal convolution, the state a head reads."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Map
from fcn_jax.core.net import LayerMaker
from fcn_jax.nets.families import WaveNet
from fcn_jax.nets.heads import LastPosition
from fcn_jax.nets.recurrent import LSTM
from fcn_jax.nets.wavenet import Causal, make_wavenet
from tests.core.made_maps import CHANNELS, assert_close, make_map, shake

SIZES, CANVAS, UNITS = [(4,), (0,), (7,), (1,)], (9,), 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def read(direction, frames: np.ndarray) -> list[np.ndarray]:
    """Hidden states of one signal without padding, by a loop."""
    kernel, recurrent, bias = (np.asarray(p[...]) for p in (direction.kernel, direction.recurrent, direction.bias))
    hidden, cell, found = np.zeros(UNITS), np.zeros(UNITS), []
    for frame in frames:
        i, f, g, o = np.split(frame @ kernel + hidden @ recurrent + bias, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        found.append(hidden)
    return found


def test_an_lstm_reads_every_signal_from_its_true_ends(float64):
    lstm = LSTM(CHANNELS, UNITS, bidirectional=True, make=LayerMaker(1, nnx.Rngs(0), dtype=jnp.float64))
    shake(lstm, np.random.default_rng(1))
    m = make_map(np.random.default_rng(0), SIZES, CANVAS)
    (y,) = lstm((m,), training=True)
    (end,) = LastPosition(UNITS)((y,), training=True)
    forward, backward = lstm.directions
    for row, (length,) in enumerate(SIZES):
        frames = np.asarray(m.x)[row, :length]
        assert not np.asarray(y.x)[row, length:].any()
        if length:
            there, back = read(forward, frames), read(backward, frames[::-1])[::-1]
            assert_close(y.x[row, :length], np.concatenate([there, back], axis=1))
            assert_close(end.x[row, 0], np.concatenate([there[-1], back[0]]))
    assert not end.x[1].any()
    assert end.size.tolist() == [[1], [0], [1], [1]]


def test_an_lstm_begins_by_remembering():
    lstm = LSTM(CHANNELS, UNITS, bidirectional=False, make=LayerMaker(1, nnx.Rngs(0)))
    (direction,) = lstm.directions
    assert np.asarray(direction.bias[...]).tolist() == [0] * UNITS + [1] * UNITS + [0] * 2 * UNITS
    for gate in np.split(np.asarray(direction.recurrent[...]), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(UNITS), atol=1e-5)


def test_a_causal_convolution_weighs_what_came_before(float64):
    make = LayerMaker(1, nnx.Rngs(0), dtype=jnp.float64)
    causal = Causal(make.convolution((CHANNELS, 2), Window(3, dilation=2), bias=True))
    shake(causal, np.random.default_rng(1))
    m = make_map(np.random.default_rng(0), SIZES, CANVAS)
    (y,) = causal((m,), training=True)
    assert y.size.tolist() == m.size.tolist()
    kernel, bias = (np.asarray(p[...]) for p in (causal.convolution.kernel, causal.convolution.bias))
    for row, (length,) in enumerate(SIZES):
        for t in range(length):
            taps = [(2 - k, t - 2 * k) for k in range(3) if t >= 2 * k]
            assert_close(y.x[row, t], bias + sum(np.asarray(m.x)[row, at] @ kernel[tap] for tap, at in taps))
        assert not np.asarray(y.x)[row, length:].any()


def test_a_wavenet_tells_nothing_of_what_comes_later(float64):
    make = LayerMaker(1, nnx.Rngs(0), norm_kind="none", dtype=jnp.float64)
    c = WaveNet(num_classes=3, channels=(3, 4), dilation=(1, 2, 4), head="last")
    net = make_wavenet(c, CHANNELS, make)
    shake(net, np.random.default_rng(1))
    m = make_map(np.random.default_rng(0), [(9,)], CANVAS)
    (whole,) = net((m,), training=True)
    (part,) = net((Map(m.x[:, :5], jnp.array([[5]], jnp.int32)),), training=True)
    assert_close(whole.logits_2d.x[:, :5], part.logits_2d.x)
    assert_close(part.logits, whole.logits_2d.x[:, 4])
    assert_close(whole.logits, whole.logits_2d.x[:, 8])
    assert np.abs(whole.logits - part.logits).max() > 1e-3
