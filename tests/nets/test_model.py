"""The default model: shapes in the seed's notation, the two head orders, class maps, seeds and refusals."""

import re
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx

from configs.mnist import get_config
from fcn_jax.core.block import Block
from fcn_jax.core.convolution import Convolution
from fcn_jax.core.layers import count_parameters
from fcn_jax.nets.model import abstract_model, format_shapes, make_model, smallest_input, trace_shapes


def config_with(**fields):
    config = get_config("tiny")
    for name, value in fields.items():
        assert hasattr(config.model, name)
        setattr(config.model, name, value)
    return config


def make_block(sizes, canvas, dtype=np.uint8) -> Block:
    rng = np.random.default_rng(0)
    size = np.array(sizes, np.int32)
    return Block(
        image=rng.integers(0, 256, (len(sizes), *canvas, 1)).astype(dtype),
        size=size,
        label=np.zeros(len(sizes), np.int32),
        weight=(size[:, 0] > 0).astype(np.float32),
        index=np.where(size[:, 0] > 0, np.arange(len(sizes)), -1).astype(np.int32),
    )


BLOCK = make_block([(28, 16), (8, 8), (0, 0), (13, 20)], (28, 21))


@partial(jax.jit, static_argnums=0, static_argnames="training")
def call(graphdef, state, blocks, *, training):
    return nnx.merge(graphdef, state)(blocks, training=training)


def predict(model, blocks, *, training):
    return call(*nnx.split(model), blocks, training=training)


def shapes_of(size) -> list[tuple[int, ...]]:
    config = get_config()
    table = format_shapes(config, size, trace_shapes(config, size))
    return [tuple(map(int, shape.split(", "))) for shape in re.findall(r"\((-1(?:, \d+)+)\)", table)]


def without_repeats(shapes):
    return [shape for shape, before in zip(shapes, [None, *shapes[:-1]], strict=True) if shape != before]


@pytest.mark.parametrize(
    ("size", "sides"),
    [((28, 28), [(28, 28), (14, 14), (7, 7), (3, 3)]), ((28, 16), [(28, 16), (14, 8), (7, 4), (3, 2)])],
)
def test_shapes_are_the_seeds(size, sides):
    maps = [(-1, channels, *side) for channels, side in zip((1, 32, 64, 128), sides, strict=True)]
    assert without_repeats(shapes_of(size)) == [*maps, (-1, 10, *sides[-1]), (-1, 10)]


def test_shapes_of_a_signal_have_one_side():
    assert without_repeats(shapes_of((28,))) == [
        (-1, 1, 28), (-1, 32, 14), (-1, 64, 7), (-1, 128, 3), (-1, 10, 3), (-1, 10)
    ]  # fmt: skip


def test_parameters_do_not_depend_on_the_size():
    config = get_config()
    counts = {sum(r.parameters for r in trace_shapes(config, size)) for size in ((28, 28), (28, 16), (8, 8), (99, 8))}
    by_hand = sum(16 * c * d + 2 * d for c, d in ((1, 32), (32, 64), (64, 128))) + 128 * 10 + 10
    assert counts == {by_hand} == {count_parameters(abstract_model(config, rank=2))}
    assert f"{by_hand:,}" in format_shapes(config, (28, 16), trace_shapes(config, (28, 16))).splitlines()[-1]


def test_traced_shapes_are_those_of_a_real_call():
    config = config_with()
    records = trace_shapes(config, (21, 17))
    (prediction,) = predict(make_model(config, rank=2), (make_block([(21, 17)], (21, 17)),), training=False)
    assert prediction.logits_2d.x.shape == (1, *records[-2].canvas, records[-2].channels)
    assert prediction.logits_2d.size.tolist() == [list(records[-2].canvas)]
    assert prediction.logits.shape == (1, records[-1].channels)


