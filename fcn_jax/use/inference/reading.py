"""Files, read by threads ahead of whoever wants them."""

import os
from collections.abc import Iterator, Sequence

import grain

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.use.inference.classifier import Classifier
from fcn_jax.use.inference.recipe import Example, Recipe

CHUNK_FILES, CHUNK_BYTES = 32, 2**20
"""That a thread reads before it hands them over: one by one, that takes as long as decoding small images."""
CHUNKS_AHEAD = 4
"""For every thread."""


def read_ahead(classifier: Classifier, paths: Sequence[str]) -> Iterator[list[tuple[str, Example | BadExampleError]]]:
    """Chunks of files, read by threads, in order."""
    chunks = list(_chunks(paths))
    options = grain.ReadOptions(
        num_threads=classifier.num_threads, prefetch_buffer_size=CHUNKS_AHEAD * classifier.num_threads
    )
    data = grain.MapDataset.range(len(chunks)).map(lambda number: _read(classifier.recipe, chunks[number]))
    yield from data.to_iter_dataset(options)


def _chunks(paths: Sequence[str]) -> Iterator[list[str]]:
    chunk, num_bytes = [], 0
    for path in paths:
        chunk.append(path)
        num_bytes += os.path.getsize(path) if os.path.isfile(path) else 0
        if len(chunk) == CHUNK_FILES or num_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, num_bytes = [], 0
    if chunk:
        yield chunk


def _read(recipe: Recipe, paths: list[str]) -> list[tuple[str, Example | BadExampleError]]:
    read = []
    for path in paths:
        try:
            read.append((path, recipe.read(path)))
        except BadExampleError as error:
            read.append((path, error))
    return read
