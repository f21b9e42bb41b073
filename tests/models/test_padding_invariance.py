"""The law of the house: padding changes nothing.

The same examples, each alone on a canvas of its own size, and spread over larger canvases beside filler, with garbage
wherever an image is not: logits, class maps, gradients and running statistics agree. In float64, where a wrong mask
shows and rounding doesn't; once in float32, for the default net.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.mnist import get_config
from fcn_jax.geometry import Window, sizes_through, smallest_side
from fcn_jax.models.fcn import Fcn
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.model import Model, make_model
from fcn_jax.types import Block

NUM_CLASSES, LARGEST_SMALLEST_SIDE = 3, 13
# Nearly all of the time is compilation: a third of it without optimisation and without the fusion emitters.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


@dataclass(frozen=True)
class Net:
    windows: tuple[Window, ...]
    rank: int = 2
    norm: str = "batch"
    head: str = "average_last"
    patches: bool = True
    input_channels: int = 2

    def build(self) -> Model:
        make = LayerMaker(
            self.rank, nnx.Rngs(0), norm_kind=self.norm, norm_momentum=0.7, group_size=2, patches=self.patches,
            dtype=jnp.float64,
        )  # fmt: skip
        channels = (4, 2, 4)[: len(self.windows)]
        net = Fcn(
            self.input_channels, channels, self.windows, num_classes=NUM_CLASSES, head=self.head, make=make
        )  # fmt: skip
        model = Model(net, mean=(0.3,), std=(0.5,), dtype=jnp.float64)
        shake(model)
        return model


def shake(model: Model) -> None:
    """No bias is 0 and no scale is 1: where they are, a forgotten mask need not show."""
    rng = np.random.default_rng(0)
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    nnx.update(model, jax.tree.map(lambda leaf: leaf + rng.uniform(-0.4, 0.4, leaf.shape).astype(leaf.dtype), state))


@dataclass(frozen=True)
class Layout:
    """A padded block: examples by number, filler where -1, and how much wider than its widest example it is."""

    rows: tuple[int, ...]
    margin: tuple[int, ...]


def make_images(sizes, channels: int, rng, dtype=np.uint8) -> list[np.ndarray]:
    return [rng.integers(0, 256, (*size, channels)).astype(dtype) for size in sizes]


def make_block(images, rows, canvas, rng, *, garbage=None) -> Block:
    """Images of those numbers in the upper left of a canvas full of garbage."""
    rank, rows = len(canvas), np.array(rows, np.int32)
    image = rng.integers(0, 256, (len(rows), *canvas, images[0].shape[-1])).astype(images[0].dtype)
    if garbage is not None:
        image[...] = garbage
    size, weight = np.zeros((len(rows), rank), np.int32), np.zeros(len(rows), np.float32)
    for row, number in enumerate(rows):
        if number >= 0:
            size[row] = images[number].shape[:-1]
            image[(row, *(slice(side) for side in size[row]))] = images[number]
            weight[row] = 1 + number / 2
    label = np.where(rows < 0, 0, rows % NUM_CLASSES).astype(np.int32)
    return Block(image, size, label, weight, rows)


def alone(images, rng) -> tuple[Block, ...]:
    return tuple(make_block(images, [number], image.shape[:-1], rng) for number, image in enumerate(images))


def spread(images, layouts, rng, *, garbage=None) -> tuple[Block, ...]:
    smallest = np.min([image.shape[:-1] for image in images], axis=0)
    blocks = []
    for layout in layouts:
        sides = np.max([smallest, *(images[n].shape[:-1] for n in layout.rows if n >= 0)], axis=0)
        canvas = tuple(int(side) for side in sides + np.array(layout.margin))
        blocks.append(make_block(images, layout.rows, canvas, rng, garbage=garbage))
    return tuple(blocks)


def outcome(model: Model, blocks: tuple[Block, ...], *, quick: bool = True) -> dict[str, list[np.ndarray]]:
    """All that a training step and an evaluation make of the examples, in the order of their numbers."""
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def loss_of(params, stats, blocks):
        net = nnx.merge(graphdef, params, stats)
        predictions = net(blocks, training=True)
        total = 0.0
        for prediction, block in zip(predictions, blocks, strict=True):
            chosen = jnp.take_along_axis(jax.nn.log_softmax(prediction.logits), block.label[:, None], axis=1)[:, 0]
            total -= (chosen * block.weight).sum()
        weight = sum(block.weight.sum() for block in blocks)
        return total / weight, (predictions, nnx.to_pure_dict(nnx.state(net, nnx.BatchStat)))

    def step(params, stats, blocks):
        grads, (trained, stats) = jax.grad(loss_of, has_aux=True)(params, stats, blocks)
        evaluated = nnx.merge(graphdef, params, stats)(blocks, training=False)
        return trained, evaluated, grads, stats

    jitted = jax.jit(step, compiler_options=QUICK if quick else None)
    trained, evaluated, grads, stats = jax.device_get(jitted(params, stats, blocks))
    return {
        "logits in training": by_number([p.logits for p in trained], blocks),
        "logits in evaluation": by_number([p.logits for p in evaluated], blocks),
        "class maps": by_number([true_part(p.logits_2d) for p in evaluated], blocks),
        "gradients": jax.tree.leaves(grads),
        "statistics": jax.tree.leaves(stats),
    }


def true_part(m) -> list[np.ndarray]:
    inside = [tuple(slice(side) for side in size) for size in m.size]
    outside = m.x.copy()
    for x, cut in zip(outside, inside, strict=True):
        x[cut] = 0
    assert not outside.any()
    return [x[cut] for x, cut in zip(m.x, inside, strict=True)]


def by_number(rows_of_blocks, blocks) -> list[np.ndarray]:
    found = {}
    for rows, block in zip(rows_of_blocks, blocks, strict=True):
        found |= {int(number): row for number, row in zip(block.index, rows, strict=True) if number >= 0}
    return [found[number] for number in sorted(found)]


def assert_same(expected, actual, *, tolerance: float) -> None:
    assert expected.keys() == actual.keys()
    for what, arrays in expected.items():
        assert len(arrays) == len(actual[what])
        for a, b in zip(arrays, actual[what], strict=True):
            assert a.shape == b.shape, what
            assert np.isfinite(a).all(), what
            assert (np.abs(a - b) <= tolerance * np.maximum(1, np.abs(a))).all(), (what, np.abs(a - b).max())


def check(net: Net, sizes, layouts, *, dtype=np.uint8, garbage=None) -> None:
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        images = make_images(sizes, net.input_channels, rng, dtype)
        model = net.build()
        expected = outcome(model, alone(images, rng))
        for maps, size in zip(expected["class maps"], sizes, strict=True):
            assert maps.shape[:-1] == sizes_through(net.windows, size)[-1]
        assert_same(expected, outcome(model, spread(images, layouts, rng, garbage=garbage)), tolerance=1e-10)


@st.composite
def nets(draw):
    windows = st.builds(Window, st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(0, 6))
    return Net(
        tuple(draw(st.lists(windows, min_size=1, max_size=3))),
        rank=draw(st.sampled_from([2, 1])),
        norm=draw(st.sampled_from(["batch", "group", "layer", "none"])),
        head=draw(st.sampled_from(["average_last", "average_first"])),
        patches=draw(st.booleans()),
    )


@st.composite
def cases(draw):
    net = draw(nets())
    above_smallest = draw(st.lists(st.tuples(*[st.integers(0, 8)] * net.rank), min_size=1, max_size=3))
    rows = draw(st.permutations([*range(len(above_smallest)), *[-1] * draw(st.integers(0, 3))]))
    cut = draw(st.integers(0, len(rows)))
    margin = st.tuples(*[st.integers(0, 5)] * net.rank)
    return net, above_smallest, [Layout(tuple(part), draw(margin)) for part in (rows[:cut], rows[cut:]) if part]


@settings(max_examples=25)
@given(cases())
def test_padding_changes_nothing(case):
    net, above_smallest, layouts = case
    while smallest_side(net.windows) > LARGEST_SMALLEST_SIDE:
        net = replace(net, windows=net.windows[:-1])
    smallest = smallest_side(net.windows)
    check(net, [tuple(smallest + side for side in sides) for sides in above_smallest], layouts)


NASTY = {
    "padding would give filler a size": (Net((Window(2, padding=1), Window(2, padding=1))), [(3, 4), (5, 2)]),
    "stride beyond the kernel": (Net((Window(2, 3), Window(2, 3, padding=1))), [(5, 9), (13, 7)]),
    "even kernels": (Net((Window(4, 2, padding=1), Window(2, 1, padding=1)), norm="group"), [(5, 8), (7, 6)]),
    "kernel a multiple of the stride": (Net((Window(3, 3, padding=2), Window(4, 2, padding=3))), [(7, 8), (10, 6)]),
    "padding beyond the extent": (Net((Window(1, 2, padding=2), Window(3, padding=4)), norm="layer"), [(1, 2), (4, 3)]),
    "dilation": (Net((Window(3, 2, 3, 3), Window(2, 1, 2, 1)), head="average_first"), [(6, 9), (11, 5)]),
    "sides that just survive": (Net((Window(5, padding=1), Window(3, 2), Window(1))), [(5, 5), (5, 9)]),
    "a kernel of one, strided": (Net((Window(1, 3), Window(1, 2)), norm="none"), [(1, 1), (8, 4)]),
    "a signal": (Net((Window(4, 2, padding=1), Window(3, padding=1)), rank=1), [(2,), (9,)]),
}


@pytest.mark.parametrize("patches", [True, False], ids=["patches", "direct"])
@pytest.mark.parametrize("case", NASTY)
def test_padding_changes_nothing_in_nasty_cases(case, patches):
    net, sizes = NASTY[case]
    layouts = [Layout((-1, 1, 0), (3, 1)[: net.rank]), Layout((-1, -1), (2, 5)[: net.rank])]
    check(replace(net, patches=patches), sizes, layouts)


@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
def test_not_even_nan_comes_through_the_padding(norm):
    net = Net((Window(3, 2, padding=1), Window(3, padding=1)), norm=norm)
    layouts = [Layout((1, -1, 0), (2, 3))]
    check(net, [(4, 6), (7, 3)], layouts, dtype=np.float32, garbage=np.nan)


def test_the_default_net_pads_for_free_in_float32():
    config = get_config()
    model = make_model(config, rank=2)
    rng = np.random.default_rng(0)
    images = make_images([(28, 16), (28, 28), (8, 11)], config.data.channels, rng)
    layouts = [Layout((2, -1, 0), (0, 0)), Layout((1, -1), (3, 2))]
    expected = outcome(model, alone(images, rng), quick=False)
    assert_same(expected, outcome(model, spread(images, layouts, rng), quick=False), tolerance=2e-6)
