"""The steps from a file to the net's input, and the sizes that the net takes: the same as in the net's evaluation.

A `Recipe` holds the few config values that these steps need, so that an exported artifact can carry them.
"""

import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from fcn_jax.config import Config, UserError
from fcn_jax.core.block import ValueType, value_type
from fcn_jax.core.geometry import format_size
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.file_source import value_range_of
from fcn_jax.data.files import describe_left_out, files_below, read_file
from fcn_jax.data.random_changes import mirrored
from fcn_jax.data.source import Decoded, size_of
from fcn_jax.data.transforms import Resize, Views, background_of, make_decoder, widen
from fcn_jax.inference.averaging import Averaging, View, views_of
from fcn_jax.system.console import say

FLIPS = ("none", "mirrored", "both")
SIDES = {1: ("length",), 2: ("height", "width")}
"""Names of the sides of a size, by spatial rank."""


class Example(NamedTuple):
    """One file that was read."""

    size: tuple[int, ...]
    """Size when it was decoded."""
    views: tuple[Num[np.ndarray, "*_ c"], ...]
    """Values that the net will see, for every view that is averaged; mostly there is one."""


@dataclass(frozen=True)
class Recipe:
    """The steps from a file to the net's input."""

    rank: int
    """2 for images, 1 for signals."""
    channels: int
    resize: str
    """The config's `data.resize`."""
    decode: str
    """The config's `data.decode`."""
    scale: float
    """The config's `evaluate.scale`."""
    average_scales: tuple[float, ...]
    """The config's `evaluate.average_scales`."""
    flip: str
    """The config's `evaluate.flip`."""
    min_side: int
    """Shorter sides are widened to this."""
    background: int
    """Value around widened examples, and under transparent pixels."""
    max_megapixels: float
    """A larger image is refused before it is decoded; so is a signal with more million values."""
    sampling_rate: int
    """Samples a second that a signal must have; 0: any, or unknown."""
    resamples: bool
    """True: a signal of another sampling rate is resampled. False: it is refused."""
    pixel_range: str
    """The config's `data.pixel_range`."""
    value_range: tuple[float, ...]
    """The lowest and the highest value of the training examples; (): unknown."""
    smallest_side: int
    """Smallest side that the net takes."""
    largest_side: int | None
    """Largest side that the net takes; None: no limit."""
    is_masked: bool
    """True if the net tells padding from content."""

    @cached_property
    def _decode(self) -> Callable[[bytes], Decoded]:
        return make_decoder(
            rank=self.rank,
            channels=self.channels,
            background=self.background,
            max_megapixels=self.max_megapixels,
            sampling_rate=self.sampling_rate or None,
            resamples=self.resamples,
            decode=self.decode,
            resize=self.resize,
            pixel_range=self.pixel_range,
        )

    @property
    def value_type(self) -> ValueType:
        """Type of the values that the net takes."""
        return value_type(self.rank, self.pixel_range)

    @cached_property
    def _resize(self) -> Resize:
        return Resize.parse(self.resize)

    def check(self) -> None:
        """Check that every value of the recipe is allowed.

        Raises:
            UserError: one is not.
        """
        if self.rank not in (1, 2):
            raise UserError(f"rank is {self.rank}, but it must be 1 (signals) or 2 (images)")
        if self.flip not in FLIPS or (self.rank == 1 and self.flip != "none"):
            raise UserError(f"flip is {self.flip!r}, but it must be one of {', '.join(FLIPS)}, and none for signals")
        for name, value, low, high in (
            ("smallest_side", self.smallest_side, 1, math.inf),
            ("scale", self.scale, 0.01, 100),
            *(("average_scales", scale, 0.01, 100) for scale in self.average_scales),
            ("background", self.background, 0, 255),
            ("max_megapixels", self.max_megapixels, 0, 1e9),
        ):
            if not low <= value <= high:
                raise UserError(f"{name} is {value}, but it must be between {low} and {high}")
        if self.decode not in ("exact", "fast"):
            raise UserError(f"decode is {self.decode!r}, but it must be exact or fast")
        low, high = value_range_of(self.rank, self.pixel_range)
        if self.value_range and self.value_range != (low, high):
            raise UserError(
                f"the net was trained with values from {self.value_range[0]:g} to {self.value_range[-1]:g}, but those "
                f"of files go from {low:g} to {high:g}: it cannot classify files"
            )
        assert self._decode
        assert self._resize

    def with_views(self, average: Averaging) -> "Recipe":
        """Return the recipe with the views that a command line asks for.

        Raises:
            UserError: a value is not allowed.
        """
        scales, flip = average
        changed = replace(
            self,
            average_scales=self.average_scales if scales is None else scales,
            flip=self.flip if flip is None else flip,
        )
        changed.check()
        return changed

    def read(self, path: str) -> Example:
        """Read a file as the net will see it, with the functions that `Dataset` uses.

        Raises:
            BadExampleError: it cannot be read, or the net does not take its size.
        """
        decoded = self._decode(read_file(path))
        background = background_of(self.background, self.rank, self.pixel_range)
        resized = self._resize.apply(decoded, background=background)
        views = views_of(self.scale, self.average_scales, self.flip)
        return Example(size_of(decoded), tuple(self._seen(resized, view, background) for view in views))

    def _seen(
        self, example: Num[np.ndarray, "*spatial c"], view: View, background: int | float
    ) -> Num[np.ndarray, "*_ c"]:
        """Return a resized example as a view shows it."""
        if view.scale != 1:
            smallest = max(self.min_side, self.smallest_side)
            views = Views(np.array([example.shape[:-1]]), scale=lambda _: view.scale, smallest=smallest)
            example = views.draw(0, np.zeros(1, np.int64)).apply(example, 0)
        example = widen(example, self.min_side, background)
        self._check_size(example.shape[:-1])
        return mirrored(example) if view.is_mirrored else example

    def _check_size(self, size: tuple[int, ...]) -> None:
        least, most = self.smallest_side, self.largest_side
        if min(size) >= least and (most is None or max(size) <= most):
            return
        sides = f"sides of {least}" if least == most else f"sides of at least {least}"
        sides += "" if most in (None, least) else f" and at most {most}"
        raise BadExampleError(f"it is {format_size(size)} to the net, which takes {sides} only")


