"""Every bad value is refused by name; a config survives JSON; differences tells what changes a result."""

import dataclasses
import json
import math
import typing

import jaxtyping
import pytest

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.config_fields import differences, flatten, from_dict, get_field, overridden
from fcn_jax.config_rules import validate


def config_with(path: str, value) -> Config:
    config = Config()
    *parents, name = path.split(".")
    setattr(get_field(config, ".".join(parents)) if parents else config, name, value)
    return config


def fields(kind, prefix: str = "") -> dict[str, object]:
    """{'train.epochs': int, ...}"""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        found.update(fields(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else {prefix + name: hint})
    return found


FIELDS = fields(Config)
INTS = [path for path, hint in FIELDS.items() if hint in (int, int | None)]
FLOATS = [path for path, hint in FIELDS.items() if hint is float]
TUPLES = [path for path, hint in FIELDS.items() if typing.get_origin(hint) is tuple]


def refusal(config: Config) -> str:
    with pytest.raises(ValueError, match=r"^config\.") as error:
        validate(config)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("model.channels", (32, -64, 128), "at least 1"),
        ("model.channels", (0,), "at least 1"),
        ("model.channels", (), "at least one convolution"),
        ("model.stride", (0,), "between 1 and"),
        ("model.stride", (2, 2, 0), "between 1 and"),
        ("model.kernel", (0,), "between 1 and"),
        ("model.dilation", (0,), "between 1 and"),
        ("model.padding", (-1,), "between 0 and"),
        ("model.blocks", (2, 0), "between 1 and"),
        ("model.stem_kernel", 0, "between 1 and"),
        ("model.stem_stride", 0, "between 1 and"),
        ("model.norm", "bacth", "one of: batch, group, layer, none"),
        ("model.head", "mean", "one of: average_last, average_first"),
        ("model.name", "vgg", "one of: fcn"),
        ("model.dtype", "float16", "one of: float32, bfloat16"),
        ("model.convolution", "fft", "one of: auto, direct, patches"),
        ("model.num_classes", 1, "at least 2"),
        ("model.group_size", 0, "at least 1"),
        ("model.norm_momentum", 1.5, "between 0 and 1"),
        ("schedule.kind", "stratifed", "one of: stratified, bucketed"),
        ("schedule.max_buckets", -1, "between 0 and"),
        ("schedule.multiple_of", 0, "between 1 and"),
        ("schedule.examples_per_step", 0, "at least 1"),
        ("schedule.rows_multiple_of", 0, "between 1 and"),
        ("schedule.turns", 0, "between 1 and"),
        ("train.optimizer", "adam", "one of: adamw, sgd"),
        ("train.epochs", 0, "at least 1"),
        ("train.learning_rate", -1e-3, "at least 0"),
        ("train.learning_rate", math.nan, "of type float"),
        ("train.learning_rate", math.inf, "of type float"),
        ("train.learning_rate", "3e-3", "of type float"),
        ("train.momentum", 1.1, "between 0 and 1"),
        ("train.label_smoothing", 1.0, "between 0 and 0.99"),
        ("train.ema_decay", 1.0, "between 0 and 0.999999"),
        ("train.epochs", True, "of type int"),
        ("train.epochs", 1.0, "of type int"),
        ("data.augment.flip", 1, "of type bool"),
        ("data.augment.rotate", 181.0, "between 0 and 180"),
        ("data.augment.stretch", 1.0, "between 0 and 0.9"),
        ("data.augment.scale", (0.5, 2.0, 3.0), "(smallest, largest)"),
        ("data.augment.scale", (2.0, 1.0), "(smallest, largest)"),
        ("train.stage_scales", (), "at least one stage"),
        ("evaluate.scale", 0.0, "between 0.01 and 100"),
        ("evaluate.padding", -1, "between 0 and 65536"),
        ("train.loss_mean", "epochs", "one of: step, epoch"),
        ("schedule.positions_per_step", 1000, "config.schedule.kind=bucketed"),
        ("data.background", 256, "between 0 and 255"),
        ("data.min_side", -1, "between 0 and"),
        ("data.min_side", 8.0, "int | None"),
        ("data.mean", (math.nan,), "a tuple of float"),
        ("data.std", (0.0,), "at least"),
        ("data.source", None, "of type str"),
        ("data.max_bad_fraction", 1.01, "between 0 and 1"),
        ("evaluate.examples_per_step", 0, "at least 1"),
        ("checkpoint.every_steps", 0, "at least 1"),
        ("machine.num_threads", 0, "between 1 and"),
        ("seed", -1, "between 0 and"),
        ("seed", 2**31, "between 0 and"),
    ],
)
def test_a_bad_value_is_refused_with_field_value_and_rule(path, value, rule):
    message = refusal(config_with(path, value))
    assert message.startswith(f"config.{path} is {value!r}, but ")
    assert rule in message


