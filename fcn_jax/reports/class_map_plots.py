"""Pictures of class activation maps: one for every file, and a contact sheet of many files.

The picture of an image shows it twice: as it is, and in grey under the colours of the evidence. The grey copy has no
colour of its own, so every colour in it comes from the map. The picture of a signal shows the signal, and a plot of
the evidence below it. Evidence of zero, which speaks neither for nor against the class, has no colour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fcn_jax.data.pictures import shown_pixels
from fcn_jax.data.transforms import resample
from fcn_jax.inference.class_maps import Explained, places_of, read_map
from fcn_jax.reports.html import DOTS_PER_INCH

FOR, AGAINST = np.array([1.0, 0.42, 0.0]), np.array([0.1, 0.45, 1.0])
OPACITY = 0.8
"""Opacity of the colour of the strongest evidence. It is below 1, so that the image beneath stays visible."""
DARKEST = 0.2
"""Grey value (0-1) that black becomes, so that a colour on black is still visible."""


@dataclass(frozen=True)
class ShownFile:
    """A file in the form in which it is drawn."""

    values: Num[np.ndarray, "*shown c"]
    evidence: Float[np.ndarray, "*shown"]
    places: tuple[Float[np.ndarray, " _"], ...]
    """Positions of the input that are drawn, for every axis."""
    size: tuple[int, ...]
    """Size of the input."""
    evidence_in_words: str

    @property
    def limit(self) -> float:
        """Return the largest absolute evidence; at least 1e-6, so that a colour scale can be drawn."""
        return max(1e-6, float(np.abs(self.evidence).max()))


def shown_file(explained: Explained, *, most: int) -> ShownFile:
    """Return a file for drawing, with at most `most` pixels a side (of an image) or `most` values (of a signal)."""
    values, size = explained.values, explained.values.shape[:-1]
    if len(size) == 1:
        values, place = envelope(values, most=most)
        places = (place,)
    else:
        values = fitted(shown_pixels(values), longest=most)
        places = tuple(places_of(side, shown) for side, shown in zip(size, values.shape[:-1], strict=True))
    evidence = read_map(explained.evidence, explained.grids, places)
    return ShownFile(values, evidence, places, size, f"evidence: {explained.evidence_in_words}")


def fitted(image: UInt8[np.ndarray, "h w c"], *, longest: int) -> UInt8[np.ndarray, "m n c"]:
    """Return an image reduced to a longer side of `longest`, or enlarged by the largest whole number that fits."""
    side = max(image.shape[:2])
    if side > longest:
        height, width = (max(1, round(n * longest / side)) for n in image.shape[:2])
        return resample(image, (height, width))
    return image.repeat(longest // side, axis=0).repeat(longest // side, axis=1)


def envelope(
    values: Float[np.ndarray, "t c"], *, most: int
) -> tuple[Float[np.ndarray, "shown c"], Float[np.ndarray, " shown"]]:
    """Return the values of a signal and their positions.

    A signal longer than `most` is divided into parts; each part is replaced by its lowest and its highest value.
    """
    length = len(values)
    if length <= most:
        return values, np.arange(length, dtype=np.float64)
    parts = most // 2
    starts = np.arange(parts) * length // parts
    both = [np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)]
    return np.stack(both, axis=1).reshape(2 * parts, -1), places_of(length, parts).repeat(2)


def tinted(
    grey: Float[np.ndarray, "*shape"], evidence: Float[np.ndarray, "*shape"], *, limit: float
) -> Float[np.ndarray, "*shape 3"]:
    """Return grey (0-1) tinted by the evidence: 0 has no colour, `limit` and `-limit` have the strongest."""
    strength = np.clip(np.abs(evidence) / limit, 0, 1)[..., None] * OPACITY
    colour = np.where(evidence[..., None] > 0, FOR, AGAINST)
    return (DARKEST + (1 - DARKEST) * grey)[..., None] * (1 - strength) + colour * strength


INK = "#22303c"
SMALL, NORMAL, WIDE = 7, 11, 15.0
"""Two font sizes, and a width in inches: pictures wider than that have a larger font."""
LETTERS = 10
"""Letters of the normal font size that fit in an inch."""
BAR_INCHES, BAR_PIXELS = 1.1, 25
"""Width of the colour bar: in inches with its numbers, in pixels without them."""
CELL_INCHES = 1.7
MOST_COLUMNS = 8


@dataclass(frozen=True)
class Caption:
    """The text above a picture."""

    name: str
    """Name of the file."""
    label: str
    """The class whose map is drawn."""
    probability: float
    predicted: str
    """The most probable class."""

    def long(self, letters: int) -> str:
        """Return two lines of at most `letters` letters."""
        other = "" if self.predicted == self.label else f" (predicted: {self.predicted})"
        said = f"{self.label}, probability {self.probability:.3f}{other}"
        return f"{_shortened(self.name, letters)}\n{_shortened(said, letters)}"

    def short(self, letters: int) -> str:
        """Return the same without explaining words, for the contact sheet."""
        number = f"  {self.probability:.3f}"
        return f"{_shortened(self.name, letters)}\n{_shortened(self.label, letters - len(number))}{number}"


def _shortened(line: str, letters: int) -> str:
    return line if len(line) <= letters else f"{line[: letters - 1]}…"


def draw_file(view: ShownFile, caption: Caption) -> Figure:
    """Draw the picture of one file."""
    figure = Figure(figsize=_size_of(view), layout="constrained")
    width, font = figure.get_figwidth(), NORMAL * max(1, figure.get_figwidth() / WIDE)
    title = caption.long(int(LETTERS * width * NORMAL / font))
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=font, parse_math=False)
    if len(view.size) == 1:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        _draw_signal(above, view)
        _draw_evidence(below, view)
        return figure
    # i: the image. t: the tinted image. b: the colour bar.
    mosaic, across = ("ib;tb", 1) if _is_wide(view) else ("itb", 2)
    axes = figure.subplot_mosaic(mosaic, width_ratios=[*[view.values.shape[1]] * across, BAR_PIXELS])
    image = view.values[..., 0] if view.values.shape[-1] == 1 else view.values
    axes["i"].imshow(image, cmap="gray", vmin=0, vmax=255)
    axes["i"].set_axis_off()
    _draw_tinted(axes["t"], view, limit=view.limit)
    axes["b"].imshow(_ramp(view.limit)[::-1, None], aspect="auto", extent=(0, 1, -view.limit, view.limit))
    axes["b"].set_xticks([])
    axes["b"].set_ylabel(view.evidence_in_words.replace("minus", "\nminus"), fontsize=font)
    axes["b"].yaxis.set_label_position("right")
    axes["b"].yaxis.tick_right()
    axes["b"].tick_params(labelsize=font)
    return figure


def draw_sheet(views: Sequence[ShownFile], captions: Sequence[Caption], *, title: str) -> Figure:
    """Draw all files in a grid; one colour scale serves the evidence of all."""
    columns = min(MOST_COLUMNS, math.ceil(math.sqrt(len(views))))
    rows = math.ceil(len(views) / columns)
    width, height = max(CELL_INCHES * columns, 5.0), (CELL_INCHES + 0.35) * rows + 1.2
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=NORMAL)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[*[(height - 1.2) / rows] * rows, 0.2])
    limit = max(view.limit for view in views)
    for number, (view, caption) in enumerate(zip(views, captions, strict=True)):
        axes = figure.add_subplot(grid[number // columns, number % columns])
        _draw_tinted(axes, view, limit=limit)
        letters = int(LETTERS * CELL_INCHES * NORMAL / SMALL)
        axes.set_title(caption.short(letters), color=INK, fontsize=SMALL, loc="left", parse_math=False)
    bar = figure.add_subplot(grid[rows, :])
    bar.imshow(_ramp(limit)[None], aspect="auto", extent=(-limit, limit, 0, 1))
    bar.set(yticks=[], xlabel=views[0].evidence_in_words)
    return figure


def _is_wide(view: ShownFile) -> bool:
    return view.size[1] > 1.5 * view.size[0]


def _size_of(view: ShownFile) -> tuple[float, float]:
    """Return width and height of a file's picture, in inches."""
    if len(view.size) == 1:
        return 9.0, 5.5
    height, width = (side / DOTS_PER_INCH for side in view.values.shape[:2])
    down, across = (2, 1) if _is_wide(view) else (1, 2)
    return max(across * (width + 0.1) + BAR_INCHES, 5.5), max(down * (height + 0.1), 3.5) + 0.6


