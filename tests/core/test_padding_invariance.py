"""Padding changes nothing in the default net, whatever its windows, norm and head.

In float64, where a wrong mask shows and rounding doesn't; once in float32, for the default net.
"""

from dataclasses import astuple, dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.mnist import get_config
from fcn_jax.core.geometry import Window, smallest_side
from fcn_jax.core.net import LayerMaker, Model
from fcn_jax.nets.convolutional import make_fcn
from fcn_jax.nets.families import FCN
from fcn_jax.nets.model import make_model
from tests.core.padding import (
    NUM_CLASSES,
    Layout,
    alone,
    assert_same,
    check,
    drawn,
    make_block,
    make_images,
    outcome,
    spread,
)

LARGEST_SMALLEST_SIDE = 13


@dataclass(frozen=True)
class Net:
    windows: tuple[Window, ...]
    rank: int = 2
    norm: str = "batch"
    head: str = "average"
    patches: bool = True
    input_channels: int = 2
    balanced: bool = False

    def build(self) -> Model:
        make = LayerMaker(
            self.rank, nnx.Rngs(0), norm_kind=self.norm, norm_momentum=0.7, group_size=2, patches=self.patches,
            dtype=jnp.float64,
        )  # fmt: skip
        kernel, stride, dilation, padding = zip(*(astuple(window) for window in self.windows), strict=True)
        c = FCN(
            num_classes=NUM_CLASSES, channels=(4, 2, 4)[: len(self.windows)], head=self.head,
            kernel=kernel, stride=stride, dilation=dilation, padding=padding, balanced=self.balanced,
        )  # fmt: skip
        net = make_fcn(c, self.input_channels, make)
        return Model(net, mean=(0.3,), std=(0.5,), dtype=jnp.float64)


def check_net(net: Net, sizes, layouts, **options) -> None:
    with jax.enable_x64(True):
        check(drawn(net.build), sizes, layouts, channels=net.input_channels, **options)


@st.composite
def nets(draw):
    windows = st.builds(Window, st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(0, 6))
    return Net(
        tuple(draw(st.lists(windows, min_size=1, max_size=3))),
        rank=draw(st.sampled_from([2, 1])),
        norm=draw(st.sampled_from(["batch", "group", "layer", "none"])),
        head=draw(st.sampled_from(["average", "average_last", "average_first"])),
        patches=draw(st.booleans()),
        balanced=draw(st.booleans()),
    )


@st.composite
def cases(draw):
    net = draw(nets())
    above_smallest = draw(st.lists(st.tuples(*[st.integers(0, 8)] * net.rank), min_size=1, max_size=3))
    rows = draw(st.permutations([*range(len(above_smallest)), *[-1] * draw(st.integers(0, 3))]))
    cut = draw(st.integers(0, len(rows)))
    margin = st.tuples(*[st.integers(0, 5)] * net.rank)
    return net, above_smallest, [Layout(tuple(part), draw(margin)) for part in (rows[:cut], rows[cut:]) if part]


@settings(max_examples=12)
@given(cases())
def test_padding_changes_nothing(case):
    check_case(*case)


@pytest.mark.full
@settings(max_examples=150)
@given(cases())
def test_padding_changes_nothing_in_many_cases(case):
    check_case(*case)


def check_case(net: Net, above_smallest, layouts) -> None:
    while smallest_side(net.windows) > LARGEST_SMALLEST_SIDE:
        net = replace(net, windows=net.windows[:-1])
    smallest = smallest_side(net.windows)
    check_net(net, [tuple(smallest + side for side in sides) for sides in above_smallest], layouts)


NASTY = {
    "padding would give filler a size": (Net((Window(2, padding=1), Window(2, padding=1))), [(3, 4), (5, 2)]),
    "stride beyond the kernel": (Net((Window(2, 3), Window(2, 3, padding=1))), [(5, 9), (13, 7)]),
    "even kernels": (Net((Window(4, 2, padding=1), Window(2, 1, padding=1)), norm="group"), [(5, 8), (7, 6)]),
    "kernel a multiple of the stride": (Net((Window(3, 3, padding=2), Window(4, 2, padding=3))), [(7, 8), (10, 6)]),
    "padding beyond the extent": (Net((Window(1, 2, padding=2), Window(3, padding=4)), norm="layer"), [(1, 2), (4, 3)]),
    "dilation": (Net((Window(3, 2, 3, 3), Window(2, 1, 2, 1)), head="average_first"), [(6, 9), (11, 5)]),
    "sides that just survive": (Net((Window(5, padding=1), Window(3, 2), Window(1))), [(5, 5), (5, 9)]),
    "a kernel of one, strided": (Net((Window(1, 3), Window(1, 2)), norm="none"), [(1, 1), (8, 4)]),
    "balanced, some sides left over": (
        Net((Window(4, 2, padding=1), Window(3, 3, padding=2), Window(2, 3)), balanced=True),
        [(9, 30), (23, 17)],
    ),
    "a signal": (Net((Window(4, 2, padding=1), Window(3, padding=1)), rank=1), [(2,), (9,)]),
}


@pytest.mark.parametrize("patches", [True, False], ids=["patches", "direct"])
@pytest.mark.parametrize("case", NASTY)
def test_padding_changes_nothing_in_nasty_cases(case, patches):
    net, sizes = NASTY[case]
    layouts = [Layout((-1, 1, 0), (3, 1)[: net.rank]), Layout((-1, -1), (2, 5)[: net.rank])]
    check_net(replace(net, patches=patches), sizes, layouts)


@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
def test_not_even_nan_comes_through_the_padding(norm):
    net = Net((Window(3, 2, padding=1), Window(3, padding=1)), norm=norm)
    layouts = [Layout((1, -1, 0), (2, 3))]
    check_net(net, [(4, 6), (7, 3)], layouts, dtype=np.float32, garbage=np.nan)


def test_the_default_net_pads_for_free_in_float32():
    config = get_config()
    model = make_model(config, rank=2)
    rng = np.random.default_rng(0)
    images = make_images([(28, 16), (28, 28), (8, 11)], config.data.channels, rng)
    layouts = [Layout((2, -1, 0), (0, 0)), Layout((1, -1), (3, 2))]
    with jax.default_matmul_precision("highest"):  # A GPU computes float32 products in fewer digits otherwise.
        expected = outcome(model, alone(images, rng), optimized=True)
        assert_same(expected, outcome(model, spread(images, layouts, rng), optimized=True), tolerance=2e-6)


def test_without_masks_padding_counts_as_image():
    """The comparison runs do this; an image that fills its canvas is seen as ever."""
    config = get_config("tiny")
    masked = make_model(config, rank=2)
    config.model.masked = False
    unmasked = make_model(config, rank=2)
    rng = np.random.default_rng(0)
    images = make_images([(16, 16), (12, 9)], config.data.channels, rng)
    block = make_block(images, [0, 1, -1], (16, 16), rng)
    logits, others = (model((block,), training=False)[0].logits for model in (masked, unmasked))
    np.testing.assert_allclose(logits[0], others[0], atol=1e-6)
    assert np.abs(logits[1] - others[1]).max() > 1e-3
    np.testing.assert_allclose(logits[2], others[2], atol=1e-6)
