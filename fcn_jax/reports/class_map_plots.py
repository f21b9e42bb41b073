"""Pictures of class activation maps: of a file, and of many on a contact sheet.

An image stands beside itself in grey, tinted by the evidence, so that all colour there is the map's; a signal above the
evidence. Neutral, where no class is spoken for, is no colour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fcn_jax.data.transforms import resample
from fcn_jax.inference.class_maps import Explained, places_of, read_map
from fcn_jax.reports.html import DOTS_PER_INCH

FOR, AGAINST = np.array([1.0, 0.42, 0.0]), np.array([0.1, 0.45, 1.0])
OPACITY = 0.8
"""Of the strongest evidence: whatever lies beneath stays visible."""
DARKEST = 0.2
"""That grey becomes, so that a colour on black can be told from black."""


@dataclass(frozen=True)
class ShownFile:
    """A file as it is shown."""

    values: Num[np.ndarray, "*shown c"]
    evidence: Float[np.ndarray, "*shown"]
    places: tuple[Float[np.ndarray, " _"], ...]
    """Positions of the input that are shown, on every axis."""
    size: tuple[int, ...]
    """Of the input."""

    @property
    def limit(self) -> float:
        """The strongest evidence; where there is none, not quite 0, so that a scale can be drawn."""
        return max(1e-6, float(np.abs(self.evidence).max()))


def shown_file(explained: Explained, *, most: int) -> ShownFile:
    """A file with at most so many pixels a side, or values."""
    values, size = explained.values, explained.values.shape[:-1]
    if len(size) == 1:
        values, place = envelope(values, most=most)
        places = (place,)
    else:
        values = fitted(values, longest=most)
        places = tuple(places_of(side, shown) for side, shown in zip(size, values.shape[:-1], strict=True))
    return ShownFile(values, read_map(explained.evidence, explained.grids, places), places, size)


def fitted(image: UInt8[np.ndarray, "h w c"], *, longest: int) -> UInt8[np.ndarray, "m n c"]:
    """An image whose longer side is `longest`, or where it is smaller than half of that, a whole number of times it."""
    side = max(image.shape[:2])
    if side > longest:
        height, width = (max(1, round(n * longest / side)) for n in image.shape[:2])
        return resample(image, (height, width))
    return image.repeat(longest // side, axis=0).repeat(longest // side, axis=1)


def envelope(
    values: Float[np.ndarray, "t c"], *, most: int
) -> tuple[Float[np.ndarray, "shown c"], Float[np.ndarray, " shown"]]:
    """Values of a signal and their positions; of one that is longer, the lowest and highest of every part."""
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
    """Grey (0-1) under the colour of the evidence: none is no colour, `limit` the strongest of its sign."""
    strength = np.clip(np.abs(evidence) / limit, 0, 1)[..., None] * OPACITY
    colour = np.where(evidence[..., None] > 0, FOR, AGAINST)
    return (DARKEST + (1 - DARKEST) * grey)[..., None] * (1 - strength) + colour * strength


INK = "#22303c"
EVIDENCE = "evidence: logit less the mean of all classes' logits"
SMALL, NORMAL, WIDE = 7, 11, 15.0
"""Font sizes; a picture wider than that many inches has a larger one."""
LETTERS = 10
"""In an inch, of normal size."""
BAR_INCHES, BAR_PIXELS = 1.1, 25
"""With its numbers, and without."""
CELL_INCHES = 1.7
MOST_COLUMNS = 8


@dataclass(frozen=True)
class Caption:
    """What stands above a picture."""

    name: str
    """Of the file."""
    label: str
    """The class whose map it is."""
    probability: float
    predicted: str
    """The most probable class."""

    def long(self, letters: int) -> str:
        """Two lines of at most so many letters."""
        other = "" if self.predicted == self.label else f" (predicted: {self.predicted})"
        said = f"{self.label}, probability {self.probability:.3f}{other}"
        return f"{_shortened(self.name, letters)}\n{_shortened(said, letters)}"

    def short(self, letters: int) -> str:
        """The same without words."""
        number = f"  {self.probability:.3f}"
        return f"{_shortened(self.name, letters)}\n{_shortened(self.label, letters - len(number))}{number}"


def _shortened(line: str, letters: int) -> str:
    return line if len(line) <= letters else f"{line[: letters - 1]}…"


def draw_file(view: ShownFile, caption: Caption) -> Figure:
    """The picture of one file."""
    figure = Figure(figsize=_size_of(view), layout="constrained")
    width, font = figure.get_figwidth(), NORMAL * max(1, figure.get_figwidth() / WIDE)
    title = caption.long(int(LETTERS * width * NORMAL / font))
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=font, parse_math=False)
    if len(view.size) == 1:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        _draw_signal(above, view)
        _draw_evidence(below, view)
        return figure
    # i the image, t the tinted one, b the bar.
    mosaic, across = ("ib;tb", 1) if _is_wide(view) else ("itb", 2)
    axes = figure.subplot_mosaic(mosaic, width_ratios=[*[view.values.shape[1]] * across, BAR_PIXELS])
    image = view.values[..., 0] if view.values.shape[-1] == 1 else view.values
    axes["i"].imshow(image, cmap="gray", vmin=0, vmax=255)
    axes["i"].set_axis_off()
    _draw_tinted(axes["t"], view, limit=view.limit)
    axes["b"].imshow(_ramp(view.limit)[::-1, None], aspect="auto", extent=(0, 1, -view.limit, view.limit))
    axes["b"].set_xticks([])
    axes["b"].set_ylabel(EVIDENCE.replace("less", "\nless"), fontsize=font)
    axes["b"].yaxis.set_label_position("right")
    axes["b"].yaxis.tick_right()
    axes["b"].tick_params(labelsize=font)
    return figure


def draw_sheet(views: Sequence[ShownFile], captions: Sequence[Caption], *, title: str) -> Figure:
    """All files in a grid, their evidence in one scale."""
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
    bar.set(yticks=[], xlabel=EVIDENCE)
    return figure


def _is_wide(view: ShownFile) -> bool:
    return view.size[1] > 1.5 * view.size[0]


def _size_of(view: ShownFile) -> tuple[float, float]:
    """Width and height of a file's picture, in inches."""
    if len(view.size) == 1:
        return 9.0, 5.5
    height, width = (side / DOTS_PER_INCH for side in view.values.shape[:2])
    down, across = (2, 1) if _is_wide(view) else (1, 2)
    return max(across * (width + 0.1) + BAR_INCHES, 5.5), max(down * (height + 0.1), 3.5) + 0.6


def _draw_tinted(axes: Axes, view: ShownFile, *, limit: float) -> None:
    """An image in grey under the colours of the evidence, or a signal before them."""
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
    axes.set_title(EVIDENCE, color=INK, fontsize=NORMAL, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _ramp(limit: float) -> Float[np.ndarray, "256 3"]:
    """The colours of evidence from -limit to limit, over a grey between black and white."""
    return tinted(np.full(256, 0.5), np.linspace(-limit, limit, 256), limit=limit)
