"""Arrays of images and labels are a data set: in an NPZ file, packed or not, or as NPY files in a folder."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from fcn_jax.config import UserError
from fcn_jax.data.sources import open_data
from tests.data.made import config_for

X = np.random.default_rng(0).integers(0, 256, (60, 9, 12, 3)).astype(np.uint8)
Y = np.arange(60) % 3


def packed(top: Path, **arrays: np.ndarray) -> str:
    np.savez_compressed(top / "a.npz", **arrays)
    return f"arrays:{top / 'a.npz'}"


def plain(top: Path, **arrays: np.ndarray) -> str:
    np.savez(top / "a.npz", **arrays)
    return f"arrays:{top / 'a.npz'}"


def apart(top: Path, **arrays: np.ndarray) -> str:
    for name, values in arrays.items():
        np.save(top / f"{name}.npy", values)
    return f"arrays:{top}"


@pytest.mark.parametrize("save", [packed, plain, apart])
@pytest.mark.parametrize("names", ["x_{} y_{}", "{}_images {}_labels"])
def test_the_arrays_of_every_split_are_read(tmp_path, save, names):
    x, y = names.split()
    arrays = {x.format("train"): np.asfortranarray(X[:40]), y.format("train"): Y[:40, None]}
    arrays |= {x.format("test"): X[40:], y.format("test"): Y[40:].astype("U1"), "notes": np.zeros(3)}
    open_split = open_data(config_for(save(tmp_path, **arrays)))
    found = {}
    for split in ("train", "validation", "test"):
        source = open_split(split)
        source = pickle.loads(pickle.dumps(source))
        assert source.label_names == ("0", "1", "2")
        assert (source.sizes == [9, 12]).all()
        assert list(source.left_out.values()) == ["an array of another name"]
        for index in range(len(source)):
            name, number = source.key(index).decode().split("/")
            found[name, int(number)] = source.read(index), int(source.labels[index])
    assert "taken out of train" in open_split("validation").origin
    assert len(found) == 60
    for (name, number), (values, label) in found.items():
        place = number + (40 if name == x.format("test") else 0)
        assert np.array_equal(values, X[place])
        assert label == Y[place]


def test_grey_images_without_splits(tmp_path):
    open_split = open_data(config_for(plain(tmp_path, images=X[..., 0], labels=Y), channels=1))
    assert len(open_split("all")) == 60
    assert open_split("all").read(3).shape == (9, 12, 1)


def test_values_keep_their_depth(tmp_path):
    deep = np.random.default_rng(0).random((60, 9, 12, 5)).astype(np.float32)
    deep[7, 0, 0, 0] = np.nan
    name = plain(tmp_path, images=deep, labels=Y)
    source = open_data(config_for(name, channels=5, pixel_range="dtype"))("all")
    assert np.array_equal(source.read(3), deep[3])
    with pytest.raises(UserError, match="it has values that are not finite"):
        source.read(7)


def test_arrays_that_change_below_a_run_are_no_examples(tmp_path):
    source = open_data(config_for(apart(tmp_path, images=X, labels=Y)))("train")
    again = pickle.loads(pickle.dumps(source))
    assert source.is_unchanged(0)
    apart(tmp_path, images=X[::-1], labels=Y)
    assert not source.is_unchanged(0)
    with pytest.raises(UserError, match="changed since it was listed"):
        again.read(0)


WRONG = [
    ({"images": X}, "has images, but not what belongs to it: an arrays data set has x_train and y_train"),
    ({"x": X, "images": X, "y": Y}, "has (x and images|images and x), which mean the same: rename one of them"),
    ({"a": X, "b": Y}, "has the arrays a, b, but an arrays data set has x_train and y_train .*: rename its arrays"),
    ({"x": X, "y": Y[:9]}, "x has 60 examples, but y has 9 labels: save as many"),
    ({"x": X, "y": np.eye(60)}, r"y is float64 of shape \(60, 60\), but labels are whole numbers or texts"),
    ({"x": X[0, 0], "y": Y}, r"x has the shape \(12, 3\), but images are \(number, height, width\)"),
    ({"x": np.array([None] * 60), "y": Y}, "x holds Python objects, which are not unpickled: save arrays of one size"),
    ({"x_test": X, "y_test": Y}, "has no examples in train"),
]


@pytest.mark.parametrize(("arrays", "said"), WRONG, ids=[said[:30] for _, said in WRONG])
@pytest.mark.parametrize("save", [packed, apart])
def test_wrong_arrays_are_one_line(tmp_path, save, arrays, said):
    with pytest.raises(UserError, match=said) as error:
        open_data(config_for(save(tmp_path, **arrays)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npz", None, "there is no such file or folder"),
        ("a.npz", b"no archive", "is no .npz file: give one, or a folder of .npy files"),
        ("x.npy", b"\x93NUMPY\1\0", r"x cannot be read \(.*\): save it again"),
    ],
)
def test_files_that_are_no_arrays_are_one_line(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        open_data(config_for(f"arrays:{tmp_path if name == 'x.npy' else tmp_path / name}"))


def test_a_file_that_is_cut_off_is_told(tmp_path):
    name = apart(tmp_path, images=X, labels=Y)
    path = tmp_path / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"no file that can be read: .*: its array cannot be read"):
        open_data(config_for(name))("train")
