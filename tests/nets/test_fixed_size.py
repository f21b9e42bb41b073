"""Baselines of one size: padding changes nothing where they take it; they say what they refuse."""

import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.config import Config
from fcn_jax.config_rules import validate
from fcn_jax.core.layers import count_parameters
from fcn_jax.nets.model import abstract_model, format_shapes, make_model, smallest_input, trace_shapes
from tests.core.padding import NUM_CLASSES, Layout, check, drawn, make_block, make_images
from tests.made_models import model_of

CHANNELS, SIDE = 2, 9


def config_of(name: str) -> Config:
    config = Config(model=model_of(name=name, num_classes=NUM_CLASSES, channels=(4, 3), input_side=SIDE))
    config.data.channels, config.data.mean, config.data.std = CHANNELS, (0.3,), (0.5,)
    validate(config)
    return config


@pytest.mark.parametrize(
    ("name", "sizes", "margin"),
    [
        ("mlp", [(9, 9)] * 3, (0, 0)),
        ("flatten", [(8, 11), (10, 8), (9, 9)], (0, 0)),
        ("dense", [(5,), (1,), (9,)], (3,)),
    ],
)
def test_padding_changes_nothing(float64, name, sizes, margin):
    config = config_of(name)
    model = drawn(lambda: make_model(config, rank=len(sizes[0]), dtype=jnp.float64))
    layouts = [Layout((-1, 1, 0), margin), Layout((2, -1), tuple(0 for _ in margin))]
    check(model, sizes, layouts, channels=CHANNELS)


def test_a_dense_layer_sees_zeros_where_a_signal_ends(float64):
    model = make_model(config_of("dense"), rank=1, dtype=jnp.float64)
    rng = np.random.default_rng(0)
    (short,) = make_images([(4,)], CHANNELS, rng, np.float32)
    # Zero after scaling, which is what the net sees as padding.
    long = np.concatenate([short, np.full((5, CHANNELS), 0.3)]).astype(np.float32)
    logits = [model((make_block([x], [0], x.shape[:1], rng),), training=False)[0].logits for x in (short, long)]
    np.testing.assert_allclose(*logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "seen", "layer", "remedy"),
    [
        ("mlp", (10, 9), "10×9", "9×9", "resize=square:N"),
        ("mlp", (8, 8), "8×8", "9×9", "resize=square:N"),
        ("mlp", (8,), "8", "9", "name=dense"),
        ("flatten", (12, 9), "3×2", "2×2", "resize=square:N"),
        ("flatten", (9, 7), "2×1", "2×2", "resize=square:N"),
        ("dense", (10,), "10", "9", "input_side be as long as the longest"),
    ],
)
def test_another_size_is_refused_with_the_layer_and_the_remedy(name, size, seen, layer, remedy):
    config = config_of(name)
    said = rf"Flatten {layer} is given a map of {seen}, but the dense layer .* fixes .* global pool .*{remedy}"
    with pytest.raises(ValueError, match=said):
        trace_shapes(config, size)
    image = np.zeros((*size, CHANNELS), np.uint8)
    block = make_block([image], [0], size, np.random.default_rng(0))
    with pytest.raises(ValueError, match=said):
        make_model(config, rank=len(size))((block,), training=False)


@pytest.mark.parametrize(
    ("name", "rank", "smallest", "parameters"),
    [
        ("mlp", 2, 9, 81 * 2 * 4 + 2 * 4 + 4 * 3 + 2 * 3 + 3 * 3 + 3),
        ("dense", 1, 1, 9 * 2 * 4 + 2 * 4 + 4 * 3 + 2 * 3 + 3 * 3 + 3),
        ("flatten", 2, 8, 16 * 2 * 4 + 2 * 4 + 16 * 4 * 3 + 2 * 3 + 4 * 3 * 3 + 3),
    ],
)
def test_parameters_trace_and_smallest_input(name, rank, smallest, parameters):
    config = config_of(name)
    assert smallest_input(config) == smallest
    trace = trace_shapes(config, (SIDE,) * rank)
    assert sum(record.parameters for record in trace) == parameters
    assert count_parameters(abstract_model(config, rank=rank)) == parameters
    flatten = f"Flatten {'×'.join(['2' if name == 'flatten' else '9'] * rank)}"
    row = next(row for row in format_shapes(config, (SIDE,) * rank, trace).splitlines() if row.startswith(flatten))
    assert f"(-1, {12 if name == 'flatten' else 2 * 9**rank})" in row