def _draw_tinted(axes: Axes, view: ShownFile, *, limit: float) -> None:
    """Draw an image in grey under the colours of the evidence, or a signal in front of them."""
    axes.set_axis_off()
    if len(view.size) == 2:
        axes.imshow(tinted(view.values.mean(-1) / 255, view.evidence, limit=limit))
        return
    colours = tinted(np.ones((1, len(view.evidence))), view.evidence[None], limit=limit)
    low, high = float(view.values.min()), float(view.values.max())
    extent = (-0.5, view.size[0] - 0.5, low, high if high > low else low + 1)
    axes.imshow(colours, aspect="auto", extent=extent)
    axes.plot(view.places[0], view.values, color=INK, linewidth=0.5)


def _draw_signal(axes: Axes, view: ShownFile) -> None:
    axes.plot(view.places[0], view.values, linewidth=1.2)
    axes.set_title("signal", color=INK, fontsize=NORMAL, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_evidence(axes: Axes, view: ShownFile) -> None:
    place = view.places[0]
    for sign, colour in ((1, FOR), (-1, AGAINST)):
        axes.fill_between(place, 0, sign * np.maximum(sign * view.evidence, 0), color=tuple(colour), linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set(xlabel="position", xlim=(-0.5, view.size[0] - 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(view.evidence_in_words, color=INK, fontsize=NORMAL, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _ramp(limit: float) -> Float[np.ndarray, "256 3"]:
    """Return the colours of evidence from -limit to limit, on a grey between black and white."""
    return tinted(np.full(256, 0.5), np.linspace(-limit, limit, 256), limit=limit)
