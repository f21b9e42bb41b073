"""The figures of docs/fully_convolutional.md, made with the package's own geometry, layers and training.

python -m docs.make_figures     (from the checkout; takes a few minutes, the second time one)

Two figures need trained nets. They are trained as in the guide, on the first 12,000 of MNIST's training digits for 6
epochs, and stay in runs/guide and runs/guide_unmasked.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from configs import mnist
from fcn_jax.commands.train import train
from fcn_jax.config import Config
from fcn_jax.config_fields import overridden
from fcn_jax.core.block import Block
from fcn_jax.core.geometry import Window, format_size, receptive_field, sizes_through
from fcn_jax.core.net import Model
from fcn_jax.nets.convolutional import windows_of
from fcn_jax.nets.families import FCN
from fcn_jax.train.checkpoint import restore_latest
from fcn_jax.train.passes import split_logits
from fcn_jax.train.setup import prepare

FIGURES = Path(__file__).parent / "figures"
RUN = {
    "data.train_split": "train[:12000]",
    "schedule.examples_per_step": 128,
    "train.epochs": 6,
    "train.evaluate_every_epochs": 0,
}
TESTED = {"data.test_split": "test[:1000]", "evaluate.examples_per_step": 64}
PADDINGS = (0, 2, 8, 32, 128)
HEIGHT, GAP = 20, 14
"""Height of the row of digits, and number of background columns around each digit, in pixels."""
INK, BLUE, ORANGE, GREY = "#22303c", "#2f6fab", "#d9622b", "#c9d1d8"


def main() -> None:
    FIGURES.mkdir(exist_ok=True)
    masked, unmasked = (
        overridden(mnist.get_config(), {**RUN, "model.masked": is_masked}) for is_masked in (True, False)
    )
    for config in (masked, unmasked):
        train(config, workdir_of(config))
    save(draw_sizes(masked), "sizes")
    save(draw_same_padding(), "same_padding")
    save(draw_padding_error((masked, unmasked)), "padding_error")
    save(draw_class_map(masked), "class_map")


def workdir_of(config: Config) -> Path:
    return Path("runs/guide" if config.model.masked else "runs/guide_unmasked")


def save(figure: Figure, name: str) -> None:
    figure.savefig(FIGURES / f"{name}.png", dpi=110, metadata={"Software": None})


def plain(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def draw_sizes(config: Config) -> Figure:
    """Draw the feature maps of the default net for two input sizes, all at one scale.

    Only the number of positions differs between the sizes.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    assert isinstance(config.model, FCN)
    windows, channels = windows_of(config.model), (1, *config.model.channels)
    for axes, size in zip(figure.subplots(2, 1), ((28, 28), (28, 16)), strict=True):
        left = 0
        for (height, width), depth in zip(sizes_through(windows, size), channels, strict=True):
            for edge in range(height + 1):
                axes.plot([left, left + width], [edge - height / 2] * 2, color=BLUE, linewidth=0.7)
            for edge in range(width + 1):
                axes.plot([left + edge] * 2, [-height / 2, height / 2], color=BLUE, linewidth=0.7)
            label = f"{format_size((height, width))}\n{depth} channel{'s' if depth > 1 else ''}"
            axes.text(left + width / 2, height / 2 + 1, label, ha="center", va="top", color=INK)
            left += width + 12
        axes.text(left - 6, 0, "1×1 convolution,\naverage: 10 logits", va="center", color=ORANGE)
        axes.set(xlim=(-1, 112), ylim=(21, -15), aspect="equal")
        axes.set_axis_off()
    return figure


def draw_same_padding() -> Figure:
    """Draw the windows of kernel 3 and stride 2 on 27 positions, alone and on a canvas of 28."""
    window, positions, shown = Window(3, 2, padding=1), 27, 8
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    for axes, title in zip(figure.subplots(1, 2), ("'SAME'", "symmetric, padding 1"), strict=True):
        for row, canvas in enumerate((positions, positions + 1)):
            explicit = [(window.padding, window.padding)]
            same = lax.padtype_to_pads((canvas,), (window.kernel,), (window.stride,), "SAME")
            before, _ = (explicit if "symmetric" in title else same)[0]
            top = 5.5 * row
            for position in range(shown):
                axes.add_patch(Rectangle((position, top), 1, 1, facecolor=GREY, edgecolor="white"))
                axes.text(position + 0.5, top + 0.5, str(position), ha="center", va="center", color=INK, fontsize=9)
            for place in range(3):
                start = place * window.stride - before
                colour = BLUE if before else ORANGE
                axes.plot(
                    [start + 0.08, start + window.kernel - 0.08], [top + 1.5 + 0.7 * place] * 2, colour, linewidth=5
                )
            axes.text(-1, top - 0.4, f"{canvas} wide: {before} before", color=INK)
        axes.set(xlim=(-1.3, shown + 0.3), ylim=(9.5, -1.2))
        axes.set_title(f"{title}: the first three windows", color=INK, fontsize=11, loc="left")
        axes.set_axis_off()
    return figure


