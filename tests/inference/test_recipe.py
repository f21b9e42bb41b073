"""A file becomes what evaluation makes of it, and a size that the net does not take is refused."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.dataset import open_dataset
from fcn_jax.inference.inputs import recipe_of
from tests.data.conftest import picture
from tests.inference.made import small_config

SMALLEST = 6


@pytest.mark.parametrize(
    ("resize", "scale", "min_side", "size"),
    [("none", 1.0, None, (5, 30)), ("area:9", 1.5, 12, (40, 20)), ("square:10", 0.5, None, (7, 30))],
)
def test_a_file_is_read_as_in_evaluation(tmp_path, resize, scale, min_side, size):
    config = small_config(data_channels=3, num_classes=2)
    config.data.resize, config.data.min_side, config.data.background = resize, min_side, 77
    config.evaluate.scale, config.data.source = scale, f"folder:{tmp_path}"
    paths = [
        picture(tmp_path / f"{split}/{name}/0.png", size) for split in ("train", "validation", "test") for name in "ab"
    ]
    dataset = open_dataset(config, "train", smallest_input=SMALLEST, training=False, scale=lambda _: scale)
    block = dataset.block(np.array([0]), (64, 64), epoch=0)
    read = recipe_of(config, rank=2, smallest_side=SMALLEST, largest_side=None).read(str(paths[0]))
    height, width = block.size[0]
    assert read.size == size
    np.testing.assert_array_equal(read.views[0], block.image[0, :height, :width])


def test_signals_are_read_with_their_channels(tmp_path):
    values = np.random.default_rng(0).normal(size=(9, 12)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", values, 100, subtype="FLOAT")
    recipe = recipe_of(small_config(data_channels=12), rank=1, smallest_side=1, largest_side=None)
    read = recipe.read(str(tmp_path / "a.wav"))
    assert read.size == (9,)
    np.testing.assert_array_equal(read.views[0], values)


@pytest.mark.parametrize(
    ("smallest", "largest", "said"),
    [
        (8, None, "it is 7×12 to the net, which takes sides of at least 8 only"),
        (12, 12, "it is 7×12 to the net, which takes sides of 12 only"),
        (1, 9, "it is 7×12 to the net, which takes sides of at least 1 and at most 9 only"),
    ],
)
def test_a_size_that_the_net_does_not_take_is_refused(tmp_path, smallest, largest, said):
    config = small_config()
    config.data.min_side = 0
    path = picture(tmp_path / "a.png", (7, 12))
    with pytest.raises(BadExampleError) as error:
        recipe_of(config, rank=2, smallest_side=smallest, largest_side=largest).read(str(path))
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("rank", 3, "rank is 3"),
        ("resize", "tall:3", "'tall:3'"),
        ("pixel_range", "9,1", "config.data.pixel_range is '9,1'"),
        ("smallest_side", 0, "smallest_side is 0"),
        ("scale", 0.0, "scale is 0.0"),
        ("background", 300, "background is 300"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_named(field, value, said):
    recipe = recipe_of(small_config(), rank=2, smallest_side=8, largest_side=None)
    recipe.check()
    with pytest.raises(ValueError) as error:  # noqa: PT011
        replace(recipe, **{field: value}).check()
    assert said in str(error.value)
