"""What a family asks of the fields it reads."""

import pytest
from fcn_jax.config_rules import validate

from tests.test_config_rules import config_with, refusal


@pytest.mark.parametrize("path", ["model.kernel", "model.stride", "model.dilation", "model.padding"])
def test_a_window_has_one_value_or_one_for_every_convolution(path):
    message = refusal(config_with(path, (1, 1)))
    assert message == f"config.{path} has 2 values, but it must have 1 or 3"
    refusal(config_with(path, ()))
    validate(config_with(path, (1,)))
    validate(config_with(path, (1, 1, 1)))


def test_a_resnet_has_an_odd_stem_and_blocks_for_every_stage():
    config = config_with("model.name", "resnet")
    config.model.kernel = (1, 1)
    validate(config)
    config.model.blocks = (1, 2)
    assert refusal(config) == "config.model.blocks has 2 values, but it must have 1 or 3"
    config.model.blocks = (1, 2, 3)
    config.model.stem_kernel = 4
    assert refusal(config) == "config.model.stem_kernel is 4, but it must be odd"
    config.model.name = "fcn"
    config.model.kernel = (1,)
    validate(config)


@pytest.mark.parametrize(
    ("name", "field", "value", "rule"),
    [
        ("nin", "channels", (8, 8, 8), "config.model.channels has 3 values, but nin has three convolutions a block"),
        ("nin", "kernel", (5, 3), "config.model.kernel has 2 values, but it must have 1 or 1"),
        ("convnext", "kernel", (4,), "config.model.kernel is (4,), but convnext needs odd kernels"),
        ("convnext", "blocks", (1, 2, 3), "config.model.blocks has 3 values, but it must have 1 or 2"),
        ("fcn1d", "kernel", (8, 5, 3), "config.model.kernel has 3 values, but it must have 1 or 2"),
        ("wavenet", "channels", (8, 8, 8), "config.model.channels has 3 values, but wavenet has 2"),
        ("wavenet", "kernel", (2, 2), "config.model.kernel has 2 values, but it must have 1 or 1"),
        ("wavenet", "dilation", (), "config.model.dilation is (), but wavenet needs one"),
        ("tacotron2_encoder", "channels", (8, 7), "config.model.channels is (8, 7), but its last must be even"),
        ("flatten", "stride", (1, 1, 1), "config.model.stride has 3 values, but it must have 1 or 2"),
        ("mlp", "input_side", 0, "config.model.input_side is 0, but it must be between 1 and"),
    ],
)
def test_a_family_asks_for_the_lengths_and_kernels_it_reads(name, field, value, rule):
    config = config_with("model.name", name)
    config.model.channels, config.model.kernel = (8, 8), (3,)
    validate(config)
    setattr(config.model, field, value)
    assert refusal(config).startswith(rule)


def test_only_published_nets_begin_with_weights_of_others():
    config = config_with("model.init_from", "FILE")
    assert refusal(config).startswith("config.model.init_from is 'FILE', but config.model.name is 'fcn': only resnet")
    config.model.name = "convnext"
    config.model.kernel = (7,)
    validate(config)
    config.model.name = "resnet"
    validate(config)
    config.model.norm = "group"
    message = refusal(config)
    assert message.startswith("config.model.init_from is 'FILE', but config.model.norm is 'group'")
    assert message.endswith("set config.model.norm=batch")


def test_groups_divide_the_channels():
    config = config_with("model.norm", "group")
    validate(config)
    config.model.channels = (32, 60, 128)
    message = refusal(config)
    assert message.startswith("config.model.group_size is 8, but it must divide every number in config.model.channels")
    assert message.endswith("does not divide 60")
    config.model.norm = "batch"
    validate(config)
