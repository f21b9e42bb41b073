"""The pictures of an evaluation: of the right size, of any number of classes, with the numbers in words."""

import io

import numpy as np
import pytest
from PIL import Image

from fcn_jax.inference.statistics import Bin, Confusion, Proportion
from fcn_jax.reports.evaluation_parts import png_of_image, png_of_signal
from fcn_jax.reports.evaluation_plots import accuracy_by, accuracy_by_scale, confusion_picture, reliability

BINS = [Bin(0.2, 0.4, 0.3, Proportion(0, 7)), Bin(0.8, 1.0, 0.9, Proportion(26, 26))]


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


@pytest.mark.parametrize(
    ("size", "shown"),
    [((8, 20, 1), (160, 64)), ((300, 400, 3), (160, 120)), ((81, 50, 3), (50, 81)), ((1, 1, 1), (160, 160))],
)
def test_images_are_shown_near_one_size(size, shown):
    image = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    picture = opened(png_of_image(image))
    assert picture.size == shown
    assert picture.mode == ("L" if size[2] == 1 else "RGB")


def test_small_images_keep_their_pixels():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 1), np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(png_of_image(image)))[16::32, 16::32], image[..., 0])


@pytest.mark.parametrize("channels", [1, 4, 12])
def test_signals_are_drawn(channels):
    signal = np.random.default_rng(0).normal(size=(30, channels)).astype(np.float32)
    assert len(np.unique(np.asarray(opened(png_of_signal(signal))))) > 10


@pytest.mark.parametrize("number", [2, 12, 50])
def test_a_confusion_matrix_of_any_number_of_classes(number):
    matrix = np.diag(np.full(number, 5))
    matrix[0, 1] = 3
    names = [f"a class with a long name {k}" for k in range(number)]
    picture = confusion_picture(matrix, names, [Confusion(0, 1, 3)])
    assert f"{5 * number} of {5 * number + 3} examples are on the diagonal" in picture.text
    assert "a class with a long name 0 predicted as a class with a long name 1: 3" in picture.text
    assert opened(picture.png).width > 600


def test_nothing_confused_is_said():
    assert "No example is off it" in confusion_picture(np.eye(2, dtype=int), ["a", "b"], []).text


def test_plots_say_their_numbers():
    assert "0.2 to 0.4: 0.00 [0.00, 35.43] of 7" in accuracy_by(BINS, "side", name="side", overall=0.8, digits=1).text
    assert "mean probability 0.900: accuracy 100.00 [87.13, 100.00] of 26" in reliability(BINS).text
    text = accuracy_by_scale([2.0, 0.5], [Proportion(1, 4), Proportion(3, 4)]).text
    assert text.index("0.5: 75.00") < text.index("2: 25.00")


def test_a_confusion_matrix_of_names_that_are_no_text():
    names = ["caf\udce9", "$x_{$", "a\n\x1b[31m"]
    assert opened(confusion_picture(np.eye(3, dtype=np.int64), names, []).png).width > 600
