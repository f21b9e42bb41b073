"""From a source to blocks: the right pixels in the right place, the right splits, the same steps on resume."""

import re
import time
from functools import cache
from typing import ClassVar

import jax
import numpy as np
import pytest

from fcn_jax.config import AugmentConfig, Config
from fcn_jax.data.bad_examples import BadExamples
from fcn_jax.data.buckets import BucketPlan, plan_buckets
from fcn_jax.data.dataset import Dataset, open_dataset
from fcn_jax.data.embedded_source import EmbeddedSource
from fcn_jax.data.layout import bucketed_layout, stratified_layout
from fcn_jax.data.loader import Loader
from fcn_jax.data.schedule import FILLER, Schedule
from fcn_jax.data.sources import Source, open_source
from fcn_jax.data.transforms import Augment, Resize
from fcn_jax.train.setup import prepare

SMALLEST = 8
BACKGROUND = 37


@cache
def mnist(split: str) -> Source:
    return open_source(Config(), split)


class Signals:
    """A made-up source of rank 1: signal i has length 3 + i % 7."""

    label_names = ("even", "odd")
    bad: ClassVar[dict[str, str]] = {}

    def __init__(self, count: int, *, seconds_to_read: float = 0.0):
        self.sizes = (3 + np.arange(count) % 7)[:, None]
        self.labels = np.arange(count) % 2
        self._seconds = seconds_to_read

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        time.sleep(self._seconds)
        return np.full((int(self.sizes[index, 0]), 2), 1 + index % 255, np.uint8)

    def name(self, index: int) -> str:
        return f"signal {index}"


def dataset(source: Source, *, cache_bytes: int = 2**20, augment: Augment | None = None) -> Dataset:
    return Dataset(
        source,
        resize=Resize("none"),
        min_side=SMALLEST,
        background=BACKGROUND,
        bad=BadExamples("train", len(source), max_fraction=0.0),
        channels=source.read(0).shape[-1],
        cache_bytes=cache_bytes,
        augment=augment,
    )


def with_data(**fields) -> Config:
    config = Config()
    for name, value in fields.items():
        setattr(config.data, name, value)
    return config


def strong_augment(seed: int = 0) -> Augment:
    return Augment(AugmentConfig(rotate=20.0, scale=0.2, shift=2.0), seed=seed, background=BACKGROUND)


def assert_same(block, other):
    for name in ("image", "size", "label", "weight", "index"):
        array, other_array = getattr(block, name), getattr(other, name)
        assert array.dtype == other_array.dtype, name
        assert np.array_equal(array, other_array), name


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
    data = dataset(mnist("test[:400]"), augment=strong_augment())
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
    one = dataset(source, augment=strong_augment()).block(np.array([7, 300, FILLER]), (24, 24), epoch=4)
    other = dataset(source, augment=strong_augment(), cache_bytes=0)
    for _ in range(2):
        block = other.block(np.array([FILLER, 12, 300, 5, 7]), (28, 26), epoch=4)
        assert (block.image[4, :24, :24] == one.image[0]).all()
        assert (block.image[2, :24, :24] == one.image[1]).all()
        assert not block.image[:, 24:].any()
        assert not block.image[:, :, 24:].any()


def test_an_example_looks_different_in_every_epoch_and_run():
    source, index = mnist("test[:400]"), np.array([7])
    data = dataset(source, augment=strong_augment())
    blocks = [data.block(index, (24, 24), epoch=epoch) for epoch in (0, 1, 2)]
    blocks.append(dataset(source, augment=strong_augment(seed=1)).block(index, (24, 24), epoch=0))
    assert len({block.image.tobytes() for block in blocks}) == 4
    assert len({block.size.tobytes() for block in blocks}) == 1


def test_augmentation_stays_inside_the_true_size():
    source = mnist("test[:400]")
    block = dataset(source, augment=strong_augment()).block(np.arange(64), (28, 28), epoch=0)
    for row, (height, width) in enumerate(block.size):
        assert not block.image[row, height:].any()
        assert not block.image[row, :, width:].any()
    plain = dataset(source).block(np.arange(64), (28, 28), epoch=0)
    assert (block.size == plain.size).all()
    assert all((block.image[row] != plain.image[row]).any() for row in range(64))


def test_only_training_augments():
    config = Config()
    config.data.augment.rotate = 20.0
    index, canvas = np.arange(8), (28, 28)
    training, evaluation = (
        open_dataset(config, "test[:64]", smallest_input=SMALLEST, training=training).block(index, canvas, epoch=0)
        for training in (True, False)
    )
    plain = open_dataset(Config(), "test[:64]", smallest_input=SMALLEST, training=False).block(index, canvas, epoch=0)
    assert_same(evaluation, plain)
    assert (training.image != plain.image).any()


