"""A split made ready to feed a model: sizes widened, images decoded once, blocks assembled.

The one place where source, transforms and plan meet; the loader asks it for blocks.
"""

import numpy as np
from jaxtyping import Int, Num

from fcn_jax.config import Config
from fcn_jax.data.bad_examples import BadExampleError, BadExamples
from fcn_jax.data.schedule import FILLER
from fcn_jax.data.sources import Source, open_source
from fcn_jax.data.transforms import Augment, Resize, check_signal_transforms, widen, widened_sizes
from fcn_jax.geometry import format_size
from fcn_jax.types import Block, filler_block


class Dataset:
    """One split.

    Args:
        source: its examples.
        resize: what is done to every image first.
        min_side: shorter sides are then widened to it.
        background: value of what is added.
        bad: where examples that turn out bad are named.
        augment: random changes, for training; None: none.
        cache_bytes: decoded images are kept up to this.
    """

    def __init__(
        self,
        source: Source,
        *,
        resize: Resize,
        min_side: int,
        background: int,
        bad: BadExamples,
        channels: int,
        augment: Augment | None = None,
        cache_bytes: int = 0,
    ):
        self.source, self.bad, self.channels = source, bad, channels
        self.sizes = widened_sizes(resize.sizes(source.sizes), min_side)
        self.labels = source.labels
        self._resize, self._min_side, self._background = resize, min_side, background
        self._augment = None if augment is None or augment.is_identity else augment
        self._decoded: dict[int, np.ndarray] = {}
        self._room = cache_bytes

    def __len__(self) -> int:
        return len(self.source)

    @property
    def rank(self) -> int:
        return self.sizes.shape[1]

    def image(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        """One decoded image, resized and widened, not augmented.

        Raises:
            BadExampleError: it cannot be read, or has another size than it had.
        """
        image = self._decoded.get(index)
        if image is None:
            image = self.source.read(index)
            if image.shape[:-1] != tuple(self.source.sizes[index]):
                found, expected = format_size(image.shape[:-1]), format_size(self.source.sizes[index].tolist())
                raise BadExampleError(f"it is {found}, but was {expected} when it was measured")
            image = widen(self._resize.apply(image), self._min_side, self._background)
            if image.nbytes <= self._room:
                self._room -= image.nbytes
                self._decoded[index] = image
        return image

    def block(self, index: Int[np.ndarray, " b"], canvas: tuple[int, ...], *, epoch: int) -> Block:
        """The examples of a block on its canvas; index -1, or an example that turns out bad, makes a filler row."""
        block = filler_block(len(index), canvas, self.channels)
        matrices = None if self._augment is None else self._augment.matrices(epoch, index)
        for row in np.flatnonzero(index != FILLER):
            example = int(index[row])
            try:
                image = self.image(example)
            except BadExampleError as error:
                self.bad.add(self.source.name(example), str(error))
                continue
            if self._augment is not None and matrices is not None:
                image = self._augment.apply(image, matrices[row])
            block.image[(row, *(slice(side) for side in image.shape[:-1]))] = image
            block.size[row], block.label[row] = image.shape[:-1], self.labels[example]
            block.weight[row], block.index[row] = 1, example
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
    resize = Resize.parse(data.resize)
    source = open_source(config, split)
    if source.sizes.shape[1] == 1:
        check_signal_transforms(data)
    bad = BadExamples(split, len(source) + len(source.bad), max_fraction=data.max_bad_fraction)
    for name, reason in source.bad.items():
        bad.add(name, reason)
    bad.check()
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
    sizes = widened_sizes(resize.sizes(source.sizes), min_side)
    too_small = np.flatnonzero(sizes.min(1) < smallest_input)
    if len(too_small):
        example = int(too_small[0])
        raise ValueError(
            f"{source.name(example)} has size {format_size(source.sizes[example].tolist())}, but the model needs sides "
            f"of at least {smallest_input}, and config.data.min_side={data.min_side} does not widen it "
            f"({len(too_small)} such examples): leave config.data.min_side unset, or set it to {smallest_input} or more"
        )
    augment = Augment(data.augment, seed=config.seed, background=data.background) if training else None
    return Dataset(
        source,
        resize=resize,
        min_side=min_side,
        background=data.background,
        bad=bad,
        channels=data.channels,
        augment=augment,
        cache_bytes=config.machine.cache_mib * 2**20,
    )
