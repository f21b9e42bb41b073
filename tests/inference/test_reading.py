"""Files come in their order, whichever of them threads read."""

import threading

import numpy as np

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.inference import inputs
from fcn_jax.inference.inputs import read_ahead, recipe_of
from tests.inference.made import small_config, write_picture

SMALL, LARGE = (9, 11), (90, 110)


def test_small_and_large_files_and_what_is_missing_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "CHUNK_FILES", 3)
    sizes = [SMALL] * 7 + [LARGE] * 9 + [SMALL] * 4 + [LARGE] * 3
    pixels = {str(tmp_path / f"{n}.png"): write_picture(tmp_path / f"{n}.png", size) for n, size in enumerate(sizes)}
    paths = [*list(pixels)[:12], str(tmp_path / "missing.png"), *list(pixels)[12:]]
    recipe = recipe_of(small_config(), rank=2, smallest_side=6, largest_side=None)
    read, in_main = recipe.read, set()

    def noting_where(_, path):
        in_main.add(threading.current_thread() is threading.main_thread())
        return read(path)

    monkeypatch.setattr(type(recipe), "read", noting_where)
    found = [each for chunk in read_ahead(recipe, paths, num_threads=2) for each in chunk]
    assert [path for path, _ in found] == paths
    for path, example in found:
        if path in pixels:
            np.testing.assert_array_equal(example.views[0], pixels[path])
        else:
            assert isinstance(example, BadExampleError)
    assert in_main == {True, False}


def test_whoever_stops_early_waits_for_no_more(tmp_path):
    paths = [str(tmp_path / "0.png")] * 5000
    write_picture(tmp_path / "0.png", LARGE)
    recipe, before = recipe_of(small_config(), rank=2, smallest_side=6, largest_side=None), set(threading.enumerate())
    files = read_ahead(recipe, paths, num_threads=2)
    next(files)
    assert set(threading.enumerate()) > before
    files.close()
    assert set(threading.enumerate()) <= before
