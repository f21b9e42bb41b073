"""Every bad value is refused by name, with the rule."""

import dataclasses
import math
import typing

import pytest

from configs import mnist
from fcn_jax.config import Config, ModelConfig
from fcn_jax.config_fields import get_field
from fcn_jax.config_rules import validate
from fcn_jax.nets.families import FCN, ConvNeXt


def config_with(path: str, value, model: ModelConfig | None = None) -> Config:
    config = Config(model=model or FCN())
    *parents, name = path.split(".")
    setattr(get_field(config, ".".join(parents)) if parents else config, name, value)
    return config


def fields(config, prefix: str = "") -> dict[str, object]:
    """{'train.epochs': int, ...}"""
    found = {}
    for name, hint in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        if typing.get_origin(hint) is typing.ClassVar:
            continue
        found.update(fields(value, f"{prefix}{name}.") if dataclasses.is_dataclass(value) else {prefix + name: hint})
    return found


FIELDS = fields(Config(model=FCN()))
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
        ("model.channels", (32, -64, 128), "between 1 and"),
        ("model.channels", (0,), "between 1 and"),
        ("model.channels", (2**21,), "between 1 and"),
        ("data.max_megapixels", 1e308, "between 0 and"),
        ("schedule.examples_per_step", 2**63, "between 1 and"),
        ("train.epochs", 2**31, "between 1 and"),
        ("train.stage_shares", (1e308, 1e308), "between 1e-06 and"),
        ("model.channels", (), "at least one layer"),
        ("model.stride", (0,), "between 1 and"),
        ("model.stride", (2, 2, 0), "between 1 and"),
        ("model.kernel", (0,), "between 1 and"),
        ("model.dilation", (0,), "between 1 and"),
        ("model.padding", (-1,), "between 0 and"),
        ("model.adaptive_pool", -1, "between 0 and"),
        ("model.norm", "bacth", "one of: batch, group, layer, none"),
        ("model.head", "mean", "one of: average, average_last"),
        ("model.name", "resnet", "config.model is the config of fcn"),
        ("model.dtype", "float16", "one of: float32, bfloat16"),
        ("model.convolution", "fft", "one of: auto, direct, patches"),
        ("model.num_classes", 1, "between 2 and"),
        ("model.group_size", 0, "between 1 and"),
        ("model.norm_momentum", 1.5, "between 0 and 1"),
        ("schedule.kind", "stratifed", "one of: stratified, bucketed"),
        ("schedule.max_buckets", -1, "between 0 and"),
        ("schedule.multiple_of", 0, "between 1 and"),
        ("schedule.examples_per_step", 0, "between 1 and"),
        ("schedule.rows_multiple_of", 0, "between 1 and"),
        ("schedule.num_programs", -1, "between 0 and"),
        ("train.optimizer", "adam", "one of: adamw, sgd"),
        ("train.epochs", 0, "between 1 and"),
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
        ("evaluate.examples_per_step", 0, "between 1 and"),
        ("checkpoint.every_steps", -1, "at least 0"),
        ("checkpoint.every_steps", 0, "set config.checkpoint.every_minutes=10"),
        ("machine.num_threads", -1, "between 0 and"),
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


def test_what_is_frozen_is_a_regular_expression():
    validate(config_with("train.freeze", "^net/layers/"))
    assert refusal(config_with("train.freeze", "(")).startswith("config.train.freeze is '(', which is no regular")


@pytest.mark.parametrize("model", [FCN(norm="group"), FCN(norm="none"), ConvNeXt()])
def test_precise_statistics_ask_for_a_batch_norm(model):
    config = config_with("train.precise_batch_norm", True)
    validate(config)
    config.model = model
    found = f"config.train.precise_batch_norm is True, but config.model.norm={model.norm} keeps no statistics"
    assert refusal(config).startswith(found)


@pytest.mark.parametrize("path", ["data.mean", "data.std"])
def test_a_statistic_has_one_value_or_one_for_every_channel(path):
    config = config_with(path, (0.5, 0.5))
    assert refusal(config) == f"config.{path} has 2 values, but it must have 1 or 1"
    config.data.channels = 2
    validate(config)
    config.data.channels = 3
    assert refusal(config) == f"config.{path} has 2 values, but it must have 1 or 3"


@pytest.mark.parametrize("path", ["schedule.examples_per_step", "evaluate.examples_per_step"])
def test_any_number_of_examples_is_a_step(path):
    config = config_with(path, 101)
    config.schedule.rows_multiple_of = 8
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
    first, second = Config(model=FCN()), Config(model=FCN())
    first.data.augment.rotate = 5.0
    first.train.epochs = 1
    assert second == Config(model=FCN())
    assert second.train.epochs != 1
