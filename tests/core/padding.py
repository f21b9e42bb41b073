"""Padding changes nothing: this checks it for any model.

The same examples, each alone on a canvas of its own size, and spread over larger canvases beside filler, with garbage
wherever an image is not: logits, class maps, gradients and running statistics agree.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcn_jax.core.block import Block
from fcn_jax.core.geometry import sizes_through
from fcn_jax.core.net import Model
from fcn_jax.core.pooling import AdaptiveAveragePool

NUM_CLASSES = 3
ON_CPU = jax.default_backend() == "cpu"
# As programs are compiled outside the tests, which take less time to compile (conftest.py).
OPTIMIZED = {
    "xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False, "xla_cpu_use_fusion_emitters": True
}  # fmt: skip


def drawn(build: Callable[[], Model]) -> Model:
    """A model whose parameters and statistics NumPy draws: XLA would compile for each shape how to draw it.

    No bias is 0 and no scale is 1: where they are, a forgotten mask need not show.
    """
    model, rng = nnx.eval_shape(build), np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("bias", "mean", "scale", "var"):
            values = (name in ("scale", "var")) + rng.uniform(-0.4, 0.4, leaf.shape)
        else:
            values = rng.uniform(-1, 1, leaf.shape) * np.sqrt(6 / np.prod(leaf.shape[:-1]))
        return jnp.asarray(values, leaf.dtype)

    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    nnx.replace_by_pure_dict(state, jax.tree.map_with_path(draw, nnx.to_pure_dict(state)))
    nnx.update(model, state)
    return model


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


def outcome(model: Model, blocks: tuple[Block, ...], *, optimized: bool = False) -> dict[str, list[np.ndarray]]:
    """All that a training step and an evaluation make of the examples, in the order of their numbers."""
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def loss_of(params, stats, blocks):
        net = nnx.merge(graphdef, params, stats)
        predictions = net(blocks, training=True, key=net.key_of(jnp.asarray(3, jnp.int32)))
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

    jitted = jax.jit(step, compiler_options=OPTIMIZED if optimized and ON_CPU else None)
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


def map_size(model: Model, size: tuple[int, ...]) -> tuple[int, ...]:
    """Windows of the layers before the head."""
    for layer in model.net.layers:
        if isinstance(layer, AdaptiveAveragePool):
            size = (layer.cells,) * len(size)
        size = sizes_through(layer.windows, size)[-1]
    return size


def check(model: Model, sizes, layouts, *, channels: int, dtype=np.uint8, garbage=None) -> None:
    """Check that padding changes nothing for one model, whose type is float64, and examples of some sizes."""
    rng = np.random.default_rng(0)
    images = make_images(sizes, channels, rng, dtype)
    expected = outcome(model, alone(images, rng))
    for maps, size in zip(expected["class maps"], sizes, strict=True):
        assert maps.shape[:-1] == map_size(model, size)
    assert_same(expected, outcome(model, spread(images, layouts, rng, garbage=garbage)), tolerance=1e-10)