def test_an_example_larger_than_its_canvas_is_an_error():
    data = dataset(mnist("test[:400]"))
    with pytest.raises(ValueError, match="broadcast"):
        data.block(np.array([0]), (10, 28), epoch=0)


# What a config may ask for


def test_min_side_zero_refuses_the_first_narrow_example_by_name():
    config = Config()
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
    assert message.endswith(f"leave config.data.min_side unset, or set it to {SMALLEST} or more")
    config.data.min_side = SMALLEST - 1
    with pytest.raises(ValueError, match=r"config\.data\.min_side=7"):
        open_dataset(config, "test", smallest_input=SMALLEST, training=False)


@pytest.mark.parametrize(("min_side", "smallest"), [(None, SMALLEST), (8, 8), (12, 12)])
def test_min_side_widens(min_side, smallest):
    config = Config()
    config.data.min_side = min_side
    data = open_dataset(config, "test[:400]", smallest_input=SMALLEST, training=False)
    assert data.sizes.tolist() == np.maximum(mnist("test[:400]").sizes, smallest).tolist()


def test_the_config_reaches_the_images():
    config = Config()
    config.data.background = BACKGROUND
    config.data.min_side = 40
    config.data.channels = 3
    config.data.augment.shift = 3.0
    data = open_dataset(config, "test[:64]", smallest_input=SMALLEST, training=True)
    image = data.image(0)
    assert image.shape == (40, 40, 3)
    assert (image[0] == BACKGROUND).all()
    assert (image == image[..., :1]).all()
    moved = data.block(np.array([0]), (40, 40), epoch=0).image[0]
    assert (moved != image).any()
    assert (moved[[0, -1]] == BACKGROUND).all()


@pytest.mark.parametrize("num_classes", [9, 11])
def test_another_number_of_classes_is_refused_with_the_remedy(num_classes):
    config = Config()
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
    config = Config()
    config.data.train_split = "train[:512]"
    config.schedule.max_buckets = 0
    prepare(config)


# Splits


def test_splits_have_their_official_numbers():
    assert [len(mnist(split)) for split in ("train", "validation", "test")] == [55_000, 5_000, 10_000]
    for split in ("train", "validation", "test"):
        assert mnist(split).sizes.shape == (len(mnist(split)), 2)
        assert np.bincount(mnist(split).labels, minlength=10).min() > 400


