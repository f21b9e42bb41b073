"""The convolutions of a net are found in its program, and each is computed in the way that was measured."""

import dataclasses

import jax.numpy as jnp
import pytest
from flax import nnx

from configs import mnist
from fcn_jax.config import Config
from fcn_jax.core.convolution import Convolution
from fcn_jax.core.geometry import Window
from fcn_jax.nets.families import FCN, FCN1D, ResNet
from fcn_jax.nets.model import abstract_model, way_name
from fcn_jax.train import convolution_ways
from fcn_jax.train.convolution_ways import Case, convolutions_of, with_measured_ways
from fcn_jax.train.setup import prepare


def test_every_convolution_is_found_once_with_the_largest_block_that_reaches_it():
    config = Config(model=FCN(num_classes=10, channels=(8, 16), kernel=(4, 3), stride=(2, 1)))
    found = convolutions_of(config, [(4, (20, 8)), (6, (20, 20)), (140, (4, 4))])
    assert found == [
        Case(6, (20, 20), (1, 8), Window(4, stride=2, padding=1)),
        Case(6, (10, 10), (8, 16), Window(3, padding=1)),
        Case(6, (10, 10), (16, 10), Window(1)),
    ]


@pytest.mark.parametrize(
    ("config", "size"),
    [(Config(model=ResNet(channels=(8, 8), blocks=(1,))), (40, 40)), (Config(model=FCN1D(channels=(8, 8, 8))), (40,))],
    ids=["resnet", "signals"],
)
def test_the_ways_name_every_convolution_of_a_net(config, size):
    named = {way_name("direct", case.features, case.window) for case in convolutions_of(config, [(4, size)])}
    layers = [layer for _, layer in nnx.iter_graph(abstract_model(config, rank=len(size)))]
    for layer in layers:
        if isinstance(layer, Convolution) and layer.groups == 1:
            features = (layer.kernel.shape[-2], layer.kernel.shape[-1])
            assert way_name("direct", features, layer.window) in named


def patches_of(model) -> list[bool]:
    return [layer.patches for _, layer in nnx.iter_graph(model) if isinstance(layer, Convolution)]


def test_a_run_measures_once_and_computes_in_what_is_faster(monkeypatch, capsys):
    def made_up(case: Case, dtype=jnp.float32) -> dict[str, float]:
        return {"direct": 1.0, "patches": 0.5 if case.window.kernel == 1 else 2.0}

    monkeypatch.setattr(convolution_ways, "milliseconds_of_ways", made_up)
    config = mnist.get_config("tiny")
    config.model = dataclasses.replace(config.model, convolution="measured")
    chosen = prepare(config).config
    assert "1 are faster by patches" in capsys.readouterr().err
    assert len(chosen.model.convolution_ways) == len(config.model.channels) + 1
    model = abstract_model(chosen, rank=2)
    assert patches_of(model) == [
        layer.window.kernel == 1 for _, layer in nnx.iter_graph(model) if isinstance(layer, Convolution)
    ]
    monkeypatch.setattr(convolution_ways, "milliseconds_of_ways", None)  # Nobody asks a second time.
    assert prepare(chosen).config.model.convolution_ways == chosen.model.convolution_ways


def test_both_ways_are_timed(monkeypatch):
    monkeypatch.setattr(convolution_ways, "SECONDS_OF_A_ROUND", 0)
    config = Config(model=FCN(num_classes=3, channels=(4,), kernel=(3,), stride=(1,)))
    measured = with_measured_ways(config, [(2, (6, 6))])
    assert [way.partition(":")[0] in ("direct", "patches") for way in measured.model.convolution_ways] == [True, True]
