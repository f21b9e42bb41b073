"""A data set makes blocks of a source: the right pixels in the right place, and what a config may ask for."""

import numpy as np
import pytest

from fcn_jax.config import Config
from fcn_jax.core.schedule import FILLER
from fcn_jax.data.dataset import open_dataset
from fcn_jax.data.sources import open_source
from fcn_jax.nets.families import FCN
from fcn_jax.train.setup import prepare
from tests.data.made import BACKGROUND, SMALLEST, Signals, assert_same, dataset, mnist, strong_motion, with_data

# Blocks


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_a_block_holds_the_source_image_and_zeros_outside(cache_bytes):
    source = mnist("test[:400]")
    data = dataset(source, cache_bytes=cache_bytes)
    narrow = np.flatnonzero(source.sizes.min(1) < SMALLEST)
    index = np.array([5, *narrow[:3], 399, 0])
    assert len(narrow) >= 3
    for _ in range(2):
        block = data.block(index, (24, 22), epoch=0)
        assert block.image.shape == (len(index), 24, 22, 1)
        assert block.image.dtype == np.uint8
        for row, example in enumerate(index):
            image = source.read(int(example))
            height, width, _ = image.shape
            assert source.sizes[example].tolist() == [height, width]
            top, left = (max(0, SMALLEST - height) // 2, max(0, SMALLEST - width) // 2)
            expected = np.zeros((24, 22, 1), np.uint8)
            expected[: max(height, SMALLEST), : max(width, SMALLEST)] = BACKGROUND
            expected[top : top + height, left : left + width] = image
            assert (block.image[row] == expected).all()
            assert block.size[row].tolist() == [max(height, SMALLEST), max(width, SMALLEST)]
        assert block.label.tolist() == source.labels[index].tolist()
        assert block.weight.tolist() == [1] * len(index)
        assert block.index.tolist() == index.tolist()


def test_filler_rows_are_zero():
    data = dataset(mnist("test[:400]"), motion=strong_motion())
    block = data.block(np.array([FILLER, 3, FILLER, 399]), (24, 24), epoch=0)
    assert block.weight.tolist() == [0, 1, 0, 1]
    assert block.index.tolist() == [-1, 3, -1, 399]
    assert not block.image[[0, 2]].any()
    assert not block.size[[0, 2]].any()
    assert not block.label[[0, 2]].any()
    assert block.image[1].any()
    assert block.image[3].any()
    assert {array.dtype.name for array in (block.size, block.label, block.index)} == {"int32"}
    assert block.weight.dtype == np.float32


def test_a_block_of_filler_alone_keeps_its_shape():
    block = dataset(mnist("test[:400]")).block(np.array([FILLER] * 4), (20, 12), epoch=0)
    assert block.image.shape == (4, 20, 12, 1)
    assert not block.image.any()
    assert not block.weight.any()


def test_a_block_of_signals_has_one_axis():
    block = dataset(Signals(20)).block(np.array([0, FILLER, 6]), (10,), epoch=0)
    assert block.image.shape == (3, 10, 2)
    assert block.size.tolist() == [[8], [0], [9]]
    assert block.image[0, :, 1].tolist() == [37, 37, 1, 1, 1, 37, 37, 37, 0, 0]
    assert block.image[2, :, 0].tolist() == [7] * 9 + [0]
    assert dataset(Signals(20)).rank == 1


def test_an_example_looks_the_same_in_any_block():
    source = mnist("test[:400]")
    one = dataset(source, motion=strong_motion()).block(np.array([7, 300, FILLER]), (24, 24), epoch=4)
    other = dataset(source, motion=strong_motion(), cache_bytes=0)
    for _ in range(2):
        block = other.block(np.array([FILLER, 12, 300, 5, 7]), (28, 26), epoch=4)
        assert (block.image[4, :24, :24] == one.image[0]).all()
        assert (block.image[2, :24, :24] == one.image[1]).all()
        assert not block.image[:, 24:].any()
        assert not block.image[:, :, 24:].any()


def test_an_example_looks_different_in_every_epoch_and_run():
    source, index = mnist("test[:400]"), np.array([7])
    data = dataset(source, motion=strong_motion())
    blocks = [data.block(index, (24, 24), epoch=epoch) for epoch in (0, 1, 2)]
    blocks.append(dataset(source, motion=strong_motion(seed=1)).block(index, (24, 24), epoch=0))
    assert len({block.image.tobytes() for block in blocks}) == 4
    assert len({block.size.tobytes() for block in blocks}) == 1


def test_augmentation_stays_inside_the_true_size():
    source = mnist("test[:400]")
    block = dataset(source, motion=strong_motion()).block(np.arange(64), (28, 28), epoch=0)
    for row, (height, width) in enumerate(block.size):
        assert not block.image[row, height:].any()
        assert not block.image[row, :, width:].any()
    plain = dataset(source).block(np.arange(64), (28, 28), epoch=0)
    assert (block.size == plain.size).all()
    assert all((block.image[row] != plain.image[row]).any() for row in range(64))


def test_only_training_augments():
    config = Config(model=FCN())
    config.data.augment.rotate = 20.0
    index, canvas = np.arange(8), (28, 28)
    training, evaluation = (
        open_dataset(config, "test[:64]", smallest_input=SMALLEST, training=training).block(index, canvas, epoch=0)
        for training in (True, False)
    )
    plain = open_dataset(Config(model=FCN()), "test[:64]", smallest_input=SMALLEST, training=False).block(
        index, canvas, epoch=0
    )
    assert_same(evaluation, plain)
    assert (training.image != plain.image).any()


def test_an_example_larger_than_its_canvas_is_an_error():
    data = dataset(mnist("test[:400]"))
    with pytest.raises(ValueError, match="broadcast"):
        data.block(np.array([0]), (10, 28), epoch=0)


# What a config may ask for


def test_min_side_zero_refuses_the_first_narrow_example_by_name():
    config = Config(model=FCN())
    config.data.min_side = 0
    source = mnist("test")
    narrow = np.flatnonzero(source.sizes.min(1) < SMALLEST)
    height, width = source.sizes[narrow[0]]
    with pytest.raises(ValueError, match=r"config\.data\.min_side=0") as error:
        open_dataset(config, "test", smallest_input=SMALLEST, training=False)
    message = str(error.value)
    assert message.startswith(f"{source.name(int(narrow[0]))} has size {height}×{width}, ")
    assert message.split(" has size")[0].endswith(f"test #{narrow[0]}")
    assert f"({len(narrow)} such examples)" in message
    assert message.endswith(f"leave out config.data.min_side, or set config.data.min_side={SMALLEST} or more")
    config.data.min_side = SMALLEST - 1
    with pytest.raises(ValueError, match=r"config\.data\.min_side=7"):
        open_dataset(config, "test", smallest_input=SMALLEST, training=False)


@pytest.mark.parametrize(("min_side", "smallest"), [(None, SMALLEST), (8, 8), (12, 12)])
def test_min_side_widens(min_side, smallest):
    config = Config(model=FCN())
    config.data.min_side = min_side
    data = open_dataset(config, "test[:400]", smallest_input=SMALLEST, training=False)
    assert data.views.sizes(0).tolist() == np.maximum(mnist("test[:400]").sizes, smallest).tolist()


def test_the_config_reaches_the_images():
    config = Config(model=FCN())
    config.data.background = BACKGROUND
    config.data.min_side = 40
    config.data.channels = 3
    config.data.augment.shift = 3.0
    data = open_dataset(config, "test[:64]", smallest_input=SMALLEST, training=True)
    still = open_dataset(config, "test[:64]", smallest_input=SMALLEST, training=False)
    image, moved = (one.block(np.array([0]), (40, 40), epoch=0).image[0] for one in (still, data))
    assert (image[0] == BACKGROUND).all()
    assert (image == image[..., :1]).all()
    assert (moved != image).any()
    assert (moved[[0, -1]] == BACKGROUND).all()


def test_size_changes_reach_the_blocks_of_training_alone():
    config = Config(model=FCN())
    config.data.augment.scale = (0.5, 2.0)
    config.data.augment.brightness = 0.5
    training, evaluation = (
        open_dataset(config, "test[:64]", smallest_input=SMALLEST, training=training, scale=lambda _: 1.5)
        for training in (True, False)
    )
    expected = np.maximum(np.rint(1.5 * mnist("test[:64]").sizes), SMALLEST)
    assert (evaluation.views.sizes(0) == expected).all()
    block = training.block(np.arange(64), (64, 64), epoch=3)
    assert (block.size == training.views.sizes(3)).all()
    assert (block.size != expected).any()
    assert (training.views.sizes(3) != training.views.sizes(4)).any()


def test_changes_of_images_are_refused_for_signals(monkeypatch):
    monkeypatch.setattr("fcn_jax.data.dataset.open_data", lambda _: lambda _: Signals(20))
    config = with_data(source="some signals")
    config.model.num_classes = 2
    config.data.augment.scale = (0.5, 2.0)
    open_dataset(config, "train", smallest_input=SMALLEST, training=True)
    for name in ("rotate", "brightness", "aspect"):
        config = with_data(source="some signals")
        config.model.num_classes = 2
        setattr(config.data.augment, name, 0.5)
        with pytest.raises(ValueError, match=r"^config.data.augment changes what only images have, but some signals"):
            open_dataset(config, "train", smallest_input=SMALLEST, training=True)


@pytest.mark.parametrize("num_classes", [9, 11])
def test_another_number_of_classes_is_refused_with_the_remedy(num_classes):
    config = Config(model=FCN())
    config.model.num_classes = num_classes
    with pytest.raises(ValueError, match=f"^config.model.num_classes is {num_classes}, but ") as error:
        open_dataset(config, "test", smallest_input=SMALLEST, training=False)
    assert str(error.value).endswith("set config.model.num_classes=10")
    config.model.num_classes = 10
    open_dataset(config, "test", smallest_input=SMALLEST, training=False)


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match=r"^config\.data\.source is 'minst', but it must be one of: mnist_native, "):
        open_source(with_data(source="minst"), "train")


def test_a_number_of_channels_no_image_has_is_refused():
    with pytest.raises(ValueError, match=r"^config\.data\.channels is 2, but an image has 1 .* or 3"):
        open_source(with_data(channels=2), "test")


def test_max_buckets_zero_means_choose():
    config = Config(model=FCN())
    config.data.train_split = "train[:512]"
    config.schedule.max_buckets = 0
    prepare(config)
