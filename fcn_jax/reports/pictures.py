"""Pictures of single examples, for pages: an image as it is, a signal as lines or as an image."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from fcn_jax.data.pictures import shown_pixels, to_pillow
from fcn_jax.data.transforms import Resize
from fcn_jax.reports.html import png_of

LONGEST_SIDE = 160
"""Longest side of a picture on the page, pixels. Larger images are reduced; smaller ones grow by a whole factor."""
MOST_LINES = 4
"""Most channels that are drawn as lines. A signal with more becomes an image, with one row for each channel."""


def png_of_example(example: Num[np.ndarray, "*spatial c"]) -> bytes:
    """Return an image or a signal as a PNG file."""
    return png_of_image(example) if example.ndim == 3 else png_of_signal(example)


def side_by_side(pngs: Sequence[bytes]) -> bytes:
    """Return one PNG file with some others beside each other."""
    pictures = [Image.open(io.BytesIO(png)).convert("RGBA") for png in pngs]
    gap = 6
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    whole, left = Image.new("RGBA", (width, max(picture.height for picture in pictures))), 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + gap
    with io.BytesIO() as file:
        whole.save(file, format="png")
        return file.getvalue()


def png_of_image(image: Num[np.ndarray, "h w c"]) -> bytes:
    """Return an image as a PNG file with a longest side near LONGEST_SIDE; pixels of a small image become squares."""
    picture = to_pillow(shown_pixels(Resize("longest", LONGEST_SIDE).apply(image, background=0)))
    times = max(1, LONGEST_SIDE // max(picture.size))
    enlarged = picture.resize((times * picture.width, times * picture.height), Image.Resampling.NEAREST)
    with io.BytesIO() as file:
        enlarged.save(file, format="png")
        return file.getvalue()


def png_of_signal(signal: Num[np.ndarray, "t c"]) -> bytes:
    """Return a plot of a signal as a PNG file: one line for each channel, or an image if there are many."""
    figure = Figure(figsize=(2.2, 1.5), layout="constrained")
    axes = figure.add_subplot()
    if signal.shape[1] <= MOST_LINES:
        axes.plot(signal, linewidth=1)
        axes.margins(x=0)
    else:
        axes.imshow(signal.T, aspect="auto", cmap="viridis", interpolation="nearest")
        axes.set_ylabel("channel", fontsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel("position", fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelsize=7)
    return png_of(figure)