def test_stages_have_one_share_or_one_each():
    message = refusal(config_with("train.stage_shares", (1.0, 2.0)))
    assert message == "config.train.stage_shares has 2 values, but it must have 1 or 1"


@pytest.mark.parametrize("path", INTS)
def test_an_int_is_neither_bool_nor_float_nor_text_nor_far_below_zero(path):
    for value in (True, 1.0, "1", -(10**9)):
        assert refusal(config_with(path, value)).startswith(f"config.{path} is {value!r}, but it must be ")


@pytest.mark.parametrize("path", FLOATS)
def test_a_float_is_finite_not_negative_and_no_bool_and_may_be_an_int(path):
    for value in (math.nan, math.inf, -math.inf, True, None, "1", -0.1):
        assert refusal(config_with(path, value)).startswith(f"config.{path} is {value!r}, but it must be ")
    validate(config_with(path, 1 if path == "evaluate.scale" else 0))


@pytest.mark.parametrize("path", TUPLES)
def test_a_tuple_is_neither_list_nor_number_and_its_items_are_checked(path):
    for value in ([1], 1, ("1",), (True,), (math.inf,)):
        assert refusal(config_with(path, value)).startswith(f"config.{path} is {value!r}, but it must be a tuple of ")


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


def test_what_is_frozen_is_a_regular_expression():
    validate(config_with("train.freeze", "^net/layers/"))
    assert refusal(config_with("train.freeze", "(")).startswith("config.train.freeze is '(', which is no regular")


@pytest.mark.parametrize(("name", "norm"), [("fcn", "group"), ("fcn", "none"), ("convnext", "batch")])
def test_precise_statistics_ask_for_a_batch_norm(name, norm):
    config = config_with("train.precise_batch_norm", True)
    validate(config)
    config.model.name, config.model.norm = name, norm
    config.model.kernel = (3,)
    found = name if norm == "batch" else norm
    assert refusal(config).startswith("config.train.precise_batch_norm is True, but config.model.")
    assert f"={found} " in refusal(config)


@pytest.mark.parametrize("path", ["data.mean", "data.std"])
def test_a_statistic_has_one_value_or_one_for_every_channel(path):
    config = config_with(path, (0.5, 0.5))
    assert refusal(config) == f"config.{path} has 2 values, but it must have 1 or 1"
    config.data.channels = 2
    validate(config)
    config.data.channels = 3
    assert refusal(config) == f"config.{path} has 2 values, but it must have 1 or 3"


@pytest.mark.parametrize("path", ["schedule.examples_per_step", "evaluate.examples_per_step"])
def test_examples_of_a_step_are_a_multiple_of_rows_multiple_of(path):
    message = refusal(config_with(path, 100))
    assert message == f"config.{path} is 100, but it must be a multiple of config.schedule.rows_multiple_of, which is 8"
    validate(config_with(path, 104))


def test_groups_divide_the_channels():
    config = config_with("model.norm", "group")
    validate(config)
    config.model.channels = (32, 60, 128)
    message = refusal(config)
    assert message.startswith("config.model.group_size is 8, but it must divide every number in config.model.channels")
    assert message.endswith("does not divide 60")
    config.model.norm = "batch"
    validate(config)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 0),
        ("seed", 2**31 - 1),
        ("data.background", 255),
        ("data.min_side", 0),
        ("data.min_side", None),
        ("model.num_classes", 2),
        ("model.padding", (0,)),
        ("schedule.examples_per_step", 8),
        ("train.learning_rate", 0.0),
        ("train.epochs", 1),
        ("train.evaluate_every_epochs", 0),
        ("data.std", (1e-12,)),
        ("data.mean", (-1.0,)),
    ],
)
def test_a_value_on_the_bound_is_accepted(path, value):
    validate(config_with(path, value))


