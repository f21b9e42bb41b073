"""Every family checks its fields, and one function makes its net."""

import dataclasses

import pytest

from fcn_jax.config import FAMILIES, Config, ModelConfig, UserError
from fcn_jax.config_rules import validate
from fcn_jax.nets.families import FCN, ConvNeXt, EfficientNet, ResNet
from fcn_jax.nets.model import MAKERS
from tests.made_models import NORMS, choices_of, model_of
from tests.test_config_rules import config_with, refusal


def rule_broken_by(model: ModelConfig) -> str:
    return refusal(Config(model=model))


def test_every_family_has_a_maker_and_a_name_of_its_own():
    assert set(MAKERS) == set(FAMILIES.values())
    assert all(family.name == name for name, family in FAMILIES.items())


@pytest.mark.parametrize("name", FAMILIES)
def test_defaults_keep_the_rules(name):
    validate(Config(model=model_of(name=name)))


def bounds() -> list[tuple[str, str, object]]:
    """A value below and one above the bounds of every field of every family."""
    cases = []
    for name, family in FAMILIES.items():
        for item in dataclasses.fields(family):
            for number, step in zip(item.metadata.get("bounds", ()), (-1, 1), strict=False):
                value = float(number + step) if isinstance(item.default, float) else number + step
                if value < float("inf"):
                    cases.append((name, item.name, (value,) if isinstance(item.default, tuple) else value))
    return cases


@pytest.mark.parametrize(("name", "field", "value"), bounds())
def test_bounds_beside_the_fields_are_kept(name, field, value):
    found = value if field != "norm_momentum" else float(value)
    message = rule_broken_by(model_of(name=name, **{field: found}))
    assert message.startswith(f"config.model.{field} is {found}, but it must be ")


@pytest.mark.parametrize("field", ["kernel", "stride", "dilation", "padding"])
def test_a_window_has_one_value_or_one_for_every_convolution(field):
    message = rule_broken_by(FCN(**{field: (1, 1)}))
    assert message == f"config.model.{field} has 2 values, but it must have 1 or 3"
    rule_broken_by(FCN(**{field: ()}))
    validate(config_with(f"model.{field}", (1,)))
    validate(config_with(f"model.{field}", (1, 1, 1)))


@pytest.mark.parametrize(
    ("name", "fields", "rule"),
    [
        ("resnet", {"blocks": (1, 2)}, "config.model.blocks has 2 values, but it must have 1 or 3"),
        ("resnet", {"stem_kernel": 4}, "config.model.stem_kernel is 4, but it must be odd"),
        (
            "resnet",
            {"channels": (9, 8), "deep_stem": True},
            "config.model.channels begins with 9, but a deep stem begins",
        ),
        ("efficientnet", {"kernel": (4,)}, "config.model.kernel is (4,), but efficientnet needs odd kernels"),
        ("efficientnet", {"stride": (1, 2)}, "config.model.stride has 2 values, but it must have 1 or 7"),
        (
            "efficientnet",
            {"norm": "group", "head_channels": 4},
            "config.model.head_channels is 4, but config.model.group",
        ),
        ("nin", {"channels": (8, 8, 8)}, "config.model.channels has 3 values, but nin has three convolutions a block"),
        ("nin", {"channels": (8, 8)}, "config.model.kernel has 3 values, but it must have 1 or 1"),
        ("convnext", {"kernel": (4,)}, "config.model.kernel is (4,), but convnext needs odd kernels"),
        ("convnext", {"blocks": (1, 2, 3)}, "config.model.blocks has 3 values, but it must have 1 or 4"),
        ("fcn1d", {"channels": (8, 8)}, "config.model.kernel has 3 values, but it must have 1 or 2"),
        ("wavenet", {"channels": (8, 8, 8)}, "config.model.channels has 3 values, but wavenet has 2"),
        ("wavenet", {"kernel": (2, 2)}, "config.model.kernel has 2 values, but it must have 1 or 1"),
        ("wavenet", {"dilation": ()}, "config.model.dilation is (), but wavenet needs one"),
        ("tacotron2_encoder", {"channels": (8, 7)}, "config.model.channels is (8, 7), but its last must be even"),
        ("flatten", {"stride": (1, 1)}, "config.model.stride has 2 values, but it must have 1 or 3"),
        ("mlp", {"input_side": 0}, "config.model.input_side is 0, but it must be between 1 and"),
    ],
)
def test_a_family_asks_for_the_lengths_and_kernels_it_reads(name, fields, rule):
    assert rule_broken_by(model_of(name=name, **fields)).startswith(rule)


@pytest.mark.parametrize(("name", "norm"), [("convnext", "layer"), ("wavenet", "none"), ("lstm", "none")])
def test_a_family_with_one_norm_refuses_all_others(name, norm):
    assert choices_of("norm", family=name) == (norm,)
    for other in set(NORMS) - {norm}:
        message = rule_broken_by(model_of(name=name, norm=other))
        assert message == f"config.model.norm is {other!r}, but it must be one of: {norm}"


@pytest.mark.parametrize("family", [ResNet, EfficientNet])
def test_published_weights_have_batch_norm(family):
    validate(Config(model=ConvNeXt(init_from="FILE")))
    validate(Config(model=family(init_from="FILE")))
    message = rule_broken_by(family(init_from="FILE", norm="group"))
    assert message.startswith("config.model.init_from is 'FILE', but config.model.norm is 'group'")
    assert message.endswith("set config.model.norm=batch")


def test_groups_divide_the_channels():
    config = config_with("model.norm", "group")
    validate(config)
    config.model.channels = (32, 60, 128)
    message = refusal(config)
    assert message.startswith("config.model.group_size is 8, but it must divide every number in config.model.channels")
    assert "does not divide 60: set config.model.group_size=4" in message
    config.model.norm = "batch"
    validate(config)


def test_presets_are_named():
    assert ResNet.of_depth(34).blocks == (3, 4, 6, 3)
    assert EfficientNet.of_size("b4").channels == (24, 32, 56, 112, 160, 272, 448)
    assert ConvNeXt.of_size("nano", num_classes=3).channels == (80, 160, 320, 640)
    with pytest.raises(UserError, match=r"config\.model\.channels"):
        ResNet.of_depth(18, channels=()).check()
