"""Arrays of images and labels as a data set: an NPZ file, or a folder of NPY files.

The names of the arrays say what they are: x, images or data, and y or labels; with a split in front or behind if there
are several, as Keras has it (x_train, y_train, x_test, y_test) and MedMNIST (train_images, train_labels). Images are
[n, h, w] or [n, h, w, channels]. To the rest of the code each example is an NPY file.
"""

import io
import os
import threading
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcn_jax.config import DataConfig, UserError
from fcn_jax.data.array_images import NPY, read_array_header
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.classes import first_names
from fcn_jax.data.files import IMAGES
from fcn_jax.data.listing import Listing, Row, make_listing
from fcn_jax.data.splits import split_named
from fcn_jax.data.storage import FileState, Storage, state_of
from fcn_jax.data.zip_files import open_zip
from fcn_jax.system.disk import reading

EXAMPLES, LABELS = ("x", "images", "image", "data"), ("y", "labels", "label", "targets")
WANTED = (
    "an arrays data set has x_train and y_train (and perhaps x_test, y_test), train_images and train_labels, or images "
    "and labels: rename its arrays"
)


class _Place(NamedTuple):
    """Where an array lies."""

    file: str
    start: int
    """Where its NPY file begins; -1: it is packed, so all of it has to be unpacked."""
    member: str
    """Its name in an NPZ file; empty for an NPY file."""


class _Array(NamedTuple):
    name: str
    place: _Place
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype


