"""Files, read ahead of whoever wants them, in order.

Threads read them, a chunk each at a time. But Python runs one thread at a time, and takes longer to hand over from one
to another than to decode a file of a few kilobytes: chunks of such files are read where they are wanted.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.use.inference.recipe import Example, Recipe

CHUNK_FILES, CHUNK_BYTES = 32, 2**20
"""At most, but for a larger file."""
SMALL_BYTES = 2**12
"""Of a file, on average: decoding more of them takes longer than handing them over."""
CHUNKS_AHEAD = 4
"""For every thread."""

ReadFile = tuple[str, Example | BadExampleError]


class _Chunk(NamedTuple):
    paths: list[str]
    num_bytes: int

    @property
    def is_small(self) -> bool:
        return self.num_bytes <= SMALL_BYTES * len(self.paths)


def read_ahead(recipe: Recipe, paths: Sequence[str], *, num_threads: int) -> Iterator[list[ReadFile]]:
    """Chunks of files as a net will see them."""
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
