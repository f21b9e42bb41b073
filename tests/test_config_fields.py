"""A config survives JSON; flatten, differences and overrides see every field."""

import dataclasses
import json
import re

import jaxtyping
import pytest

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.config_fields import differences, flatten, from_dict, get_field, overridden
from fcn_jax.nets.families import FCN, NIN, ConvNeXt, ResNet
from tests.test_config_rules import FIELDS, config_with


@pytest.fixture
def unchecked():
    """As users run it: without the type checks of the tests, which would refuse a mistyped field first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def as_json(config: Config) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(config)))


@pytest.mark.parametrize(
    "config", [Config(model=FCN()), mnist.get_config("tiny"), config_with("data.min_side", 12), Config(model=NIN())]
)
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
    values = as_json(Config(model=FCN()))
    (values[part] if part else values)[name] = value
    with pytest.raises(ValueError, match=r"^config\.") as error:
        from_dict(Config, values)
    assert str(error.value) == message


@pytest.mark.parametrize("path", ["seed", "train", "train.epochs", "data.augment.flip", "data.min_side"])
def test_a_missing_field_is_refused_by_name(path):
    values = as_json(Config(model=FCN()))
    *parents, name = path.split(".")
    inner = values
    for parent in parents:
        inner = inner[parent]
    del inner[name]
    with pytest.raises(ValueError, match=rf"^config\.{path} is missing$"):
        from_dict(Config, values)


def test_flatten_names_every_field():
    flat = flatten(Config(model=FCN()))
    assert flat.keys() == FIELDS.keys()
    assert all(flat[path] == get_field(Config(model=FCN()), path) for path in flat)


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
    old = Config(model=FCN())
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
    assert sorted(differences(Config(model=FCN()), new)) == ["model.norm: batch -> none", "train.epochs: 16 -> 3"]


def test_overrides_make_another_config_and_leave_the_first():
    config = mnist.get_config()
    made = overridden(config, {"train.epochs": 3, "model.norm": "none", "seed": 7})
    assert sorted(differences(config, made)) == ["model.norm: batch -> none", "seed: 0 -> 7", "train.epochs: 16 -> 3"]
    assert config == mnist.get_config()


@pytest.mark.parametrize(("path", "value", "said"), [("train.epoch", 3, "not a field"), ("train.epochs", "3", "int")])
def test_an_override_that_does_not_fit_is_refused(path, value, said):
    with pytest.raises(ValueError, match=rf"^config.{path} .*{said}"):
        overridden(Config(model=FCN()), {path: value})


def test_another_family_comes_first_with_its_own_defaults_and_the_number_of_classes():
    base = overridden(Config(model=FCN()), {"model.num_classes": 7, "model.channels": (4, 4), "model.norm": "group"})
    made = overridden(base, {"model.blocks": (1, 1), "model.name": "resnet", "model.channels": (8, 8)})
    assert made.model == ResNet(num_classes=7, channels=(8, 8), blocks=(1, 1))
    assert overridden(base, {"model.name": "fcn"}) == base


def test_a_field_of_another_family_is_refused_with_those_of_its_own():
    with pytest.raises(
        ValueError, match=r"^config\.model\.bidirectional is not a field of resnet; lstm has it"
    ) as error:
        overridden(Config(model=ResNet()), {"model.bidirectional": True})
    own = str(error.value).partition("resnet has: ")[2].split(", ")
    assert own == [item.name for item in dataclasses.fields(ResNet)]


def test_of_another_family_the_name_and_what_both_have_differ():
    old, new = Config(model=FCN()), Config(model=ConvNeXt(channels=(32, 64, 128)))
    lines = ["model.name: fcn -> convnext", "model.norm: batch -> layer", "model.kernel: (4,) -> (7,)"]
    assert differences(old, new) == lines


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "vgg"}, "config.model.name is 'vgg', but it must be one of: resnet, "),
        ({"name": ["fcn"]}, "config.model.name is ['fcn'], but it must be one of: resnet, "),
        ({}, "config.model.name is missing"),
        (None, "config.model is None, but it must be an object"),
    ],
)
def test_json_of_no_family_is_refused(model, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_dict(Config, as_json(Config(model=FCN())) | {"model": model})
