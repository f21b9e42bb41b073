"""The figure docs/figures/detector.png: a net trained on single digits finds one class on a canvas of hundreds.

python -m docs.make_detector     (from the checkout; takes a few minutes, the second time seconds)

The script trains runs/detector on digits that are widened to 36×36 and shifted, so that the net has seen empty
background. It writes runs/detector_canvas.png with 600 of the test digits, and draws the map of one class. It prints
how often the class with the most evidence in the middle of a digit is the right one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from configs import mnist
from docs.make_figures import INK, save
from fcn_jax.commands.train import train
from fcn_jax.config_fields import overridden
from fcn_jax.core.net import Model
from fcn_jax.data.source import Source
from fcn_jax.data.sources import open_source
from fcn_jax.inference.class_maps import CellGrid, Explained, MapMaker, read_map
from fcn_jax.inference.classifier import predict_batch, restore_trained
from fcn_jax.reports.class_map_plots import shown_file, tinted

WORKDIR, CANVAS = Path("runs/detector"), Path("runs/detector_canvas.png")
RUN = {
    "data.min_side": 36,
    "data.augment.shift": 8.0,
    "data.train_split": "train[:20000]",
    "schedule.examples_per_step": 128,
    "train.epochs": 4,
    "train.evaluate_every_epochs": 0,
}
SIDE, NUM_DIGITS, GAP = 2000, 600, 12
LABEL = 4
"""The class whose map is drawn."""
CORNER, CUT = (230, 1020), 300
"""The first row and column of the part that is shown large, and its side, in pixels."""


@dataclass(frozen=True)
class Placed:
    """A digit on the canvas: its label and its middle."""

    label: int
    middle: tuple[float, float]


def main() -> None:
    config = overridden(mnist.get_config(), RUN)
    train(config, WORKDIR)
    canvas, placed = scattered(open_source(config, "test"))
    Image.fromarray(canvas).save(CANVAS)
    trained = restore_trained(WORKDIR)
    (found,) = MapMaker(trained, label=LABEL).maps([str(CANVAS)])
    assert isinstance(found, Explained), found
    save(draw(found), "detector")
    report(all_evidence(trained.model, canvas), found.grids, placed)


def scattered(digits: Source) -> tuple[UInt8[np.ndarray, "h w"], list[Placed]]:
    """Return a black canvas with digits at random places and a gap between any two, and the list of digits."""
    rng = np.random.default_rng(0)
    canvas, is_taken = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), bool)
    placed = []
    while len(placed) < NUM_DIGITS:
        digit = digits.read(len(placed))[..., 0]
        height, width = digit.shape
        top, left = (int(rng.integers(GAP, SIDE - side - GAP)) for side in digit.shape)
        around = (slice(top - GAP, top + height + GAP), slice(left - GAP, left + width + GAP))
        if not is_taken[around].any():
            canvas[top : top + height, left : left + width] = digit
            is_taken[top : top + height, left : left + width] = True
            middle = (top + (height - 1) / 2, left + (width - 1) / 2)
            placed.append(Placed(int(digits.labels[len(placed)]), middle))
    return canvas, placed


def all_evidence(model: Model, canvas: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "m n k"]:
    """Return the evidence for every class in every cell."""
    predict = jax.jit(lambda image, size: predict_batch(model, image, size).logits_2d.x[0])
    logits = np.asarray(predict(canvas[None, ..., None], np.array([canvas.shape], np.int32)))
    return logits - logits.mean(-1, keepdims=True)


def report(evidence: Float[np.ndarray, "m n k"], grids: Sequence[CellGrid], placed: Sequence[Placed]) -> None:
    """Print what the net says in the middle of every digit, and where nothing is."""
    places = [[np.array([position]) for position in digit.middle] for digit in placed]
    at = np.array(
        [[read_map(of_class, grids, place).item() for of_class in evidence.T.swapaxes(1, 2)] for place in places]
    )
    labels = np.array([digit.label for digit in placed])
    is_wanted = labels == LABEL
    print(f"{(at.argmax(1) == labels).mean():.1%} of {len(placed)} digits are named by the evidence in their middle")
    print(f"evidence for {LABEL} in the middle of a {LABEL} {at[is_wanted, LABEL].mean():.1f}, ", end="")
    print(f"of another digit {at[~is_wanted, LABEL].mean():.1f}")
    print("medians over the canvas, most of which is empty:", *np.median(evidence, (0, 1)).round(2))


def draw(found: Explained) -> Figure:
    """The canvas under its evidence, and a part of it, large, with and without."""
    whole, part = shown_file(found, most=750), shown_file(cut_out(found), most=520)
    figure = Figure(figsize=(10.4, 7), layout="constrained")
    axes = figure.subplot_mosaic("wwp;wwt")
    axes["w"].imshow(tinted(whole.values[..., 0] / 255, whole.evidence, limit=whole.limit))
    scale = len(whole.values) / SIDE
    corner = (CORNER[1] * scale, CORNER[0] * scale)
    axes["w"].add_patch(Rectangle(corner, CUT * scale, CUT * scale, fill=False, edgecolor="white"))
    axes["p"].imshow(part.values[..., 0], cmap="gray")
    axes["t"].imshow(tinted(part.values[..., 0] / 255, part.evidence, limit=whole.limit))
    axes["w"].set_title(f"{SIDE}×{SIDE} pixels, {NUM_DIGITS} digits: evidence for {LABEL}", color=INK, loc="left")
    axes["p"].set_title(f"the part in the frame, {CUT}×{CUT}", color=INK, loc="left")
    for one in axes.values():
        one.set_axis_off()
    return figure


def cut_out(found: Explained) -> Explained:
    """Return the part that is shown large."""
    rows, columns = (slice(start, start + CUT) for start in CORNER)
    grids = [replace(grid, first=grid.first - start) for grid, start in zip(found.grids, CORNER, strict=True)]
    return replace(found, values=found.values[rows, columns], grids=tuple(grids))


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main()