def draw_padding_error(configs: Sequence[Config]) -> Figure:
    """Draw how logits and accuracy change as padding grows, for nets trained with masks and without."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    error_axes, accuracy_axes = (plain(axes) for axes in figure.subplots(1, 2))
    places = range(len(PADDINGS))
    for config, colour, marker in zip(configs, (BLUE, ORANGE), "os", strict=True):
        logits, labels = zip(*(padded_logits(config, padding) for padding in PADDINGS), strict=True)
        errors = [np.abs(found - logits[0]).max(-1).mean() for found in logits]
        accuracies = [100 * (found.argmax(-1) == labels[0]).mean() for found in logits]
        name = "masked" if config.model.masked else "unmasked"
        error_axes.plot(places, errors, color=colour, marker=marker, label=name)
        accuracy_axes.plot(places, accuracies, color=colour, marker=marker, label=name)
        print(name, *(f"{p}: {e:.1e} {a:.1f}%" for p, e, a in zip(PADDINGS, errors, accuracies, strict=True)))
    error_axes.set_yscale("symlog", linthresh=1e-8)
    error_axes.set_yticks([0, 1e-8, 1e-6, 1e-4, 1e-2, 1])
    error_axes.set(ylabel="largest change of a logit, mean", ylim=(-2e-9, 20))
    accuracy_axes.set(ylabel="accuracy, %", ylim=(0, 102))
    for axes in (error_axes, accuracy_axes):
        axes.set_xticks(places, [str(padding) for padding in PADDINGS])
        axes.set_xlabel("rows and columns of padding added")
        axes.grid(alpha=0.3)
    accuracy_axes.legend(frameon=False, loc="center left")
    return figure


def padded_logits(config: Config, padding: int) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, " n"]]:
    """Return the logits of a trained net for the test digits, and their labels."""
    setup = prepare(overridden(config, {**TESTED, "evaluate.padding": padding}), abstract=True)
    logits = split_logits(setup, restore_latest(workdir_of(config), setup.state), setup.test, title="test")
    return logits, setup.test.dataset.labels


def draw_class_map(config: Config) -> Figure:
    """Draw a row of digits, and the logit of every class in every column of `logits_2d`."""
    setup = prepare(config, abstract=True)
    state = restore_latest(workdir_of(config), setup.state)
    model = nnx.merge(setup.graphdef, *state.evaluated)
    row, middles = row_of_digits([setup.test.dataset.example(number)[..., 0] for number in range(5)])
    columns = class_columns(model, row)
    _, jump = receptive_field(model.windows)
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    image_axes, map_axes = figure.subplots(2, 1, height_ratios=[1, 2])
    image_axes.imshow(row, cmap="gray_r", aspect="auto", extent=(0, row.shape[1], row.shape[0], 0))
    image_axes.set(xticks=[], yticks=[], title=f"input, {format_size(row.shape)}")
    num_columns, num_classes = columns.shape
    extent = (0, jump * num_columns, num_classes - 0.5, -0.5)
    shown = map_axes.imshow(columns.T, cmap="magma", aspect="auto", extent=extent)
    for column in (int(middle / jump) for middle in middles):
        corner = (jump * column, columns[column].argmax() - 0.5)
        map_axes.add_patch(Rectangle(corner, jump, 1, fill=False, edgecolor="#35d0ff", linewidth=2.5))
    map_axes.set(xlim=(0, row.shape[1]), xticks=[], yticks=range(num_classes), ylabel="class")
    map_axes.set_title(f"logits_2d, {num_columns} columns of {jump} pixels, its rows averaged")
    figure.colorbar(shown, ax=[image_axes, map_axes], label="logit", shrink=0.6)
    return figure


def row_of_digits(digits: Sequence[UInt8[np.ndarray, "h w"]]) -> tuple[UInt8[np.ndarray, "h w"], list[float]]:
    """Return an image of the digits side by side, with gaps between and around them, and their middle columns."""
    gap = np.zeros((HEIGHT, GAP), np.uint8)
    parts, middles, left = [gap], [], GAP
    for digit in digits:
        above, width = (HEIGHT - len(digit)) // 2, digit.shape[1]
        parts += [np.pad(digit, ((above, HEIGHT - len(digit) - above), (0, 0))), gap]
        middles.append(left + width / 2)
        left += width + GAP
    return np.concatenate(parts, axis=1), middles


def class_columns(model: Model, image: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "w k"]:
    """Return `logits_2d` of one image, averaged over its rows."""
    alone = Block(image[None, ..., None], np.array([image.shape]), np.zeros(1, int), np.ones(1), np.zeros(1, int))
    (prediction,) = jax.jit(lambda block: model((block,), training=False))(alone)
    return np.asarray(jnp.mean(prediction.logits_2d.x[0], axis=0))


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main()
