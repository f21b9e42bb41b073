"""Real nets of timm and torchvision, shaken, and ours with their weights: the same logits to 1e-4."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch_file

from configs.convnext import get_config
from fcn_jax.config import Config
from fcn_jax.nets.families import ConvNeXt
from fcn_jax.nets.model import abstract_model, make_model
from fcn_jax.nets.pretrained import check_tensors, load_pretrained, published_places
from tests.core.padding import alone
from tests.interop.theirs import golden_net, logits_of, save, shake
from tests.nets import golden_nets as ours
from tests.nets.golden_nets import GOLDEN, NETS

SIZES = ((64, 64), (64, 96), (75, 101))


def resnet(*blocks: int, bottleneck: bool = False, squeeze_excite: bool = False) -> Config:
    return ours.resnet(
        channels=(64, 128, 256, 512), blocks=blocks, bottleneck=bottleneck, squeeze_excite=squeeze_excite
    )


def convnext(width: int, *blocks: int) -> Config:
    return ours.convnext(channels=tuple(width * 2**stage for stage in range(4)), blocks=blocks)


PUBLISHED = {
    "timm resnet18": (timm.models.resnet18, resnet(2, 2, 2, 2)),
    "timm resnet34": (timm.models.resnet34, resnet(3, 4, 6, 3)),
    "timm resnet50": (timm.models.resnet50, resnet(3, 4, 6, 3, bottleneck=True)),
    "timm seresnet18": (timm.models.seresnet18, resnet(2, 2, 2, 2, squeeze_excite=True)),
    "timm seresnet50": (timm.models.seresnet50, resnet(3, 4, 6, 3, bottleneck=True, squeeze_excite=True)),
    "torchvision resnet18": (torchvision.models.resnet18, resnet(2, 2, 2, 2)),
    "torchvision resnet50": (torchvision.models.resnet50, resnet(3, 4, 6, 3, bottleneck=True)),
    "timm convnext_atto": (timm.models.convnext_atto, convnext(40, 2, 2, 6, 2)),
    "timm convnext_nano": (timm.models.convnext_nano, convnext(80, 2, 2, 8, 2)),
    "timm convnext_tiny": (timm.models.convnext_tiny, convnext(96, 3, 3, 9, 3)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_logits_are_those_of_the_published_net(name, tmp_path):
    make, config = PUBLISHED[name]
    theirs = shake(make())
    save(theirs, tmp_path / "weights.safetensors")
    config.model.num_classes, config.model.init_from = 1000, str(tmp_path / "weights.safetensors")
    model = make_model(config, rank=2)
    assert "newly drawn" not in load_pretrained(model, config.model)
    images = ours.make_images(SIZES)
    expected = [logits_of(theirs, image) for image in images]
    found = ours.logits_of(model, alone(images, np.random.default_rng(0)))
    worst, spread = np.abs(np.subtract(found, expected)).max(), np.std(expected)
    print(f"{name}: {worst:.1e} at most, of logits that spread by {spread:.2f}")
    assert worst < 1e-4
    assert np.ptp(expected, axis=0).max() > 0.1


@pytest.mark.parametrize("preset", ConvNeXt.SIZES)
def test_every_preset_has_the_names_and_shapes_of_timms(preset):
    config = get_config(preset)
    with torch.device("meta"):
        theirs = timm.create_model(f"convnext_{preset}").state_dict()
    net = abstract_model(config, rank=2).net
    places, classifier = published_places(net, "convnext", config.model.blocks)
    tensors = {name: np.broadcast_to(np.float32(0), tensor.shape) for name, tensor in theirs.items()}
    check_tensors(tensors, places | classifier, Path(preset))


@pytest.mark.parametrize("name", NETS)
def test_golden_files_say_what_timm_says(name):
    net = golden_net(name)
    net.load_state_dict(load_torch_file(GOLDEN / f"{name}.safetensors"))
    golden = load_file(GOLDEN / "expected.safetensors")
    for number in range(len(ours.SIZES)):
        found = logits_of(net.eval(), golden[f"image.{number}"])
        np.testing.assert_allclose(found, golden[f"{name}.{number}"], rtol=0, atol=1e-5)


def test_everything_that_is_published_was_shaken():
    for tensor in shake(timm.models.resnet18()).state_dict().values():
        assert tensor.ndim == 0 or not torch.isin(tensor, torch.tensor([0.0, 1.0])).all()
