"""A map's cells lie in the middle of what they see; and what is read between them."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.config import Config
from fcn_jax.core.geometry import receptive_field
from fcn_jax.inference.class_maps import CellGrid, grid_of, places_of, read_map
from fcn_jax.inference.classifier import predict_batch
from fcn_jax.nets.families import FCN
from fcn_jax.nets.model import make_model
from tests.core.padding import drawn
from tests.made_models import model_of

LENGTH, DRAWS = 63, 6
NETS = {
    "the default net": {"channels": (4, 4, 4)},
    "dilated, not padded": {
        "channels": (4, 4), "kernel": (3, 2), "stride": (1, 3), "dilation": (2, 3), "padding": (0,)
    },
    "residual, behind the stem of ImageNet": {
        "name": "resnet", "channels": (4,), "blocks": (1,), "stem_kernel": 7, "stem_stride": 2, "stem_pool": True
    },
    "even kernels": {"name": "fcn1d", "channels": (4, 4), "kernel": (8, 4)},
}  # fmt: skip


@pytest.mark.parametrize("fields", NETS.values(), ids=NETS.keys())
def test_a_cell_stands_in_the_middle_of_what_changes_it(fields):
    config = Config(model=model_of(**fields))
    model = drawn(lambda: make_model(config, rank=1))
    rng = np.random.default_rng(0)
    signals = np.repeat(rng.normal(size=(DRAWS, 1, LENGTH, 1)), LENGTH + 1, axis=1).astype(np.float32)
    for position in range(LENGTH):
        signals[:, position, position] += 3 * rng.normal(size=(DRAWS, 1))
    batch = signals.reshape(-1, LENGTH, 1)
    predict = jax.jit(lambda image, size: predict_batch(model, image, size).logits_2d.x)
    maps = np.asarray(predict(batch, np.full((len(batch), 1), LENGTH, np.int32))).reshape(*signals.shape[:2], -1, 10)
    sees = (np.abs(maps[:, :-1] - maps[:, -1:]) > 0).any((0, -1))  # [position, cell]
    grid, (field, _) = grid_of(model.net.layers, LENGTH), receptive_field(model.windows)
    assert sees.shape[1] == grid.cells
    whole = [cell for cell in range(grid.cells) if sees[:, cell].sum() and not sees[[0, -1], cell].any()]
    assert len(whole) >= 3
    for cell in whole:
        seen = np.flatnonzero(sees[:, cell])
        assert seen[-1] - seen[0] + 1 == field
        assert (seen[0] + seen[-1]) / 2 == grid.first + grid.step * cell


def test_behind_an_adaptive_pool_a_cell_stands_in_the_middle_of_its_part():
    model = FCN(channels=(4, 4), kernel=(4, 3), stride=(2, 1), adaptive_pool=8, adaptive_pool_after=1)
    config = Config(model=model)
    model = drawn(lambda: make_model(config, rank=1))
    # 48 positions become 24, in 8 parts of 3, whose middles are 6 positions apart, the first after 3 of them.
    assert grid_of(model.net.layers, 48) == CellGrid(first=3 - 0.5, step=6.0, cells=8)


@given(
    st.tuples(st.floats(-3, 8), st.floats(0.5, 9), st.integers(1, 6)),
    st.tuples(st.floats(-3, 8), st.floats(0.5, 9), st.integers(1, 6)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_between_cells_a_map_is_linear_and_beyond_them_constant(first, second, shown):
    grids = CellGrid(*first), CellGrid(*second)
    values = np.random.default_rng(0).normal(size=(first[2], second[2]))
    places = tuple(places_of(25, number) for number in shown)
    expected = values
    for axis, (grid, at) in enumerate(zip(grids, places, strict=True)):
        known = grid.first + grid.step * np.arange(grid.cells)
        expected = np.apply_along_axis(lambda line, at=at, known=known: np.interp(at, known, line), axis, expected)
    np.testing.assert_allclose(read_map(values, grids, places), expected, atol=1e-9)


def test_places_are_the_middles_of_what_is_shown():
    np.testing.assert_allclose(places_of(6, 6), np.arange(6))
    np.testing.assert_allclose(places_of(6, 3), [0.5, 2.5, 4.5])
    np.testing.assert_allclose(places_of(2, 4), [-0.25, 0.25, 0.75, 1.25])