class Arrays(Storage):
    """The examples of some arrays: the path FILE/NAME/NUMBER is an NPY file of one of them.

    An array that is not packed is mapped into memory, so only what is read is loaded. A packed one is held in memory.
    """

    def __init__(self, root: Path, arrays: dict[str, _Array]):
        self._root, self._arrays = root, arrays
        self._states = {array.place.file: state_of(os.stat(array.place.file)) for array in arrays.values()}
        self._loaded: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process gets, which loads the arrays itself."""
        return {**vars(self), "_loaded": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def path(self, name: str, number: int) -> str:
        """Return the path of an example."""
        return os.path.join(self._root, name, f"{number:07d}")

    def _found(self, path: str) -> tuple[_Array, int]:
        folder, number = os.path.split(path)
        return self._arrays[os.path.basename(folder)], int(number)

    def read_head(self, path: str) -> bytes:
        return NPY

    def state(self, path: str) -> FileState:
        array, _ = self._found(path)
        length = int(np.prod(array.shape[1:])) * array.dtype.itemsize
        return length, *state_of(os.stat(array.place.file))[1:]

    def real_path(self, path: str) -> str:
        return path

    def open(self, path: str) -> io.BytesIO:
        return io.BytesIO(self.read(path))

    def read(self, path: str) -> bytes:
        array, number = self._found(path)
        return _header_of(array.shape[1:], array.dtype) + self.values(array.name)[number].tobytes()

    def values(self, name: str) -> np.ndarray:
        """Return an array.

        Raises:
            BadExampleError: it cannot be read, or its file changed since it was listed.
        """
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(self._arrays[name])
            return self._loaded[name]

    def _load(self, array: _Array) -> np.ndarray:
        file, start, member = array.place
        try:
            if state_of(os.stat(file)) != self._states[file]:
                raise BadExampleError("its file changed since it was listed")
            if start < 0:
                with np.load(file, allow_pickle=False) as arrays:
                    return arrays[member.removesuffix(".npy")]
            with open(file, "rb") as opened:
                opened.seek(start)
                read_array_header(opened)
                offset = opened.tell()
            order = "F" if array.is_fortran else "C"
            return np.memmap(file, array.dtype, "r", offset, array.shape, order)
        except BadExampleError:
            raise
        except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file.
            raise BadExampleError(f"its array cannot be read: {' '.join(str(error).split())[:200]}") from error


@lru_cache
def _header_of(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """Return the header of an NPY file."""
    with io.BytesIO() as file:
        said = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, said)
        return file.getvalue()


def list_arrays(root: Path, data: DataConfig, *, seed: int, is_new: bool = False) -> Listing:
    """List the examples of the arrays in an NPZ file, or in the NPY files of a folder.

    Args:
        data: `group_pattern` is used.
        is_new: True if a trained net is to be tried on the arrays: see `make_listing`.

    Raises:
        UserError: the arrays cannot be read, their names or shapes break a rule, or `make_listing` raises it.
    """
    with reading(root):
        places = _places(root)
        arrays = {name: _array(root, name, place) for name, place in places.items() if _meaning(name) is not None}
        storage = Arrays(root, arrays)
    pairs: dict[str, dict[str, str]] = {}
    for name in arrays:
        kind, split = _meaning(name) or ("", "")
        other = pairs.setdefault(split, {}).setdefault(kind, name)
        if other != name:
            raise UserError(f"arrays:{root} has {other} and {name}, which mean the same: rename one of them")
    rows, origins = [], {}
    for split, pair in pairs.items():
        if len(pair) < 2:
            (alone,) = pair.values()
            raise UserError(f"arrays:{root} has {alone}, but not what belongs to it: {WANTED}")
        labels = _labels(root, storage, arrays[pair["labels"]])
        name = pair["examples"]
        _check_examples(root, arrays[name], len(labels), pair["labels"])
        rows += [
            Row(os.path.join(name, f"{number:07d}"), storage.path(name, number), label, split, IMAGES)
            for number, label in enumerate(labels)
        ]
        origins[split] = f"{name} of {root}"
    if not rows:
        raise UserError(f"arrays:{root} has the arrays {first_names([*places]) or 'none'}, but {WANTED}")
    return make_listing(
        rows,
        root=str(root),
        origins=origins,
        seed=seed,
        group_pattern=data.group_pattern,
        left_out={os.path.join(root, name): "an array of another name" for name in places if name not in arrays},
        is_new=is_new,
        storage=storage,
    )


def _places(root: Path) -> dict[str, _Place]:
    """Return {name: place} of all arrays."""
    if root.is_dir():
        return {path.stem: _Place(str(path), 0, "") for path in sorted(root.glob("*.npy"))}
    if not root.exists():
        raise UserError(f"arrays:{root}: there is no such file or folder")
    if not zipfile.is_zipfile(root):
        raise UserError(f"arrays:{root} is no .npz file: give one, or a folder of .npy files")
    archive, places = open_zip(root), {}
    with zipfile.ZipFile(root) as opened:
        for name in opened.namelist():
            member = archive.member(str(root / name))
            if member is not None and name.endswith(".npy"):
                places[name.removesuffix(".npy")] = _Place(str(root), -1 if member.is_deflated else member.start, name)
    return places


def _meaning(name: str) -> tuple[str, str] | None:
    """Return (examples or labels, split) that the name of an array means; None if it means neither."""
    *rest, last = name.lower().split("_")
    for word, others in ((last, rest), (name.lower().split("_")[0], name.lower().split("_")[1:])):
        kind = "examples" if word in EXAMPLES else "labels" if word in LABELS else None
        split = "train" if not others else split_named("_".join(others))
        if kind and split:
            return kind, split
    return None


def _array(root: Path, name: str, place: _Place) -> _Array:
    """Return what the header of an array says."""
    try:
        if place.member:
            with zipfile.ZipFile(root) as archive, archive.open(place.member) as stream:
                return _Array(name, place, *read_array_header(stream))  # pyright: ignore[reportArgumentType]
        with open(place.file, "rb") as stream:
            return _Array(name, place, *read_array_header(stream))
    except BadExampleError as error:
        reason = str(error).removeprefix("its array ")
        raise UserError(
            f"arrays:{root}: {name} {reason}: save arrays of one size, or make a folder of files"
        ) from error
    except Exception as error:  # As above.
        raise UserError(
            f"arrays:{root}: {name} cannot be read ({' '.join(str(error).split())}): save it again"
        ) from error


def _labels(root: Path, storage: Arrays, array: _Array) -> list[str]:
    """Return the labels as text.

    Raises:
        UserError: they are no whole numbers or texts, or not one for each example.
    """
    kind, shape = array.dtype.kind, array.shape
    if kind not in "iubUS" or not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        raise UserError(
            f"arrays:{root}: {array.name} is {array.dtype} of shape {shape}, but labels are whole numbers or texts, "
            "one for each example: save them so"
        )
    try:
        values = storage.values(array.name).reshape(-1)
    except BadExampleError as error:
        raise UserError(f"arrays:{root}: {array.name}: {error}") from error
    return [os.fsdecode(value) if isinstance(value, bytes) else str(value) for value in values.tolist()]


def _check_examples(root: Path, array: _Array, number: int, labels: str) -> None:
    shape = array.shape
    if len(shape) not in (3, 4) or 0 in shape:
        raise UserError(
            f"arrays:{root}: {array.name} has the shape {shape}, but images are (number, height, width) or (number, "
            "height, width, channels): save them so"
        )
    if shape[0] != number:
        raise UserError(
            f"arrays:{root}: {array.name} has {shape[0]:,} examples, but {labels} has {number:,} labels: save as many"
        )
