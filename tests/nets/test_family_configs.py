"""The launch config of every family keeps the rules, whole and shrunk, and its net takes the sizes of its data."""

import re
from pathlib import Path

import pytest

from configs import all_cnn, convnext, dense, efficientnet, fcn1d, flatten, lstm, mlp, nin, tacotron2_encoder, wavenet
from fcn_jax.config import FAMILIES
from fcn_jax.config_rules import validate
from fcn_jax.nets.model import smallest_input, trace_shapes

CONFIGS = {
    "all_cnn": (all_cnn, (20, 16), 1),
    "nin": (nin, (20, 16), 1),
    "convnext": (convnext, (64, 49), 32),
    "efficientnet": (efficientnet, (64, 49), 1),
    "fcn1d": (fcn1d, (7,), 1),
    "wavenet": (wavenet, (7,), 1),
    "lstm": (lstm, (7,), 1),
    "tacotron2_encoder": (tacotron2_encoder, (7,), 1),
    "mlp": (mlp, (20, 20), 20),
    "flatten": (flatten, (20, 20), 16),
    "dense": (dense, (7,), 1),
}


def test_every_family_has_a_config():
    assert {*CONFIGS, "fcn", "resnet"} == {*FAMILIES}


@pytest.mark.parametrize("is_tiny", [False, True], ids=["whole", "tiny"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_keeps_the_rules_and_its_net_takes_its_sizes(name, is_tiny):
    module, size, smallest = CONFIGS[name]
    shrunk = {"convnext": "atto,tiny", "efficientnet": "b0,tiny"}.get(name, "tiny")
    config = module.get_config(shrunk if is_tiny else "")
    validate(config)
    assert config.model.name == name
    assert smallest_input(config) == smallest
    *_, logits = trace_shapes(config, size)
    assert logits.channels == config.model.num_classes
    assert sum(record.parameters for record in trace_shapes(config, size)) < (150_000 if is_tiny else 30_000_000)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_launch_command_names_its_own_file(name):
    module, _, _ = CONFIGS[name]
    assert set(re.findall(r"--config=configs/(\w+)\.py", module.__doc__)) == {Path(module.__file__).stem}


def test_an_unknown_preset_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"one of atto, femto, pico, nano, tiny, small, base, not 'huge'"):
        convnext.get_config("huge")
    with pytest.raises(ValueError, match=r"one of b0, b1, b2, b3, b4, lite0, not 'huge'"):
        efficientnet.get_config("huge")
