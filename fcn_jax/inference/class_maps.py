"""Class activation maps of files: the evidence for a class at each place.

Only nets whose logits are means over positions have them. The map of a class is its channel of `logits_2d` (Zhou et
al., arXiv:1512.04150). What always holds: its mean over the true positions is the logit of the class. Adding a number
to all logits does not change the softmax. So the evidence for a class at a place is its map minus the mean of all
classes' maps there (`Explained.evidence`). Zero means no more evidence than for the average class. The mean of the
evidence is the logit minus the mean of all logits. Of several labels each class has a probability of its own, the
sigmoid of its logit, so the evidence is the map itself: zero speaks neither for the class nor against it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from fcn_jax.config import UserError
from fcn_jax.core.block import AnyArray, filler_block
from fcn_jax.core.layers import Layer
from fcn_jax.core.losses import probabilities_of
from fcn_jax.core.net import ClassifyFirst, Head, Model, PoolFirst
from fcn_jax.core.pooling import AdaptiveAveragePool, GlobalAverage
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.inference.classifier import NOT_FINITE, Classifier, Trained, classifier_of_trained, predict_batch
from fcn_jax.inference.inputs import read_ahead
from fcn_jax.inference.programs import CanvasPrograms, TooLargeError
from fcn_jax.nets.dense import Flatten
from fcn_jax.nets.heads import NormedAverage, NormFirst
from fcn_jax.nets.recurrent import LSTM


@dataclass(frozen=True)
class CellGrid:
    """The cells of a map along one axis of the input. The centre of cell i is at position first + step * i."""

    first: float
    step: float
    cells: int


def grid_of(layers: Iterable[Layer], side: int) -> CellGrid:
    """Return the cells that layers, applied one after the other, make of a side of the input."""
    first, step = 0.0, 1.0
    for layer in layers:
        if isinstance(layer, AdaptiveAveragePool):
            extent = side / layer.cells
            first, step, side = first + step * (extent - 1) / 2, step * extent, layer.cells
        for window in layer.windows:
            first += step * ((window.extent - 1) / 2 - window.padding_before(side))
            step *= window.stride
            side = window.output_side(side)
    return CellGrid(first, step, side)


def places_of(side: int, shown: int) -> Float[np.ndarray, " shown"]:
    """Divide a side into `shown` equal parts, and return the position of the middle of each."""
    return (np.arange(shown) + 0.5) * side / shown - 0.5


def read_map(
    values: Float[np.ndarray, "*cells"], grids: Sequence[CellGrid], places: Sequence[Float[np.ndarray, " _"]]
) -> Float[np.ndarray, "*places"]:
    """Return a map's values at positions of the input, interpolated linearly; positions are given for every axis."""
    for axis, (grid, at) in enumerate(zip(grids, places, strict=True)):
        assert values.shape[axis] == grid.cells, (values.shape, grids)
        cell = np.clip((at - grid.first) / grid.step, 0, grid.cells - 1)
        before = np.minimum(cell.astype(np.int64), max(0, grid.cells - 2))
        after = np.minimum(before + 1, grid.cells - 1)
        share = (cell - before).reshape(-1, *[1] * (values.ndim - 1 - axis))
        values = values.take(before, axis) * (1 - share) + values.take(after, axis) * share
    return values


class MapAnswer(NamedTuple):
    """The logits of a batch, and the maps of one class for each example."""

    logits: Float[Array, "b k"]
    label: Int[Array, " b"]
    """The class whose map is in `class_map`."""
    class_map: Float[Array, "b *cells"]
    mean_map: Float[Array, "b *cells"]
    """The mean of all classes' maps."""
    map_size: Int[Array, "b r"]
    """The number of true cells along every axis."""


@dataclass(frozen=True)
class Explained:
    """A file, its probabilities, and the map of one class."""

    path: str
    values: Num[np.ndarray, "*spatial c"]
    """The file as the net saw it."""
    probabilities: Float[np.ndarray, " k"]
    label: int
    """The class whose map is in `class_map`."""
    class_map: Float[np.ndarray, "*cells"]
    evidence: Float[np.ndarray, "*cells"]
    """The map of the class minus the mean of all classes' maps; of several labels, the map of the class."""
    grids: tuple[CellGrid, ...]
    """The places of the cells, for every axis."""
    labels: str = "one"
    """What the net's labels are: see `DataConfig.labels`."""

    @property
    def evidence_in_words(self) -> str:
        return "logit" if self.labels == "several" else "logit minus the mean of all classes' logits"

    @property
    def predicted(self) -> int:
        """The most probable class, also where there may be several."""
        return int(self.probabilities.argmax())


