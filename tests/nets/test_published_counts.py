"""Families that somebody published have as many parameters as theirs."""

import pytest

from fcn_jax.config import Config, ModelConfig
from fcn_jax.config_rules import validate
from fcn_jax.core.layers import count_parameters
from fcn_jax.nets.families import ConvNeXt, EfficientNet, ResNet
from fcn_jax.nets.model import abstract_model
from tests.made_models import model_of


def count(*, rank: int = 2, input_channels: int = 3, **fields) -> int:
    return count_of(model_of(**fields), rank=rank, input_channels=input_channels)


def count_of(model: ModelConfig, *, rank: int = 2, input_channels: int = 3) -> int:
    config = Config(model=model)
    config.data.channels = input_channels
    validate(config)
    return count_parameters(abstract_model(config, rank=rank))


def test_all_cnn_c():
    """1.37 M in the paper; by hand."""
    convolutions = [(27, 96), *[(864, 96)] * 2, (864, 192), *[(1728, 192)] * 3, (192, 192), (192, 10)]
    by_hand = sum(inputs * outputs + outputs for inputs, outputs in convolutions)
    assert count(name="all_cnn", channels=(96, 192), norm="none") == by_hand == 1_369_738


def test_nin():
    """About 0.97 M are said of it; by hand."""
    convolutions = [(75, 192), (192, 160), (160, 96), (2400, 192), *[(192, 192)] * 2]
    convolutions += [(1728, 192), (192, 192), (192, 10)]
    by_hand = sum(inputs * outputs + outputs for inputs, outputs in convolutions)
    channels = (192, 160, 96, *[192] * 5)
    assert count(name="nin", channels=channels, kernel=(5, 5, 3), norm="none") == by_hand == 966_986


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("atto", 3_708_400), ("femto", 5_233_240), ("pico", 9_066_280), ("nano", 15_623_800), ("tiny", 28_635_496)],
)
def test_convnext_v2(size, parameters):
    """timm's, at 1,000 classes; its cards give 3.7, 5.2, 9.1, 15.6 and 28.6 million."""
    assert count_of(ConvNeXt.of_size(size, response_norm=True, num_classes=1000)) == parameters


@pytest.mark.parametrize(("depth", "parameters"), [(18, 11_708_744), (50, 25_576_264)])
def test_resnet_d(depth, parameters):
    """timm's; its cards give 11.7 and 25.6 million."""
    fields = {"deep_stem": True, "stem_kernel": 3, "pool_shortcut": True, "num_classes": 1000}
    assert count_of(ResNet.of_depth(depth, **fields)) == parameters


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("b0", 5_288_548),
        ("b1", 7_794_184),
        ("b2", 9_109_994),
        ("b3", 12_233_232),
        ("b4", 19_341_616),
        ("lite0", 4_652_008),
    ],
)
def test_efficientnet(size, parameters):
    """Those of B0 to B4 are torchvision's; timm's cards give 5.3, 7.8, 9.1, 12.2, 19.3 and 4.7 million."""
    assert count_of(EfficientNet.of_size(size, num_classes=1000)) == parameters


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("atto", 3_695_520),
        ("femto", 5_217_784),
        ("pico", 9_045_672),
        ("nano", 15_593_560),
        ("tiny", 28_589_128),
        ("small", 50_223_688),
        ("base", 88_591_464),
    ],
)
def test_convnext(size, parameters):
    """timm's, at 1,000 classes; of those below tiny its cards give one decimal of a million, 3.7, 5.2, 9.0, 15.6."""
    assert count_of(ConvNeXt.of_size(size, num_classes=1000)) == parameters


def test_fcn1d():
    """Count by hand: convolutions without a bias, two numbers a channel of BatchNorm."""
    by_hand = 8 * 12 * 128 + 5 * 128 * 256 + 3 * 256 * 128 + 2 * (128 + 256 + 128) + 128 * 9 + 9
    fields = {"channels": (128, 256, 128), "kernel": (8, 5, 3), "num_classes": 9}
    assert count(name="fcn1d", rank=1, input_channels=12, **fields) == by_hand == 276_617


def test_tacotron2_encoder():
    """Count by hand; the first convolution sees the 512 channels that the embedding of characters has in the paper."""
    lstm = 2 * 4 * 256 * (512 + 256 + 1)
    by_hand = 3 * (5 * 512 * 512 + 2 * 512) + lstm + 512 * 10 + 10
    fields = {"channels": (512, 512, 512), "kernel": (5,)}
    assert count(name="tacotron2_encoder", rank=1, input_channels=512, **fields) == by_hand == 5_515_274


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_lstm(bidirectional):
    """Four gates, each with its kernel, recurrent kernel and one bias (PyTorch has two)."""
    ways = 2 if bidirectional else 1
    by_hand = ways * 4 * 64 * (12 + 64 + 1) + ways * 4 * 64 * (ways * 64 + 64 + 1) + ways * 64 * 10 + 10
    assert count(name="lstm", rank=1, input_channels=12, channels=(64, 64), bidirectional=bidirectional) == by_hand


def test_wavenet():
    """Count by hand: the first convolution, gates, skips, residuals of all blocks but the last, and the end."""
    gates, skips, residuals = 3 * (2 * 16 * 32 + 32), 3 * (16 * 24 + 24), 2 * (16 * 16 + 16)
    by_hand = 2 * 12 * 16 + 16 + gates + skips + residuals + 24 * 24 + 24 + 24 * 10 + 10
    fields = {"channels": (16, 24), "kernel": (2,), "dilation": (1, 2, 4)}
    assert count(name="wavenet", rank=1, input_channels=12, **fields) == by_hand