@pytest.mark.parametrize("argument", ["", "tiny"])
def test_the_launch_config_keeps_the_rules(argument):
    validate(mnist.get_config(argument))


def test_a_launch_config_refuses_an_unknown_argument():
    with pytest.raises(ValueError, match=r"configs/mnist\.py knows the argument 'tiny', not 'tyni'"):
        mnist.get_config("tyni")


def test_configs_share_no_mutable_defaults():
    first, second = Config(), Config()
    first.data.augment.rotate = 5.0
    first.train.epochs = 1
    assert second == Config()
    assert second.train.epochs != 1


@pytest.fixture
def unchecked():
    """As users run it: without the type checks of the tests, which would refuse a mistyped field first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def as_json(config: Config) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(config)))


@pytest.mark.parametrize("config", [Config(), mnist.get_config("tiny"), config_with("data.min_side", 12)])
def test_a_config_survives_json(config):
    again = from_dict(Config, as_json(config))
    assert again == config
    assert differences(config, again) == []
    assert {path: type(value) for path, value in flatten(again).items()} == {
        path: type(value) for path, value in flatten(config).items()
    }


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("train", "epoch", 3, "config.train.epoch is not a field of this version"),
        ("", "nosuch", {}, "config.nosuch is not a field of this version"),
        ("train", "epochs", "3", "config.train.epochs is '3', but it must be of type int"),
        ("train", "epochs", True, "config.train.epochs is True, but it must be of type int"),
        ("model", "channels", 32, "config.model.channels is 32, but it must be a tuple of int"),
        ("model", "channels", [32, 1.5], "config.model.channels is (32, 1.5), but it must be a tuple of int"),
        ("data", "augment", None, "config.data.augment is None, but it must be an object"),
        ("data", "augment", [], "config.data.augment is [], but it must be an object"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_json_of_another_shape_is_refused_by_name(part, name, value, message):
    values = as_json(Config())
    (values[part] if part else values)[name] = value
    with pytest.raises(ValueError, match=r"^config\.") as error:
        from_dict(Config, values)
    assert str(error.value) == message


@pytest.mark.parametrize("path", ["seed", "train", "train.epochs", "data.augment.flip", "data.min_side"])
def test_a_missing_field_is_refused_by_name(path):
    values = as_json(Config())
    *parents, name = path.split(".")
    inner = values
    for parent in parents:
        inner = inner[parent]
    del inner[name]
    with pytest.raises(ValueError, match=rf"^config\.{path} is missing$"):
        from_dict(Config, values)


def test_flatten_names_every_field():
    flat = flatten(Config())
    assert flat.keys() == FIELDS.keys()
    assert all(flat[path] == get_field(Config(), path) for path in flat)


def changed(value):
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case tuple():
            return (*value, 1)
        case None:
            return 1


@pytest.mark.parametrize("path", list(FIELDS))
def test_differences_names_what_changes_a_result_and_nothing_else(path):
    old = Config()
    value = changed(get_field(old, path))
    lines = differences(old, config_with(path, value))
    if path.startswith(("machine.", "checkpoint.")):
        assert lines == []
    else:
        assert lines == [f"{path}: {get_field(old, path)} -> {value}"]


def test_differences_has_a_line_for_each_change():
    new = config_with("train.epochs", 3)
    new.machine.num_threads = 7
    new.model.norm = "none"
    assert sorted(differences(Config(), new)) == ["model.norm: batch -> none", "train.epochs: 16 -> 3"]


def test_overrides_make_another_config_and_leave_the_first():
    config = mnist.get_config()
    made = overridden(config, {"train.epochs": 3, "model.norm": "none", "seed": 7})
    assert sorted(differences(config, made)) == ["model.norm: batch -> none", "seed: 0 -> 7", "train.epochs: 16 -> 3"]
    assert config == mnist.get_config()


@pytest.mark.parametrize(("path", "value", "said"), [("train.epoch", 3, "not a field"), ("train.epochs", "3", "int")])
def test_an_override_that_does_not_fit_is_refused(path, value, said):
    with pytest.raises(ValueError, match=rf"^config.{path} .*{said}"):
        overridden(Config(), {path: value})
