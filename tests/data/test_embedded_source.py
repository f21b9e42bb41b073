"""The embedded MNIST by its splits: their numbers, their parts, and what is no split."""

import numpy as np
import pytest

from fcn_jax.config import Config
from fcn_jax.data.embedded_source import EmbeddedSource
from fcn_jax.data.source import Source
from fcn_jax.data.sources import open_source
from fcn_jax.nets.families import FCN
from tests.data.made import mnist


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
        open_source(Config(model=FCN()), split)
    assert "\n" not in str(error.value)
    if not split.startswith("validation"):
        assert repr(split.split("[")[0])[:-1] in str(error.value)


@pytest.mark.parametrize("split", ["train[:60000]", "validation[5000:]", "validation[5000:5100]", "validation[:6000]"])
def test_a_part_beyond_its_split_is_refused(split):
    with pytest.raises(ValueError, match=r"^split "):
        open_source(Config(model=FCN()), split)


def test_names_find_an_example_again():
    assert mnist("test").name(7) == "mnist_native test #7"
    assert isinstance(mnist("test"), EmbeddedSource)
    assert mnist("test").label_names == tuple("0123456789")
