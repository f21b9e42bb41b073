"""Images as arrays of any number of channels, in any type: NumPy's files (NPY, NPZ) and TIFF, by tifffile.

An NPY file holds [h, w] or [h, w, channels], in this order. An NPZ file holds one such array. A TIFF file holds its
channels in each pixel, in planes or in pages. What the header says is checked before any value is read.
"""

import contextlib
import io
import logging
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Shaped

from fcn_jax.config import UserError
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.image_metadata import BinaryFile

NPY, ZIP = b"\x93NUMPY", b"PK\3\4"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ORIENTATION, WHITE_IS_ZERO = 274, 0
AS_VALUES = (0, 1, 2)
"""The kinds of TIFF whose numbers are brightness: white is zero, black is zero, RGB. Others are left to Pillow."""
NPY_START, MOST_HEADER_BYTES = 10, 2**16
"""Bytes of the shortest start of an NPY file, and most bytes of its header."""


class Header(NamedTuple):
    """What the header of an image says."""

    size: tuple[int, int]
    """(height, width)."""
    channels: int
    dtype: np.dtype


def is_numpy(head: bytes) -> bool:
    """Return whether a file is an NPY or an NPZ file, by its first bytes."""
    return head.startswith((NPY, ZIP))


def is_tiff(head: bytes) -> bool:
    """Return whether a file is a TIFF file, by its first bytes."""
    return head.startswith(TIFF)


# NPY and NPZ


def read_numpy_header(file: BinaryFile) -> Header:
    """Return the header of an NPY or an NPZ file.

    Raises:
        BadExampleError: it is damaged or cut off, or holds no image.
    """
    with _npy(file) as (stream, length):
        return _npy_header(stream, length)


def read_numpy(file: BinaryFile) -> Shaped[np.ndarray, "h w c"]:
    """Return the values of an NPY or an NPZ file; errors are those of `read_numpy_header`."""
    with _npy(file) as (stream, length):
        shape, is_fortran, dtype = read_array_header(stream)
        header = _header(shape, dtype)
        needed = _check_length(header, length - stream.tell())
        values = np.frombuffer(stream.read(needed), dtype).reshape(shape, order="F" if is_fortran else "C")
    return values.reshape(*header.size, header.channels).astype(header.dtype, copy=False)


@contextlib.contextmanager
def _npy(file: BinaryFile) -> Iterator[tuple[io.BufferedIOBase, int]]:
    """Open an NPY file, or the one in an NPZ file; its number of bytes comes with it."""
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        if file.read(len(ZIP)) != ZIP:
            file.seek(0)
            yield file, length
            return
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            if len(infos) != 1:
                raise BadExampleError(f"it holds {len(infos)} arrays, but an image is one")
            with archive.open(infos[0]) as stream:
                yield cast(io.BufferedIOBase, stream), infos[0].file_size
    except BadExampleError:
        raise
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file.
        if isinstance(error, OSError) and error.errno:
            raise
        raise BadExampleError(f"it is no array that can be read: {' '.join(str(error).split())[:200]}") from error


def _npy_header(stream: io.BufferedIOBase, length: int) -> Header:
    shape, _, dtype = read_array_header(stream)
    header = _header(shape, dtype)
    _check_length(header, length - stream.tell())
    return header


def _check_length(header: Header, there: int) -> int:
    """Return how many bytes the values have, if so many are there."""
    needed = header.size[0] * header.size[1] * header.channels * header.dtype.itemsize
    if there < needed:
        raise BadExampleError(f"it is cut off: {there:,} of {needed:,} bytes are there")
    return needed


def read_array_header(stream: io.BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return (shape, whether it is in Fortran's order, type) of the array that a stream begins with.

    Raises:
        BadExampleError: nobody may read it.
        ValueError: it is no array.
    """
    start = stream.read(NPY_START)
    version, width = start[6:8], 2 if start[6:7] == b"\1" else 4
    if start.startswith(NPY) and version not in (b"\1\0", b"\2\0"):
        raise BadExampleError("its array has a header of another version than 1.0 and 2.0")
    length = start[8:] + stream.read(8 + width - len(start))
    return _parsed(start[:8] + length + stream.read(min(MOST_HEADER_BYTES, int.from_bytes(length, "little"))))


@lru_cache
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Parse the header of an NPY file; the files of a data set often have the same."""
    stream = io.BytesIO(header)
    is_first = np.lib.format.read_magic(stream) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    if dtype.hasobject:
        raise BadExampleError("its array holds Python objects, which are not unpickled")
    return shape, is_fortran, dtype


def _header(shape: tuple[int, ...], dtype: np.dtype) -> Header:
    if len(shape) not in (2, 3) or 0 in shape:
        raise BadExampleError(
            f"its array has the shape {shape}, but an image is (height, width) or (height, width, channels)"
        )
    height, width, channels = (*shape, 1)[:3]
    return Header((height, width), channels, dtype.newbyteorder("="))


# TIFF


def read_tiff_header(file: BinaryFile) -> Header | None:
    """Return the header of a TIFF file; None if its numbers are no brightness, as those of a palette.

    Raises:
        BadExampleError: it is damaged, or holds no image.
        UserError: tifffile is not installed.
    """
    with _tiff(file) as tiff:
        return _tiff_header(tiff)


def read_tiff(file: BinaryFile) -> Shaped[np.ndarray, "h w c"]:
    """Return the upright values of a TIFF file that has a header; errors are those of `read_tiff_header`."""
    with _tiff(file) as tiff:
        page, series = tiff.pages[0], tiff.series[0]
        values = series.asarray()
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        axes = series.axes
    if len(axes) == 3 and axes[-1] != "S":
        values = np.moveaxis(values, 0, -1)
    values = values if values.ndim == 3 else values[..., None]
    if page.photometric == WHITE_IS_ZERO and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    return _upright(values, _orientation(page))


@contextlib.contextmanager
def _tiff(file: BinaryFile) -> Iterator[Any]:
    try:
        import tifffile
    except ImportError as error:
        raise UserError(
            "TIFF files of any number of channels or at full depth need the package tifffile, which is not installed: "
            "run `pip install tifffile imagecodecs`"
        ) from error
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # What costs the image is an error all the same.
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            yield tiff
    except BadExampleError:
        raise
    except Exception as error:  # tifffile raises many kinds for a damaged file.
        if isinstance(error, OSError) and error.errno:
            raise
        raise BadExampleError(f"it is no TIFF that can be read: {' '.join(str(error).split())[:200]}") from error


def _tiff_header(tiff: Any) -> Header | None:
    page, series = tiff.pages[0], tiff.series[0]
    if page.photometric not in AS_VALUES or page.bitspersample < 8:
        return None
    axes, shape = series.axes, series.shape
    if axes[-1:] == "S" and axes[-3:-1] == "YX":
        shape = (*shape[:-3], shape[-1], *shape[-3:-1])
    elif axes[-2:] != "YX":
        shape = ()
    if len(shape) not in (2, 3):
        raise BadExampleError(
            f"its axes are {axes} of {'×'.join(map(str, series.shape))}, but an image has height, width and channels"
        )
    channels, height, width = (1, *shape)[-3:]
    size = (width, height) if _orientation(page) > 4 else (height, width)
    return Header(size, channels, np.dtype(series.dtype).newbyteorder("="))


def _orientation(page: Any) -> int:
    tag = page.tags.get(ORIENTATION)
    return int(tag.value) if tag is not None else 1


def _upright(values: Shaped[np.ndarray, "h w c"], orientation: int) -> Shaped[np.ndarray, "m n c"]:
    """Turn an image of an EXIF orientation upright."""
    if orientation > 4:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