@dataclass(frozen=True)
class Unread:
    """A file without a map, and the reason."""

    path: str
    error: str


def map_answer_of(
    model: Model, image: Num[AnyArray, "b *spatial c"], size: Int[AnyArray, "b r"], *, label: int | None
) -> MapAnswer:
    """Return the maps of a padded batch: of the class `label`, or, if it is None, of each example's predicted class."""
    logits, logits_2d = predict_batch(model, image, size)
    wanted = logits.argmax(-1) if label is None else jnp.full(logits.shape[0], label)
    index = wanted.reshape(-1, *[1] * (logits_2d.x.ndim - 1))
    class_map = jnp.take_along_axis(logits_2d.x, index, axis=-1)[..., 0]
    return MapAnswer(logits, wanted, class_map, logits_2d.x.mean(-1), logits_2d.size)


def check_has_map(model: Model) -> None:
    """Check that a model has class activation maps.

    Raises:
        UserError: the model's logits are not means over its positions, or a position does not stand for a place.
    """
    why = ""
    for layer in model.net.layers:
        match layer:
            case Flatten():
                why = "it flattens its positions into one, so no position has logits of its own"
            case LSTM():
                why = "the output of its LSTM at a position depends on all positions read before, not on one place"
    why = why or _why_not_a_mean(model.net.head)
    if why:
        raise UserError(
            f"this net has no class activation map: {why}. Train a net of convolutions with config.model.head=average"
        )


def _why_not_a_mean(head: Head) -> str:
    match head:
        case NormFirst():
            return _why_not_a_mean(head.head)
        case NormedAverage() | ClassifyFirst(pool=GlobalAverage()) | PoolFirst(pool=GlobalAverage()):
            return ""
        case ClassifyFirst() | PoolFirst():
            return f"its head is {head.pool}, not the average, so its logits are not the mean of its positions' logits"
        case _:
            return f"its head is {type(head).__name__}, so its logits are not the mean of its positions' logits"


class MapMaker:
    """Maker of class activation maps of files.

    Args:
        trained: a net that has maps, see `check_has_map`.
        label: the class whose map is made; None: the predicted class of each file.
    """

    def __init__(self, trained: Trained, *, label: int | None):
        self._layers = list(trained.model.net.layers)
        self._labels, self._temperature = trained.labels, trained.temperature
        self.classifier: Classifier[MapAnswer] = classifier_of_trained(trained, partial(map_answer_of, label=label))
        # One row at a time is fast enough: drawing a picture takes longer than making its map.
        self._programs = CanvasPrograms(self.classifier, most_rows=1)

    def maps(self, paths: Sequence[str]) -> Iterator[Explained | Unread]:
        """Yield the map of each file, in the order of the files."""
        for chunk in read_ahead(self.classifier.recipe, paths, num_threads=self.classifier.num_threads):
            for path, example in chunk:
                if isinstance(example, BadExampleError):
                    yield Unread(path, str(example))
                else:
                    yield self._explain(path, example.views[0])

    def _explain(self, path: str, values: Num[np.ndarray, "*spatial c"]) -> Explained | Unread:
        size = values.shape[:-1]
        canvas = self.classifier.ladder.canvas(size)
        try:
            program = self._programs[canvas]
        except TooLargeError as error:
            return Unread(path, str(error))
        block = filler_block(program.rows, canvas, values.shape[-1], self.classifier.recipe.value_type)
        block.image[(0, *(slice(side) for side in size))] = values
        block.size[0] = size
        answer = jax.device_get(program.run(block.image, block.size))
        if not np.isfinite(answer.logits[0]).all():
            return Unread(path, NOT_FINITE)
        cells = tuple(slice(side) for side in answer.map_size[0])
        class_map = answer.class_map[0][cells]
        return Explained(
            path,
            values,
            probabilities=np.asarray(probabilities_of(answer.logits[0] / np.float32(self._temperature), self._labels)),
            label=int(answer.label[0]),
            class_map=class_map,
            evidence=class_map if self._labels == "several" else class_map - answer.mean_map[0][cells],
            grids=tuple(grid_of(self._layers, side) for side in size),
            labels=self._labels,
        )
