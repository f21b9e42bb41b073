"""The convolution arithmetic agrees with windows that really slide."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.lax import padtype_to_pads

from fcn_jax.core.geometry import (
    SameWindow,
    Window,
    format_size,
    largest_side,
    parse_size,
    receptive_field,
    sizes_through,
    smallest_side,
)

WINDOWS = st.builds(Window, st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
NETS = st.lists(WINDOWS, min_size=1, max_size=4)
DEFAULT_NET = (Window(kernel=4, stride=2, padding=1),) * 3


def slide(window: Window, side: int) -> list[np.ndarray]:
    """Padded positions that each output reads."""
    taps = window.dilation * np.arange(window.kernel)
    padded = side + 2 * window.padding
    return [start + taps for start in range(0, padded, window.stride) if start + taps[-1] < padded]


def slide_through(windows, side: int) -> list[int]:
    """Sides after each window, until nothing is left."""
    sides = [side]
    for window in windows:
        if sides[-1]:
            sides.append(len(slide(window, sides[-1])))
    return sides


@given(WINDOWS, st.integers(1, 40))
def test_output_side_counts_the_positions_of_a_sliding_window(window, side):
    assert max(0, window.output_side(side)) == len(slide(window, side))


@given(WINDOWS)
def test_output_side_of_an_array_is_that_of_each_int(window):
    sides = np.arange(1, 50).reshape(7, 7)
    assert window.output_side(sides).tolist() == [[window.output_side(int(side)) for side in row] for row in sides]


@given(WINDOWS, st.integers(1, 20))
def test_smallest_input_is_the_first_that_gives_the_output(window, output_side):
    side = window.smallest_input(output_side)
    assert len(slide(window, side)) >= output_side
    assert side == 1 or len(slide(window, side - 1)) < output_side


@given(NETS)
def test_smallest_side_is_the_first_that_survives(windows):
    first = next(side for side in itertools.count(1) if slide_through(windows, side)[-1])
    assert smallest_side(windows) == first


@given(NETS, st.lists(st.integers(1, 80), min_size=1, max_size=2))
def test_sizes_through_lists_every_size_or_names_the_window_where_one_vanishes(windows, size):
    slid = [slide_through(windows, side) for side in size]
    if all(sides[-1] for sides in slid):
        assert sizes_through(windows, size) == list(zip(*slid, strict=True))
        return
    number = min(len(sides) - 1 for sides in slid if not sides[-1])
    with pytest.raises(ValueError, match=f"window {number} of {len(windows)} ") as error:
        sizes_through(windows, size)
    message, window = str(error.value), windows[number - 1]
    assert message.startswith(f"size {format_size(size)} does not survive")
    assert f"kernel {window.kernel}, stride {window.stride}, dilation {window.dilation}, padding {window.padding}" in (
        message
    )
    remedy = int(re.search(r"at least (\d+)$", message)[1])
    assert min(size) < remedy
    assert slide_through(windows, remedy)[-1]


def test_the_seed_net_halves_three_times():
    assert sizes_through(DEFAULT_NET, (28, 28)) == [(28, 28), (14, 14), (7, 7), (3, 3)]
    assert sizes_through(DEFAULT_NET, (28, 16)) == [(28, 16), (14, 8), (7, 4), (3, 2)]
    assert sizes_through(DEFAULT_NET, (28,)) == [(28,), (14,), (7,), (3,)]
    assert smallest_side(DEFAULT_NET) == 8


@given(NETS, st.integers(1, 5))
def test_largest_side_is_the_last_that_leaves_no_more(windows, output_side):
    side = largest_side(windows, output_side)
    assert slide_through(windows, side + 1)[-1] > output_side
    if min(slide_through(windows, side)) > 0:
        assert slide_through(windows, side)[-1] <= output_side


@given(st.lists(st.builds(Window, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4))
def test_receptive_field_is_what_a_perturbation_reaches(windows):
    side = next(side for side in itertools.count(1) if slide_through(windows, side)[-1] >= 2)
    reached = np.eye(side, dtype=bool)  # perturbed input x position
    for window in windows:
        reached = np.stack([reached[:, taps].any(1) for taps in slide(window, reached.shape[1])], axis=1)
    inputs = [np.flatnonzero(reached[:, output]) for output in (0, 1)]
    assert receptive_field(windows) == (inputs[0][-1] - inputs[0][0] + 1, inputs[1][0] - inputs[0][0])


@given(NETS)
def test_padding_does_not_change_the_receptive_field(windows):
    bare = [Window(window.kernel, window.stride, window.dilation) for window in windows]
    assert receptive_field(windows) == receptive_field(bare)


@pytest.mark.parametrize(
    ("field", "value", "smallest"), [("kernel", 0, 1), ("stride", 0, 1), ("dilation", 0, 1), ("padding", -1, 0)]
)
def test_a_window_that_cannot_slide_is_refused(field, value, smallest):
    with pytest.raises(ValueError, match=f"^{field} is {value}, but it must be at least {smallest}$"):
        Window(**{"kernel": 3, field: value})
    Window(**{"kernel": 3, field: smallest})


@given(st.builds(SameWindow, st.integers(1, 6), st.integers(1, 4), st.integers(1, 2)), st.integers(1, 40))
def test_a_same_window_pads_as_xla_does(window, side):
    (around,) = padtype_to_pads((side,), (window.extent,), (window.stride,), "SAME")
    assert window.padding_before(side) == around[0]
    assert window.padding_before(np.array([side])).tolist() == [around[0]]
    output = window.output_side(side)
    assert output == -(-side // window.stride)
    assert window.smallest_input(output) <= side < window.smallest_input(output + 1)
    assert smallest_side((window, window)) == 1
    assert largest_side((window,), output) == window.smallest_input(output + 1) - 1


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=2).map(tuple))
def test_sizes_survive_format_and_parse(size):
    assert parse_size(format_size(size)) == size
    assert parse_size("x".join(map(str, size))) == size
    assert parse_size("X".join(map(str, size))) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "28x",
        "x28",
        "0",
        "28x0",
        "-3",
        "28x-3",
        "2.5",
        "28x16x1",
        "a",
        "28xb",
        "28 16",
        "28,16",
        "²",
        "٣",
        "1e3",
    ],
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="neither HEIGHTxWIDTH, such as 28x16, nor a LENGTH") as error:
        parse_size(text)
    assert repr(text) in str(error.value)


def test_a_window_is_described_by_what_is_not_usual():
    assert Window(3).describe(2) == "3×3"
    assert Window(4, 2, padding=1).describe(1) == "4, stride 2, padding 1"
    assert Window(3, 1, 2).describe(2) == "3×3, dilation 2"
    assert SameWindow(3, 2).describe(2) == "3×3, stride 2, same padding"
