"""A split made ready to feed a model: sizes widened, images decoded once, blocks assembled.

The one place where source, transforms and plan meet; the loader asks it for blocks.
"""

import numpy as np
from jaxtyping import Int, UInt8

from fcn_jax.config import Config
from fcn_jax.data.schedule import FILLER
from fcn_jax.data.sources import Source, open_source
from fcn_jax.data.transforms import Augment, widen, widened_sizes
from fcn_jax.geometry import format_size
from fcn_jax.types import Block, filler_block


class Dataset:
    """One split.

    Args:
        source: its examples.
        min_side: shorter sides are widened to it.
        background: value of what is added.
        augment: random changes, for training; None: none.
        cache_bytes: decoded images are kept up to this.
    """

    def __init__(
        self, source: Source, *, min_side: int, background: int, augment: Augment | None = None, cache_bytes: int = 0
    ):
        self.source = source
        self.sizes = widened_sizes(source.sizes, min_side)
        self.labels = source.labels
        self._min_side, self._background = min_side, background
        self._augment = None if augment is None or augment.is_identity else augment
        self._decoded: dict[int, np.ndarray] = {}
        self._room = cache_bytes

    def __len__(self) -> int:
        return len(self.source)

    @property
    def rank(self) -> int:
        return self.sizes.shape[1]

    def image(self, index: int) -> UInt8[np.ndarray, "*spatial c"]:
        """One decoded image, widened, not augmented."""
        image = self._decoded.get(index)
        if image is None:
            image = widen(self.source.read(index), self._min_side, self._background)
            if image.nbytes <= self._room:
                self._room -= image.nbytes
                self._decoded[index] = image
        return image

    def block(self, index: Int[np.ndarray, " b"], canvas: tuple[int, ...], *, epoch: int) -> Block:
        """The examples of a block on its canvas; index -1 makes a filler row."""
        first = self.image(0)
        block = filler_block(len(index), canvas, first.shape[-1], first.dtype)
        real = np.flatnonzero(index != FILLER)
        matrices = None if self._augment is None else self._augment.matrices(epoch, index)
        for row in real:
            image = self.image(int(index[row]))
            if self._augment is not None and matrices is not None:
                image = self._augment.apply(image, matrices[row])
            block.image[(row, *(slice(side) for side in image.shape[:-1]))] = image
        block.size[real] = self.sizes[index[real]]
        block.label[real] = self.labels[index[real]]
        block.weight[real] = 1
        block.index[real] = index[real]
        return block


def open_dataset(config: Config, split: str, *, smallest_input: int, training: bool) -> Dataset:
    """The split of a config's data set, checked against the config.

    Args:
        smallest_input: the smallest side the model survives.
        training: whether images are augmented.

    Raises:
        ValueError: labels that the model has no class for, or an example smaller than the model survives while
            `data.min_side` is 0.
    """
    data = config.data
    source = open_source(data.source, split, channels=data.channels)
    if source.labels.max() >= config.model.num_classes:
        example = int(source.labels.argmax())
        raise ValueError(
            f"config.model.num_classes is {config.model.num_classes}, but {source.name(example)} has label "
            f"{source.labels[example]}: set config.model.num_classes={len(source.label_names)}"
        )
    if config.model.num_classes > len(source.label_names):
        raise ValueError(
            f"config.model.num_classes is {config.model.num_classes}, but {data.source} has only "
            f"{len(source.label_names)} labels: set config.model.num_classes={len(source.label_names)}"
        )
    min_side = smallest_input if data.min_side is None else data.min_side
    sizes = widened_sizes(source.sizes, min_side)
    too_small = np.flatnonzero(sizes.min(1) < smallest_input)
    if len(too_small):
        example = int(too_small[0])
        raise ValueError(
            f"{source.name(example)} has size {format_size(source.sizes[example].tolist())}, but the model needs sides of "
            f"at least {smallest_input}, and config.data.min_side={data.min_side} does not widen it ({len(too_small)} "
            f"such examples): leave config.data.min_side unset, or set it to {smallest_input} or more"
        )
    augment = Augment(data.augment, seed=config.seed, background=data.background) if training else None
    return Dataset(
        source,
        min_side=min_side,
        background=data.background,
        augment=augment,
        cache_bytes=config.machine.cache_mib * 2**20,
    )