def assert_part(source: Source, whole: Source, start: int, stop: int):
    assert len(source) == stop - start
    assert (source.labels == whole.labels[start:stop]).all()
    assert (source.sizes == whole.sizes[start:stop]).all()
    for example in {0, 1, len(source) // 2, len(source) - 1}:
        assert (source.read(example) == whole.read(start + example)).all()


def test_train_and_validation_are_the_official_train_split():
    whole = mnist("train+validation")
    assert len(whole) == 60_000
    assert_part(mnist("train"), whole, 0, 55_000)
    assert_part(mnist("validation"), whole, 55_000, 60_000)


@pytest.mark.parametrize(
    ("split", "whole", "start", "stop"),
    [
        ("train[:512]", "train", 0, 512),
        ("train[100:200]", "train", 100, 200),
        ("train[54990:]", "train", 54_990, 55_000),
        ("validation[:100]", "validation", 0, 100),
        ("validation[100:200]", "validation", 100, 200),
        ("validation[4990:]", "validation", 4990, 5000),
        ("validation[4990:5000]", "validation", 4990, 5000),
        ("test[:128]", "test", 0, 128),
        ("test[9990:]", "test", 9990, 10_000),
    ],
)
def test_a_part_counts_from_the_start_of_its_split(split, whole, start, stop):
    assert_part(mnist(split), mnist(whole), start, stop)


NONSENSE = [
    "train[",
    "train]",
    "nosuch",
    "nosuch[:5]",
    "train[5:5]",
    "train[5]",
    "test[a:b]",
    "train[:-5]",
    "train[1:2",
]
EMPTY = ["train[:0]", "test[7:7]", "validation[0:0]", "train[55000:]", "test[20000:]", "", "test[0:10]x"]


@pytest.mark.parametrize("split", NONSENSE + EMPTY)
def test_a_bad_split_is_refused_in_one_line(split):
    with pytest.raises(ValueError, match=r"^split ") as error:
        open_source(Config(), split)
    assert "\n" not in str(error.value)
    if not split.startswith("validation"):
        assert repr(split.split("[")[0])[:-1] in str(error.value)


@pytest.mark.parametrize("split", ["train[:60000]", "validation[5000:]", "validation[5000:5100]", "validation[:6000]"])
def test_a_part_beyond_its_split_is_refused(split):
    with pytest.raises(ValueError, match=r"^split "):
        open_source(Config(), split)


def test_names_find_an_example_again():
    assert mnist("test").name(7) == "mnist_native test #7"
    assert isinstance(mnist("test"), EmbeddedSource)
    assert mnist("test").label_names == tuple("0123456789")


# The loader


def make_loader(data: Dataset, plan: BucketPlan, schedule: Schedule, *, num_threads: int = 2) -> Loader:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return Loader(data, schedule, plan, sharding=device, num_threads=num_threads, prefetch_steps=3)


@cache
def scheduled(kind: str):
    data = dataset(mnist("validation[:150]"), augment=strong_augment())
    plan = plan_buckets(data.sizes, 3)
    bucket = plan.assign(data.sizes)
    make_layout = {"stratified": stratified_layout, "bucketed": bucketed_layout}[kind]
    layout = make_layout(plan, np.bincount(bucket), examples_per_step=32, rows_multiple_of=8)
    return data, plan, Schedule(plan, layout, bucket, seed=5)


@pytest.mark.parametrize("kind", ["stratified", "bucketed"])
def test_steps_from_the_middle_are_the_tail_of_all_steps(kind):
    """A run that resumes sees what it would have seen, over the end of an epoch and on any number of threads."""
    per_epoch = scheduled(kind)[2].steps_per_epoch
    stop = 2 * per_epoch + 1
    whole = list(make_loader(*scheduled(kind)).steps(0, stop))
    assert len(whole) == stop
    for start in (1, per_epoch - 1, per_epoch, per_epoch + 2, stop):
        tail = list(make_loader(*scheduled(kind), num_threads=1).steps(start, stop))
        assert len(tail) == stop - start
        for step, again in zip(whole[start:], tail, strict=True):
            assert step.program == again.program
            assert step.num_examples == again.num_examples
            assert step.true_positions == again.true_positions
            for block, other in zip(step.blocks, again.blocks, strict=True):
                assert_same(block, other)


@pytest.mark.parametrize("kind", ["stratified", "bucketed"])
def test_steps_are_those_of_the_schedule(kind):
    data, plan, schedule = scheduled(kind)
    seen = []
    for number, step in enumerate(make_loader(data, plan, schedule).steps(0, 2 * schedule.steps_per_epoch)):
        epoch, position = divmod(number, schedule.steps_per_epoch)
        program, rows = schedule.step(epoch, position)
        assert step.program == program
        shapes = schedule.layout.programs[program].blocks
        for block, index, shape in zip(step.blocks, rows, shapes, strict=True):
            assert isinstance(block.image, jax.Array)
            assert block.image.shape == (shape.rows, *plan.shapes[shape.bucket], 1)
            assert_same(block, data.block(index, plan.shapes[shape.bucket], epoch=epoch))
        seen += [(epoch, int(example)) for index in rows for example in index if example != FILLER]
        weights = np.concatenate([block.weight for block in step.blocks])
        sizes = np.concatenate([block.size for block in step.blocks])
        assert step.num_examples == weights.sum() == sum((index != FILLER).sum() for index in rows)
        assert step.true_positions == sizes.prod(1).sum()
        assert not sizes[weights == 0].any()
    assert sorted(seen) == [(epoch, example) for epoch in (0, 1) for example in range(150)]


def signal_loader(**reading) -> Loader:
    data = dataset(Signals(64, **reading), cache_bytes=0)
    plan = BucketPlan(((9,),))
    layout = bucketed_layout(plan, np.array([64]), examples_per_step=8, rows_multiple_of=8)
    return make_loader(data, plan, Schedule(plan, layout, np.zeros(64, int), seed=0), num_threads=1)


def test_seconds_waited_grow_with_every_step_waited_for():
    loader = signal_loader(seconds_to_read=0.005)
    assert loader.seconds_waited == 0
    waited = [loader.seconds_waited for _ in loader.steps(0, 4)]
    assert waited == sorted(set(waited))
    assert waited[-1] > 0.8 * 4 * 8 * 0.005
    for _ in loader.steps(0, 2):
        assert loader.seconds_waited > waited[-1]


def test_seconds_that_the_device_takes_are_not_waited():
    loader = signal_loader()
    for _ in loader.steps(0, 4):
        time.sleep(0.2)
    assert loader.seconds_waited < 0.4


def test_an_error_in_a_thread_arrives():
    data = dataset(Signals(8), cache_bytes=0)
    plan = BucketPlan(((8,),))
    layout = bucketed_layout(plan, np.array([8]), examples_per_step=8, rows_multiple_of=8)
    loader = make_loader(data, plan, Schedule(plan, layout, np.zeros(8, int), seed=0))
    with pytest.raises(ValueError, match=re.escape("broadcast")):
        list(loader.steps(0, 1))
