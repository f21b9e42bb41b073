"""Padding changes nothing in any family, each narrow and shallow; its size and its trace are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import resnet18
from fcn_jax.config import Config
from fcn_jax.config_rules import validate
from fcn_jax.core.block import filler_block
from fcn_jax.core.geometry import SameWindow, Window
from fcn_jax.core.layers import count_parameters, masked
from fcn_jax.core.net import LayerMaker, Model, Net
from fcn_jax.nets.families import ResNet
from fcn_jax.nets.heads import make_head
from fcn_jax.nets.model import abstract_model, make_model, smallest_input, trace_shapes
from fcn_jax.nets.resnet import Residual
from tests.core.made_maps import assert_close, make_map
from tests.core.padding import NUM_CLASSES, Layout, check, drawn, map_size
from tests.made_models import HEADS, SIGNAL_FAMILIES, choices_of, model_of

CHANNELS = 2
FAMILIES = {
    "fcn behind a grid": {"name": "fcn", "channels": (2, 3), "adaptive_pool": 5, "adaptive_pool_after": 1},
    "fcn": {"name": "fcn", "channels": (4, 4)},
    "resnet": {"name": "resnet", "channels": (2, 4), "blocks": (1,)},
    "resnet with a bottleneck": {"name": "resnet", "channels": (2, 1), "blocks": (1,), "bottleneck": True},
    "resnet that drops branches and channels": {
        "name": "resnet", "channels": (4, 4), "blocks": (2, 1), "stochastic_depth": 0.6, "dropout": 0.5
    },
    "convnext that drops branches": {
        "name": "convnext", "channels": (2, 4), "blocks": (2,), "kernel": (3,), "patch": 2, "stochastic_depth": 0.6
    },
    "resnet with squeeze and excitation": {
        "name": "resnet", "channels": (2, 4), "blocks": (1,), "squeeze_excite": True
    },
    "resnet with a deep stem and pools in shortcuts": {
        "name": "resnet", "channels": (2, 4), "blocks": (1,), "deep_stem": True, "pool_shortcut": True
    },
    "convnext with response norm": {
        "name": "convnext", "channels": (2, 4), "blocks": (1,), "kernel": (3,), "patch": 2, "response_norm": True
    },
    "efficientnet": {
        "name": "efficientnet", "channels": (2, 4), "blocks": (1,), "kernel": (3, 5), "stride": (2, 1),
        "expansion": (1, 3), "stem_channels": 2, "head_channels": 4
    },
    "efficientnet with same padding, dropping branches": {
        "name": "efficientnet", "channels": (2, 4), "blocks": (1, 2), "kernel": (3, 5), "stride": (2, 3),
        "expansion": (2,), "stem_channels": 2, "head_channels": 4, "padding": "same", "activation": "relu6",
        "squeeze_excite": False, "norm_epsilon": 1e-3, "stochastic_depth": 0.6
    },
    "all_cnn": {"name": "all_cnn", "channels": (2, 3)},
    "nin": {"name": "nin", "channels": (2, 3, 2, 3, 2, 2, 3, 2), "kernel": (5, 3, 4)},
    "convnext": {"name": "convnext", "channels": (2, 4), "blocks": (1,), "kernel": (3,), "patch": 2},
    "convnext with another head": {
        "name": "convnext", "channels": (3,), "blocks": (1,), "kernel": (7,), "patch": 3, "head": "max"
    },
    "fcn1d": {"name": "fcn1d", "channels": (2, 4), "kernel": (4, 3)},
    "wavenet": {"name": "wavenet", "channels": (2, 3), "kernel": (2,), "dilation": (1, 2), "head": "last"},
    "lstm": {"name": "lstm", "channels": (3,)},
    "lstm, both ways, last": {"name": "lstm", "channels": (3, 2), "bidirectional": True, "head": "last"},
    "tacotron2_encoder": {"name": "tacotron2_encoder", "channels": (2, 4), "kernel": (5,)},
    "resnet with the stem of ImageNet": {
        "name": "resnet", "channels": (2, 4), "blocks": (1,), "stem_kernel": 7, "stem_stride": 2, "stem_pool": True
    },
}  # fmt: skip
SIZES = {2: [(5, 8), (1, 1), (10, 6)], 1: [(11,), (1,), (6,)]}
CASES = [
    pytest.param(family, rank, id=f"{family} of rank {rank}")
    for family, fields in FAMILIES.items()
    for rank in (2, 1)
    if rank == 1 or fields["name"] not in SIGNAL_FAMILIES
]

IN_ANOTHER = ("fcn", "resnet", "convnext", "efficientnet", "lstm")
"""Families here whose layers all stand in another, which has more; only `make test-full` tries their padding."""

LAYOUTS = [Layout((-1, 1, 0), (3, 1)), Layout((2, -1), (2, 5))]


def config_of(family: str) -> Config:
    config = Config(model=model_of(num_classes=NUM_CLASSES, **FAMILIES[family]))
    config.data.channels, config.data.mean, config.data.std = CHANNELS, (0.3,), (0.5,)
    validate(config)
    return config


def is_at_home(family: str, rank: int) -> bool:
    """Return whether a family is used for data of that rank."""
    return (rank == 1) == (FAMILIES[family]["name"] in (*SIGNAL_FAMILIES, "fcn1d", "wavenet"))


@pytest.mark.parametrize(
    ("family", "rank"),
    [
        pytest.param(*case.values, id=case.id, marks=pytest.mark.full if case.values[0] in IN_ANOTHER else ())
        for case in CASES
        if is_at_home(*case.values)
    ],
)
def test_padding_changes_nothing(float64, family, rank):
    check_family(config_of(family), rank)


@pytest.mark.full
@pytest.mark.parametrize(("family", "rank"), [case for case in CASES if not is_at_home(*case.values)])
def test_padding_changes_nothing_of_the_other_rank(float64, family, rank):
    check_family(config_of(family), rank)


@pytest.mark.full
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("family", "norm"),
    [(family, norm) for family, fields in FAMILIES.items() for norm in choices_of("norm", family=fields["name"])],
)
def test_padding_changes_nothing_for_any_norm_and_head(float64, family, norm, head):
    config = config_of(family)
    config.model.norm, config.model.group_size, config.model.head = norm, 1, head
    check_family(config, 2 if config.model.takes_images else 1)


def check_family(config: Config, rank: int) -> None:
    model = drawn(lambda: make_model(config, rank=rank, dtype=jnp.float64))
    smallest = smallest_input(config) - 1
    sizes = [tuple(side + smallest for side in size) for size in SIZES[rank]]
    layouts = [Layout(layout.rows, layout.margin[:rank]) for layout in LAYOUTS]
    check(model, sizes, layouts, channels=CHANNELS)


def net_of(name: str, make: LayerMaker) -> Net:
    """The layer behind a convolution, which leaves it something to see, and before one that sees what it leaves."""
    channels = 4
    match name:
        case "max pool":
            layer = make.max_pool(Window(3, 2, padding=1))
        case "max pool that sees nothing in places":
            layer = make.max_pool(Window(2, 1, 3, 2))
        case "average pool":
            layer = make.average_pool(Window(3, 2, padding=1))
        case "average pool with same padding":
            layer = make.average_pool(SameWindow(3, 2))
        case "max pool with same padding":
            layer = make.max_pool(SameWindow(4, 3))
        case "depthwise convolution with same padding":
            layer = make.convolution((4, 4), SameWindow(5, 3, 2), groups=4)
        case "depthwise convolution":
            layer = make.convolution((4, 4), Window(3, 2, padding=1), groups=4)
        case "depthwise convolution, dilated":
            channels = 8
            layer = make.convolution((4, 8), Window(3, 1, 2, 2), groups=4)
        case _:
            raise AssertionError(name)
    first = make.convolution((CHANNELS, 4), Window(1), bias=True)
    last = make.convolution((channels, 4), Window(3, padding=1))
    head = make_head("average_last", 4, NUM_CLASSES, make=make)
    return Net([first, layer, last, make.norm(4, jax.nn.relu)], head)


@pytest.mark.parametrize(
    "name",
    [
        *("max pool", "max pool that sees nothing in places", "average pool"),
        *("depthwise convolution", "depthwise convolution, dilated", "depthwise convolution with same padding"),
        *("average pool with same padding", "max pool with same padding"),
    ],
)
def test_padding_changes_nothing_for_a_layer(float64, name):
    def build():
        make = LayerMaker(2, nnx.Rngs(0), norm_momentum=0.7, dtype=jnp.float64)
        return Model(net_of(name, make), mean=(0.3,), std=(0.5,), dtype=jnp.float64)

    check(drawn(build), SIZES[2], LAYOUTS, channels=CHANNELS)


@pytest.mark.parametrize(("family", "rank"), CASES)
def test_parameters_and_trace_do_not_depend_on_the_size(family, rank):
    config = config_of(family)
    traces = [trace_shapes(config, size[:rank]) for size in ((40, 31), (33, 64))]
    assert len({tuple(record.layer for record in trace) for trace in traces}) == 1
    counts = {sum(record.parameters for record in trace) for trace in traces}
    assert counts == {count_parameters(abstract_model(config, rank=rank))}


@pytest.mark.parametrize(("family", "rank"), CASES)
def test_the_class_map_is_as_large_as_the_trace_says(family, rank):
    """The sizes of the canvas are right; the padding tests say it of true sizes."""
    config = config_of(family)
    size = (12, 9)[:rank]
    model, block = abstract_model(config, rank=rank), filler_block(1, size, CHANNELS)
    (prediction,) = nnx.eval_shape(lambda model, block: model((block,), training=False), model, block)
    trace = trace_shapes(config, size)
    pool = max(place for place, record in enumerate(trace) if record.canvas == ())
    before_pool = trace[pool - 1]
    assert prediction.logits_2d.x.shape == (1, *before_pool.canvas, NUM_CLASSES)
    assert map_size(model, size) == before_pool.canvas
    assert prediction.logits.shape == (1, trace[-1].channels) == (1, NUM_CLASSES)


@pytest.mark.parametrize(
    ("depth", "blocks", "parameters"),
    [(18, (2, 2, 2, 2), 11_689_512), (34, (3, 4, 6, 3), 21_797_672), (50, (3, 4, 6, 3), 25_557_032)],
)
def test_resnets_have_as_many_parameters_as_torchvisions(depth, blocks, parameters):
    config = resnet18.get_config()
    config.model = ResNet.of_depth(depth, num_classes=1000)
    validate(config)
    trace = trace_shapes(config, (224, 224))
    assert sum(record.parameters for record in trace) == parameters
    assert [record.canvas for record in trace if record.layer == "Add"] == [
        (side, side) for side, number in zip((56, 28, 14, 7), blocks, strict=True) for _ in range(number)
    ]
    assert smallest_input(config) == 1


@pytest.mark.parametrize("bottleneck", [False, True], ids=["basic", "bottleneck"])
def test_a_block_begins_as_its_shortcut(float64, bottleneck):
    make = LayerMaker(2, nnx.Rngs(0), dtype=jnp.float64)
    (m,) = maps = (make_map(np.random.default_rng(0), [(4, 5), (2, 3)], (5, 5), channels=4),)

    def residual(*, zero_init: bool):
        width = 1 if bottleneck else 4
        return Residual(4, width, 1, bottleneck=bottleneck, zero_init=zero_init, make=make)

    (y,) = residual(zero_init=True)(maps, training=True)
    assert_close(y.x, jax.nn.relu(m.x))
    (y,) = residual(zero_init=False)(maps, training=True)
    assert np.abs(y.x - jax.nn.relu(m.x)).max() > 0.1
    assert_close(y.x, masked(y).x)


@pytest.mark.parametrize("family", ["lstm", "tacotron2_encoder"])
def test_what_goes_through_signals_refuses_images(family):
    with pytest.raises(ValueError, match=rf"config.model.name is '{family}'.* 2 spatial axes: choose .* fcn"):
        trace_shapes(config_of(family), (12, 9))
