"""Real nets of timm and torchvision, shaken, and ours with their weights: the same logits to 1e-4."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch_file
from torch import nn

from fcn_jax.config import Config
from fcn_jax.nets.families import ConvNeXt, EfficientNet, Published, ResNet
from fcn_jax.nets.model import abstract_model, make_model
from fcn_jax.nets.pretrained import check_tensors, load_pretrained, published_places
from tests.core.padding import alone
from tests.interop.theirs import golden_net, logits_of, save, shake
from tests.nets import golden_nets as ours
from tests.nets.golden_nets import GOLDEN, NETS

SIZES = ((64, 64), (64, 96), (75, 101))


VARIANT_D: dict[str, Any] = {"deep_stem": True, "stem_kernel": 3, "pool_shortcut": True}
TENSORFLOW: dict[str, Any] = {"padding": "same", "norm_epsilon": 1e-3}
TIMM: dict[str, Published] = {
    "resnet18": ResNet.of_depth(18),
    "resnet34": ResNet.of_depth(34),
    "resnet50": ResNet.of_depth(50),
    "seresnet18": ResNet.of_depth(18, squeeze_excite=True),
    "seresnet50": ResNet.of_depth(50, squeeze_excite=True),
    "resnet18d": ResNet.of_depth(18, **VARIANT_D),
    "resnet50d": ResNet.of_depth(50, **VARIANT_D),
    **{f"convnext_{size}": ConvNeXt.of_size(size) for size in ConvNeXt.SIZES},
    **{f"convnextv2_{size}": ConvNeXt.of_size(size, response_norm=True) for size in ConvNeXt.SIZES},
    **{f"efficientnet_{size}": EfficientNet.of_size(size) for size in EfficientNet.SIZES},
    **{f"tf_efficientnet_{size}": EfficientNet.of_size(size, **TENSORFLOW) for size in EfficientNet.SIZES},
}
"""{name of a net of timm: config of the same net here}"""
COMPARED = [
    *("resnet18", "resnet34", "resnet50", "seresnet18", "seresnet50", "resnet18d", "resnet50d"),
    *("convnext_atto", "convnext_nano", "convnext_tiny", "convnextv2_atto", "convnextv2_tiny"),
    *("efficientnet_b0", "efficientnet_lite0", "tf_efficientnet_b0", "tf_efficientnet_b4", "tf_efficientnet_lite0"),
]
PUBLISHED: dict[str, tuple[Callable[[], nn.Module], Published]] = {
    **{f"timm {name}": (partial(timm.create_model, name), TIMM[name]) for name in COMPARED},
    "torchvision resnet18": (torchvision.models.resnet18, ResNet.of_depth(18)),
    "torchvision resnet50": (torchvision.models.resnet50, ResNet.of_depth(50)),
}


def config_of(model: Published, **fields: Any) -> Config:
    return ours.photographs(replace(model, num_classes=1000, **fields))


@pytest.mark.parametrize("name", PUBLISHED)
def test_logits_are_those_of_the_published_net(name, tmp_path):
    make, published = PUBLISHED[name]
    # Squeeze-and-excitation halves what passes through it.
    halves = isinstance(published, EfficientNet) and published.squeeze_excite
    theirs = shake(make(), gain=2.6 if halves else 1.5)
    save(theirs, tmp_path / "weights.safetensors")
    config = config_of(published, init_from=str(tmp_path / "weights.safetensors"))
    model = make_model(config, rank=2)
    assert "newly drawn" not in load_pretrained(model, config.model)
    images = ours.make_images(SIZES)
    expected = [logits_of(theirs, image) for image in images]
    found = ours.logits_of(model, alone(images, np.random.default_rng(0)))
    worst, spread = np.abs(np.subtract(found, expected)).max(), np.std(expected)
    print(f"{name}: {worst:.1e} at most, of logits that spread by {spread:.2f}")
    assert worst < 1e-4
    assert np.ptp(expected, axis=0).max() > 0.1


@pytest.mark.parametrize("name", [name for name in TIMM if name not in COMPARED])
def test_every_preset_has_the_names_and_shapes_of_timms(name):
    config = config_of(TIMM[name])
    with torch.device("meta"):
        theirs = timm.create_model(name).state_dict()
    places, classifier = published_places(abstract_model(config, rank=2).net, TIMM[name])
    counts = "num_batches_tracked"
    tensors = {k: np.broadcast_to(np.float32(0), t.shape) for k, t in theirs.items() if not k.endswith(counts)}
    check_tensors(tensors, places | classifier, Path(name))


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
