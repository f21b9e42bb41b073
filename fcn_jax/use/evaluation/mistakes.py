"""Mistakes to look at: each example as the net was given it, small, with what it is and what it was taken for."""

import io

import numpy as np
from jaxtyping import Num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from fcn_jax.data.resize import Resize, to_picture
from fcn_jax.geometry import format_size
from fcn_jax.page import Picture, png_of
from fcn_jax.use.evaluation.evaluation import Evaluation

LONGEST_SIDE = 160
"""Of a picture on the page; a larger image is reduced, and a smaller one shown larger by whole pixels."""
MOST_LINES = 4
"""A signal of more channels is drawn as an image, a row a channel."""


def mistake_pictures(evaluation: Evaluation) -> list[Picture]:
    """The worst mistakes, the most confident first."""
    return [_mistake(evaluation, row) for row in evaluation.findings.worst.tolist()]


def _mistake(evaluation: Evaluation, row: int) -> Picture:
    """The picture of a row of the answers."""
    answers, names, dataset = evaluation.answers, evaluation.label_names, evaluation.dataset
    index, size = int(answers.index[row]), format_size(answers.size[row].tolist())
    size = size if dataset.rank == 2 else f"length {size}"
    true, predicted = names[answers.label[row]], names[answers.predicted[row]]
    said = f"{true}, taken for {predicted} with probability {answers.probability[row]:.3f}"
    where = f"{size}, {evaluation.names[row]}"
    example = dataset.example(index)
    kind, png = ("Image", png_of_image(example)) if dataset.rank == 2 else ("Signal", png_of_signal(example))
    return Picture(f"mistake_{index}", f"{said}; {where}", f"{kind} of {said}: {where}", png)


def png_of_image(image: Num[np.ndarray, "h w c"]) -> bytes:
    """An image as a PNG file, its longest side near LONGEST_SIDE, its pixels to be seen where it is small."""
    picture = to_picture(Resize("longest", LONGEST_SIDE).apply(image, background=0))
    times = max(1, LONGEST_SIDE // max(picture.size))
    enlarged = picture.resize((times * picture.width, times * picture.height), Image.Resampling.NEAREST)
    with io.BytesIO() as file:
        enlarged.save(file, format="png")
        return file.getvalue()


def png_of_signal(signal: Num[np.ndarray, "t c"]) -> bytes:
    """A signal as a PNG file: a line a channel, or of many channels an image."""
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