@pytest.mark.parametrize(("size", "window"), [((7, 28), 3), ((28, 7), 3), ((1, 1), 1), ((7,), 3)])
def test_a_size_too_small_is_refused_with_the_window_and_the_remedy(size, window):
    config = get_config()
    assert smallest_input(config) == 8
    named = rf"window {window} of 3 \(kernel 4, stride 2, dilation 1, padding 1\) leaves .*at least 8"
    with pytest.raises(ValueError, match=named) as error:
        trace_shapes(config, size)
    assert "×".join(map(str, size)) in str(error.value)
    trace_shapes(config, tuple(max(side, 8) for side in size))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_both_head_orders_are_one_function(training):
    last, first = (make_model(config_with(head=f"average_{order}"), rank=2) for order in ("last", "first"))
    rng = np.random.default_rng(0)
    state = nnx.state(last, (nnx.Param, nnx.BatchStat))
    state = jax.tree.map(lambda leaf: leaf + rng.uniform(0, 0.3, leaf.shape).astype(leaf.dtype), state)
    nnx.update(last, state)
    nnx.update(first, state)
    (a,), (b,) = predict(last, (BLOCK,), training=training), predict(first, (BLOCK,), training=training)
    true = BLOCK.weight > 0
    scale = max(1, np.abs(a.logits).max())
    np.testing.assert_allclose(a.logits[true], b.logits[true], rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(a.logits_2d.x, b.logits_2d.x, rtol=0, atol=1e-6 * scale)
    assert np.array_equal(a.logits_2d.size, b.logits_2d.size)


@pytest.mark.parametrize("head", ["average", "average_last", "average_first"])
def test_logits_are_the_mean_of_the_class_map(head):
    (prediction,) = predict(make_model(config_with(head=head), rank=2), (BLOCK,), training=True)
    x, size = prediction.logits_2d
    assert size.tolist() == [[3, 2], [1, 1], [0, 0], [1, 2]]
    for row in (0, 1, 3):
        height, width = size[row]
        mean = np.asarray(x)[row, :height, :width].mean(axis=(0, 1))
        np.testing.assert_allclose(mean, prediction.logits[row], rtol=0, atol=1e-5)


def test_bytes_are_floats_over_255():
    config = get_config("tiny")
    config.data.mean, config.data.std = (0.1307,), (0.3081,)
    model = make_model(config, rank=2)
    scaled = replace(BLOCK, image=BLOCK.image.astype(np.float32) / 255)
    (a,), (b,) = (predict(model, (block,), training=False) for block in (BLOCK, scaled))
    np.testing.assert_allclose(a.logits, b.logits, rtol=0, atol=1e-6)
    assert np.abs(a.logits).max() > 0.01


def test_mean_and_std_are_taken_away_before_the_net():
    config = get_config("tiny")
    plain = make_model(config, rank=2)
    config.data.mean, config.data.std = (0.25,), (0.5,)
    scaling = make_model(config, rank=2)
    by_hand = replace(BLOCK, image=(BLOCK.image.astype(np.float32) / 255 - 0.25) / 0.5)
    (a,), (b,) = predict(scaling, (BLOCK,), training=False), predict(plain, (by_hand,), training=False)
    np.testing.assert_allclose(a.logits, b.logits, rtol=0, atol=1e-6)


def test_a_seed_gives_the_same_weights_again():
    def weights(seed):
        config = get_config("tiny")
        config.seed = seed
        return jax.tree.leaves(nnx.state(make_model(config, rank=2), nnx.Param))

    first, again, other = weights(0), weights(0), weights(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_auto_gathers_patches_on_cpu_where_that_is_faster():
    def ways(**fields):
        layers = abstract_model(config_with(**fields), rank=2).net.layers
        return [layer.patches for layer in layers if isinstance(layer, Convolution)]

    assert jax.default_backend() == "cpu"
    assert ways() == [True, True, True]
    assert ways(kernel=(3,), stride=(1, 2, 1)) == [True, True, False]
    assert ways(kernel=(3,), stride=(1,), convolution="patches") == [True, True, True]
    assert ways(convolution="direct") == [False, False, False]
