"""Examples get another size by rules that never enlarge, resampling of a part, symmetric widening."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.data.pictures import Picture, to_pillow
from fcn_jax.data.transforms import Resize, centred, resample, widen, widened_sizes

SIZES = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), min_size=1, max_size=8).map(np.array)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, shape, np.uint8)


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=2),
    st.sampled_from([1, 3]),
    st.integers(0, 15),
    st.integers(0, 255),
)
def test_widening_centres_the_image_on_background(size, channels, min_side, background):
    image = noise(*size, channels)
    wide = widen(image, min_side, background)
    assert wide.shape == (*[max(side, min_side) for side in size], channels)
    assert wide.dtype == image.dtype
    inside = np.zeros(wide.shape, bool)
    gaps = [max(0, min_side - side) for side in size]
    inside[tuple(slice(gap // 2, gap // 2 + side) for gap, side in zip(gaps, size, strict=True))] = True
    assert (wide[inside] == image.ravel()).all()
    assert (wide[~inside] == background).all()


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1), st.integers(0, 15))
def test_widened_sizes_are_the_sizes_of_widened_images(sizes, min_side):
    expected = [list(widen(noise(*size, 1), min_side, 0).shape[:2]) for size in sizes]
    assert widened_sizes(np.array(sizes), min_side).tolist() == expected


@given(SIZES, st.sampled_from(["longest", "shortest", "area"]), st.integers(1, 500))
def test_a_rule_bounds_its_measure_and_never_enlarges(sizes, kind, n):
    measure = {"longest": lambda s: s.max(1), "shortest": lambda s: s.min(1), "area": lambda s: np.sqrt(s.prod(1))}[
        kind
    ]
    resized = Resize(kind, n).sizes(sizes)
    assert (resized <= sizes).all()
    small = measure(sizes) <= n
    assert (resized[small] == sizes[small]).all()
    assert (np.abs(measure(resized[~small]) - n) <= 1 + (kind == "area") * sizes[~small].max(1)).all()
    if kind in ("longest", "shortest"):
        assert (measure(resized[~small]) == n).all()


@given(SIZES, st.integers(1, 500))
def test_a_square_is_a_square(sizes, n):
    assert (Resize("square", n).sizes(sizes) == n).all()


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_canvas_holds_the_middle_in_its_middle(side, wanted):
    resize = Resize.parse(f"canvas:{wanted}")
    example = np.arange(1, side + 1, dtype=np.float32)[:, None]
    assert resize.sizes(np.array([[side]])).tolist() == [[wanted]]
    values = resize.apply(example, background=0)[:, 0]
    kept = values[values > 0]
    assert len(values) == wanted
    assert len(kept) == min(side, wanted)
    before, after = kept[0] - 1, side - kept[-1]
    assert 0 <= after - before <= 1
    left, right = np.flatnonzero(values)[0], wanted - 1 - np.flatnonzero(values)[-1]
    assert 0 <= right - left <= 1


def test_a_canvas_cuts_and_adds_on_both_sides():
    image = np.arange(1, 5, dtype=np.uint8).reshape(1, 4, 1)
    assert centred(image, (3, 2), 9)[..., 0].tolist() == [[9, 9], [2, 3], [9, 9]]


def test_a_canvas_of_another_rank_is_refused():
    with pytest.raises(ValueError, match="canvas:28, but the examples have 2 spatial axes"):
        Resize.parse("canvas:28").sizes(np.array([[3, 4]]))


def test_an_unknown_rule_is_refused():
    for text in ("tall:3", "longest", "longest:0", "square:-1", "none:3", "area:1e3"):
        with pytest.raises(ValueError, match=f"^config.data.resize is '{text}', but it must be none, longest:N"):
            Resize.parse(text)


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]), st.data())
def test_a_part_at_its_own_size_is_a_slice(height, width, channels, data):
    image = noise(height, width, channels)
    size = (data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    top, left = data.draw(st.integers(0, height - size[0])), data.draw(st.integers(0, width - size[1]))
    part = resample(image, size, start=(float(top), float(left)), extent=(float(size[0]), float(size[1])))
    assert (part == image[top : top + size[0], left : left + size[1]]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_smaller_image_is_an_average_and_a_larger_one_interpolates(channels):
    ramp = np.broadcast_to(np.arange(0, 200, 4, dtype=np.uint8)[None, :, None], (30, 50, channels))
    half = resample(np.ascontiguousarray(ramp), (15, 25))
    assert half.shape == (15, 25, channels)
    assert np.abs(half[:, 1:-1] - np.arange(2.0, 200, 8)[1:-1, None]).max() <= 1
    part = resample(np.ascontiguousarray(ramp), (60, 40), start=(0.0, 10.0), extent=(30.0, 20.0))
    assert part.shape == (60, 40, channels)
    assert np.abs(part[:, 1:-1] - (40 + 2 * np.arange(40.0)[1:-1, None] - 1)).max() <= 2


def test_signals_are_interpolated():
    signal = np.stack([np.arange(10.0), np.arange(10.0)[::-1]], axis=1).astype(np.float32)
    double = resample(signal, (20,))
    assert double.dtype == np.float32
    np.testing.assert_allclose(double[1:-1, 0], np.arange(0.25, 9, 0.5), atol=1e-6)
    np.testing.assert_allclose(double.sum(1), 9, atol=1e-5)
    assert resample(signal, (4,), start=(3.0,), extent=(4.0,))[:, 0].tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rule", ["none", "area:9", "square:30", "shortest:5", "canvas:4x40"])
def test_a_picture_is_resized_like_its_pixels(rule, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (13, 22, channels)).astype(np.uint8)
    resize, picture = Resize.parse(rule), Picture(to_pillow(pixels), pixels.shape[:2])
    assert (resize.apply(picture, background=7) == resize.apply(pixels, background=7)).all()