def recipe_of(
    config: Config,
    *,
    rank: int,
    smallest_side: int,
    largest_side: int | None,
    sampling_rate: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> Recipe:
    """Make the recipe of a net that was trained with a config, on examples of a sampling rate and a value range."""
    data = config.data
    return Recipe(
        rank=rank,
        channels=data.channels,
        resize=data.resize,
        decode=data.decode,
        scale=config.evaluate.scale,
        average_scales=config.evaluate.average_scales,
        flip=config.evaluate.flip,
        min_side=smallest_side if data.min_side is None else data.min_side,
        background=data.background,
        max_megapixels=data.max_megapixels,
        sampling_rate=sampling_rate or 0,
        resamples=bool(data.sampling_rate),
        pixel_range=data.pixel_range,
        value_range=value_range or (),
        smallest_side=smallest_side,
        largest_side=largest_side,
        is_masked=config.model.masked,
    )


LIST = "-"


def check_paths(paths: Sequence[str]) -> None:
    """Check that paths are given and that each exists.

    Raises:
        UserError: no path is given, or one does not exist.
    """
    if not paths:
        raise UserError("no PATH is given: give files, folders, or - for a list of them on standard input")
    for path in paths:
        if path != LIST and not os.path.lexists(path):
            raise UserError(f"there is no file or folder {path!r}: correct the path")


def expand_paths(paths: Sequence[str], *, rank: int) -> list[str]:
    """List all files that some paths stand for; say which files of the folders are left out.

    A path `-` stands for the lines of standard input, one path each; a missing file is found only when it is read.

    Args:
        rank: 2 to take the images of folders, 1 to take the signals; the files of a folder are sorted by path.

    Raises:
        UserError: a folder cannot be listed or holds no such file, or a line is no path.
    """
    found = []
    for path in paths:
        lines = (line.rstrip("\r\n") for line in _lines_of_input()) if path == LIST else [path]
        for line in filter(None, lines):
            if "\0" in line:
                raise UserError("standard input has paths that end in a zero byte: give one path a line, as find does")
            found += _files_of(line, rank) if os.path.isdir(line) else [line]
    return found


def _lines_of_input() -> Iterable[str]:
    """Return the lines of standard input, in any encoding; none if it was closed before the start."""
    return map(os.fsdecode, sys.stdin.buffer) if sys.stdin else ()


def _files_of(folder: str, rank: int) -> list[str]:
    files, left_out = files_below(Path(folder), rank)
    told = describe_left_out(left_out, Path(folder))
    if not files:
        kind = "image" if rank == 2 else "signal"
        raise UserError(f"no {kind} lies below {folder}{f' ({told})' if told else ''}: give another folder")
    if told:
        say(f"{folder}: {told}")
    return files


CHUNK_FILES, CHUNK_BYTES = 32, 2**20
"""Number of files, and of bytes, at which a chunk ends."""
SMALL_BYTES = 2**12
"""Mean bytes per file up to which the calling thread reads a chunk: handing it to another would take longer."""
CHUNKS_AHEAD = 4
"""Number of chunks read ahead for every thread."""

ReadFile = tuple[str, Example | BadExampleError]


class _Chunk(NamedTuple):
    paths: list[str]
    num_bytes: int

    @property
    def is_small(self) -> bool:
        return self.num_bytes <= SMALL_BYTES * len(self.paths)


def read_ahead(recipe: Recipe, paths: Sequence[str], *, num_threads: int) -> Iterator[list[ReadFile]]:
    """Yield chunks of files, read as the net will see them, in the order of the paths."""
    with ThreadPoolExecutor(num_threads) as threads:
        begun: deque[Callable[[], list[ReadFile]]] = deque()
        try:
            for chunk in _chunks(paths):
                read = partial(_read, recipe, chunk.paths)
                begun.append(read if chunk.is_small else threads.submit(read).result)
                if len(begun) > CHUNKS_AHEAD * num_threads:
                    yield begun.popleft()()
            while begun:
                yield begun.popleft()()
        finally:
            threads.shutdown(cancel_futures=True)


def _chunks(paths: Sequence[str]) -> Iterator[_Chunk]:
    chunk, num_bytes = [], 0
    for path in paths:
        chunk.append(path)
        num_bytes += os.path.getsize(path) if os.path.isfile(path) else 0
        if len(chunk) == CHUNK_FILES or num_bytes >= CHUNK_BYTES:
            yield _Chunk(chunk, num_bytes)
            chunk, num_bytes = [], 0
    if chunk:
        yield _Chunk(chunk, num_bytes)


def _read(recipe: Recipe, paths: list[str]) -> list[ReadFile]:
    read = []
    for path in paths:
        try:
            read.append((path, recipe.read(path)))
        except BadExampleError as error:
            read.append((path, error))
    return read
