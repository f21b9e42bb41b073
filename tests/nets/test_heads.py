"""Padding changes nothing in any head; each agrees with sums by hand over true positions, and has its class map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Map, Maps, count_parameters
from fcn_jax.core.net import Head, LayerMaker, Model, Net, Prediction
from fcn_jax.core.norms import LAYER_EPSILON
from fcn_jax.nets.convolutional import fcn_layers
from fcn_jax.nets.heads import in_cells, make_head, make_head_with_norm
from tests.core.made_maps import CHANNELS, assert_close, inside_of, make_map, shake
from tests.core.padding import NUM_CLASSES, Layout, check, drawn
from tests.made_models import HEADS, NORMS

SIZES, CANVAS = [(2, 3), (0, 0), (5, 4), (1, 1)], (6, 5)


def build(name: str, *, rank: int = 2):
    head = make_head(name, CHANNELS, NUM_CLASSES, make=LayerMaker(rank, nnx.Rngs(0), dtype=jnp.float64))
    shake(head, np.random.default_rng(1))
    return head


def of_positions(name: str, head, x: np.ndarray) -> np.ndarray:
    """Logits of one example without padding, by hand."""
    kernel, bias = np.asarray(head.classifier.kernel[...])[0, 0], np.asarray(head.classifier.bias[...])
    values = x.reshape(-1, CHANNELS)
    match name:
        case "average" | "average_last" | "average_first":
            return values.mean(0) @ kernel + bias
        case "last":
            return x[-1, -1] @ kernel + bias
        case "max":
            return (values @ kernel + bias).max(0)
        case "logsumexp":
            return np.log(np.exp(values @ kernel + bias).mean(0))
        case "attention":
            weight = np.exp(values @ np.asarray(head.score.kernel[...])[0, 0])
            return (weight * values).sum(0) / weight.sum() @ kernel + bias
        case "pyramid":
            cells = []
            for level in (1, 2, 4):
                ends = [[(i * n // level, -(-(i + 1) * n // level)) for i in range(level)] for n in x.shape[:2]]
                cells += [x[top:bottom, left:right].max((0, 1)) for top, bottom in ends[0] for left, right in ends[1]]
            return np.concatenate(cells) @ kernel + bias
        case _:
            raise AssertionError(name)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_pools_true_positions_only(float64, name):
    head = build(name)
    m = make_map(np.random.default_rng(0), SIZES, CANVAS)
    (prediction,) = jax.jit(lambda maps: head(maps, training=True))((m,))
    assert prediction.logits.shape == (4, NUM_CLASSES)
    for row in (0, 2, 3):
        height, width = SIZES[row]
        assert_close(prediction.logits[row], of_positions(name, head, np.asarray(m.x)[row, :height, :width]))
    x, size = prediction.logits_2d
    inside = inside_of(size, CANVAS)
    assert size.tolist() == [list(size) for size in SIZES]
    assert not np.asarray(x)[~inside].any()
    assert np.asarray(x)[inside].all()
    if name != "pyramid":
        # One position says what all say.
        assert_close(x[3, 0, 0], prediction.logits[3])
    if name.startswith("average"):
        for row in (0, 2):
            assert_close(np.asarray(x)[row][inside[row]].mean(0), prediction.logits[row])


def test_a_norm_behind_the_average_leaves_the_class_map_its_mean(float64):
    head = make_head_with_norm(
        "average_last", CHANNELS, NUM_CLASSES, make=LayerMaker(2, nnx.Rngs(0), dtype=jnp.float64)
    )
    shake(head, np.random.default_rng(1))
    m = make_map(np.random.default_rng(0), SIZES, CANVAS)
    (prediction,) = head((m,), training=True)
    inside = inside_of(m.size, CANVAS)
    assert not np.asarray(prediction.logits_2d.x)[~inside].any()
    assert not prediction.logits[1].any()
    for row in (0, 2, 3):
        mean = np.asarray(m.x)[row][inside[row]].mean(0)
        normed = (mean - mean.mean()) / np.sqrt(mean.var() + LAYER_EPSILON)
        normed = normed * np.asarray(head.norm.scale[...]) + np.asarray(head.norm.bias[...])
        by_hand = normed @ np.asarray(head.classifier.kernel[...])[0, 0] + np.asarray(head.classifier.bias[...])
        assert_close(prediction.logits[row], by_hand)
        assert_close(np.asarray(prediction.logits_2d.x)[row][inside[row]].mean(0), by_hand)


@pytest.mark.parametrize("name", HEADS)
def test_filler_gives_zero_and_no_gradient(float64, name):
    head = build(name)
    m = make_map(np.random.default_rng(0), [(0, 0)], (3, 2))

    def total(x):
        (prediction,) = head((m._replace(x=x),), training=True)
        return prediction.logits.sum() + prediction.logits_2d.x.sum(), prediction.logits

    with jax.debug_nans(True):
        grad, logits = jax.jit(jax.grad(total, has_aux=True))(m.x)
    assert not logits.any()
    assert not grad.any()


class AllHeads(Head):
    """Every head over the same layers; their classes stand one after the other."""

    def __init__(self, make: LayerMaker):
        self.heads = nnx.List(make_head(name, 4, NUM_CLASSES, make=make) for name in HEADS)

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        of_blocks = zip(*(head(maps, training=training) for head in self.heads), strict=True)
        return tuple(
            Prediction(
                jnp.concatenate([p.logits for p in found], axis=-1),
                Map(jnp.concatenate([p.logits_2d.x for p in found], axis=-1), found[0].logits_2d.size),
            )
            for found in of_blocks
        )


@pytest.mark.parametrize(
    ("norm", "rank"),
    [
        *((norm, 2) for norm in NORMS),
        *(pytest.param(norm, 1, marks=[] if norm == "batch" else [pytest.mark.full]) for norm in NORMS),
    ],
)
def test_padding_changes_nothing_for_any_norm_and_head(float64, norm, rank):
    def build():
        make = LayerMaker(
            rank, nnx.Rngs(0), norm_kind=norm, norm_momentum=0.7, group_size=2, patches=True, dtype=jnp.float64
        )
        net = Net(fcn_layers(2, (4,), [Window(3, padding=1)], make=make), AllHeads(make))
        return Model(net, mean=(0.3,), std=(0.5,), dtype=jnp.float64)

    sizes = [size[:rank] for size in [(5, 8), (1, 1), (6, 3)]]
    layouts = [Layout((-1, 1, 0), (3, 1)[:rank]), Layout((2, -1), (2, 5)[:rank])]
    check(drawn(build), sizes, layouts, channels=2)


def test_cells_cover_every_true_position_and_are_never_empty():
    side = np.arange(1, 9)
    for level in (1, 2, 4):
        inside = np.asarray(in_cells(jnp.asarray(side), 10, level))
        assert inside.any(-1).all()
        assert np.array_equal(inside.any(1), np.arange(10) < side[:, None])


def test_a_pyramid_has_weights_for_every_cell(float64):
    assert count_parameters(build("pyramid")) == (1 + 4 + 16) * CHANNELS * NUM_CLASSES + NUM_CLASSES
    assert count_parameters(build("pyramid", rank=1)) == (1 + 2 + 4) * CHANNELS * NUM_CLASSES + NUM_CLASSES
