"""A split, ready to feed a model: examples are read, resized, changed at random, and laid into blocks.

Only here do source, views and augmentation meet. The loader asks a `Dataset` for blocks.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Num

from fcn_jax.config import Config, UserError
from fcn_jax.config_data import AugmentConfig
from fcn_jax.core.block import Block, ValueType, filler_block, value_type
from fcn_jax.core.geometry import format_size
from fcn_jax.core.schedule import FILLER
from fcn_jax.data.bad_examples import BadExampleError, BadExamples
from fcn_jax.data.balance import BalancedDraws
from fcn_jax.data.example_cache import ExampleCache, rule_of
from fcn_jax.data.image_files import COLOURS
from fcn_jax.data.random_changes import Colour, Mirror, Motion
from fcn_jax.data.random_operations import Erasing, Policy
from fcn_jax.data.random_signals import OF_SIGNALS, SignalChanges
from fcn_jax.data.source import OpenSplit, Source, main_classes, size_of
from fcn_jax.data.sources import in_order_of, open_data
from fcn_jax.data.transforms import Resize, Views, background_of, widen, widened_sizes
from fcn_jax.system.cache import cache_folder
from fcn_jax.system.console import say


@runtime_checkable
class Change(Protocol):
    """A random change of an image that keeps its size: each draw is a pure function of (seed, epoch, example)."""

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        ...

    def draw(self, epoch: int, index: Int[np.ndarray, " n"], /) -> Num[np.ndarray, "n *drawn"]:
        """Draw for every example."""
        ...

    def apply(self, image: Any, drawn: Any, /) -> Any:
        """Change one image by what was drawn for it."""
        ...


ANY_RANK = ("scale", "crop", "shift")
"""The fields of `data.augment` that change images and signals."""


class Dataset:
    """The examples of one split, as a model sees them.

    Args:
        source: reads the examples.
        resize: rule that gives every example its size, applied first.
        views: the part and the scale at which an example is seen, applied second.
        min_side: shorter sides are then widened to this, in pixels or samples.
        background: value of the added pixels or samples, on the examples' scale.
        bad: notes the examples that turn out bad.
        channels: number of channels of every example.
        values: type of their values; None: that of images of 8 bits, or of signals.
        colours, motions: random changes that keep the size, for training; the first come before the widening.
        cache_bytes: most bytes of decoded and resized examples to keep in memory.
        on_disk: decoded and resized examples on disk; None: none.
        weighs: whether examples weigh in the loss as the source says; else all weigh 1.
    """

    def __init__(
        self,
        source: Source,
        *,
        resize: Resize,
        views: Views,
        min_side: int,
        background: int | float,
        bad: BadExamples,
        channels: int,
        values: ValueType | None = None,
        colours: Sequence[Change] = (),
        motions: Sequence[Change] = (),
        cache_bytes: int = 0,
        on_disk: ExampleCache | None = None,
        weighs: bool = False,
    ):
        self.source, self.views, self.bad, self.channels = source, views, bad, channels
        self.labels, self.label_kind, self._values = source.labels, source.label_kind, values
        self.loss_weights = None
        if weighs and source.loss_weights is not None:
            # Their mean is 1, so that only their ratios matter, however a step's loss is averaged.
            self.loss_weights = (source.loss_weights / source.loss_weights.mean(dtype=np.float64)).astype(np.float32)
        self._resize, self._min_side, self._background = resize, min_side, background
        self._colours = [change for change in colours if not change.is_identity]
        self._motions = [change for change in motions if not change.is_identity]
        self._decoded: dict[int, np.ndarray] = {}
        self._cache_bytes = self._room = cache_bytes
        self._on_disk = on_disk

    def for_process(self, number: int) -> "Dataset":
        """Return what one of `number` processes reads with: an equal part of the memory, still empty."""
        one = copy.copy(self)
        one._decoded, one._cache_bytes = {}, self._cache_bytes // number
        one._room = one._cache_bytes
        return one

    def __len__(self) -> int:
        return len(self.source)

    @property
    def rank(self) -> int:
        return self.views.rank

    @property
    def classes(self) -> Int[np.ndarray, " n"]:
        """The class of every example; of several labels or of shares, one with the largest."""
        return main_classes(self.labels)

    @property
    def row_kind(self) -> dict[str, Any]:
        """What `filler_block` and `abstract_block` need to know of labels and weights."""
        targets = None if self.labels.ndim == 1 else self.labels.shape[1]
        return {"targets": targets, "has_weights": self.loss_weights is not None}

    def example(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        """Return one decoded example, resized by the rule of `data.resize`.

        Raises:
            BadExampleError: it cannot be read, or its size has changed since it was measured.
        """
        example = self._decoded.get(index)
        if example is None:
            example = self._read(index) if self._on_disk is None else self._from_disk(index, self._on_disk)
            if example.nbytes <= self._room:
                self._room -= example.nbytes
                self._decoded[index] = example
        return example

    def _from_disk(self, index: int, on_disk: ExampleCache) -> Num[np.ndarray, "*spatial c"]:
        """Return an example from the disk; if it is not there, read it and put it there."""
        example = on_disk.read(index)
        if example is None:
            example = self._read(index)
            if self.source.is_unchanged(index):
                on_disk.write(index, example)
        return example

    def _read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        decoded, expected = self.source.decoded(index), tuple(self.source.sizes[index].tolist())
        if size_of(decoded) != expected:
            found = format_size(size_of(decoded))
            raise BadExampleError(f"it is {found}, but was {format_size(expected)} when it was measured")
        return self._resize.apply(decoded, background=self._background)

    def empty(self, rows: int, canvas: tuple[int, ...]) -> Block:
        """Return a block of filler rows, which examples can be put into."""
        return filler_block(rows, canvas, self.channels, self._values, **self.row_kind)

    def block(self, index: Int[np.ndarray, " b"], canvas: tuple[int, ...], *, epoch: int) -> Block:
        """Put examples on a canvas; index -1, or an example that turns out bad, makes a filler row."""
        block = self.empty(len(index), canvas)
        self.fill([block], [index], epoch=epoch)
        return block

    def fill(self, blocks: Sequence[Block], index: Sequence[Int[np.ndarray, " _"]], *, epoch: int) -> None:
        """Put the examples of some draws of an epoch into blocks of filler rows, or into some rows of larger ones."""
        rows = [np.flatnonzero(each != FILLER) for each in index]
        draws = np.concatenate([each[own] for each, own in zip(index, rows, strict=True)])
        examples = self.views.examples(epoch, draws)
        view = self.views.draw(epoch, draws)
        is_short = np.any(view.cropped < self._min_side, axis=1)
        colours = [(change, change.draw(epoch, draws)) for change in self._colours]
        motions = [(change, change.draw(epoch, draws)) for change in self._motions]
        is_read = np.ones(len(examples), bool)
        images = [block.image[row] for block, own in zip(blocks, rows, strict=True) for row in own.tolist()]
        for number, (image, number_of_example) in enumerate(zip(images, examples.tolist(), strict=True)):
            try:
                example = self.example(number_of_example)
            except BadExampleError as error:
                self.bad.add(self.source.name(number_of_example), str(error))
                is_read[number] = False
                continue
            if self.bad.has_unread:
                self.bad.read_well(self.source.name(number_of_example))
            example = view.apply(example, number)
            for change, drawn in colours:
                example = change.apply(example, drawn[number])
            if is_short[number]:
                example = widen(example, self._min_side, self._background)
            for change, drawn in motions:
                example = change.apply(example, drawn[number])
            image[tuple(map(slice, example.shape[:-1]))] = example
        sizes = widened_sizes(view.cropped, self._min_side)
        start = 0
        for block, own in zip(blocks, rows, strict=True):
            read = is_read[start : start + len(own)]
            of_block, own = start + np.flatnonzero(read), own[read]
            block.size[own], block.index[own] = sizes[of_block], draws[of_block]
            block.label[own], block.weight[own] = self.labels[examples[of_block]], 1
            if self.loss_weights is not None and block.loss_weight is not None:
                block.loss_weight[own] = self.loss_weights[examples[of_block]]
            start += len(read)

    def note_read(self, index: Int[np.ndarray, " b"], *, epoch: int) -> None:
        """Note that the examples of these draws, or filler rows, were read well: they are bad no more."""
        for example in self.views.examples(epoch, index[index != FILLER]).tolist():
            self.bad.read_well(self.source.name(example))


def open_dataset(
    config: Config,
    split: str,
    *,
    smallest_input: int,
    training: bool,
    scale: Callable[[int], float] = lambda _: 1.0,
    open_split: OpenSplit | None = None,
    label_names: tuple[str, ...] | None = None,
) -> Dataset:
    """Open a split of a config's data set and check it against the config.

    Args:
        smallest_input: smallest side that the model can take.
        training: whether examples are augmented.
        scale: the factor on all sizes, for each epoch.
        open_split: function that opens a split; None: that of the config's data set.
        label_names: the classes of a trained net, in the order of its logits; None: those of the source.

    Raises:
        UserError: the source has other classes than the trained net, the model has no class for a label, the data has
            no axes for an augmentation, or an example is smaller than the model can take and `data.min_side` does not
            widen it.
    """
    data = config.data
    source = in_order_of((open_split or open_data(config))(split), label_names)
    number = len(source) + len(source.bad)
    bad = BadExamples(split, number, max_fraction=data.max_bad_fraction, left_out=source.bad)
    bad.check()
    _check_classes(config, source)
    if training:
        _check_weights(source, split)
    min_side = smallest_input if data.min_side is None else data.min_side
    resize = Resize.parse(data.resize)
    sizes = resize.sizes(source.sizes)
    _check_smallest(config, source, widened_sizes(sizes, min_side), smallest_input)
    augment = data.augment if training else AugmentConfig()
    balanced = None
    if training and data.balance:
        balanced = BalancedDraws(main_classes(source.labels), balance=data.balance, seed=config.seed)
        say(balanced.describe(source.label_names))
    views = Views(
        sizes,
        scale=scale,
        augment=augment,
        seed=config.seed,
        smallest=max(min_side, smallest_input),
        drawn=None if balanced is None else balanced.examples,
    )
    colours, motions = _changes(config, augment, rank=views.rank)
    if config.evaluate.flip == "mirrored" and not training:
        motions = [Mirror()]
    return Dataset(
        source,
        resize=resize,
        views=views,
        min_side=min_side,
        background=background_of(data.background, views.rank, data.pixel_range),
        bad=bad,
        channels=data.channels,
        values=value_type(views.rank, data.pixel_range),
        colours=colours,
        motions=motions,
        cache_bytes=config.machine.cache_mib * 2**20,
        on_disk=_open_cache(config, source, split, sizes),
        weighs=training,
    )


def _changes(config: Config, augment: AugmentConfig, *, rank: int) -> tuple[list[Change], list[Change]]:
    """Return the random changes before an example is widened, and those after.

    Raises:
        UserError: a change is of images, but the examples are signals, or the other way round.
    """
    data, seed = config.data, config.seed
    changed = [name for name, value in asdict(augment).items() if value != getattr(AugmentConfig(), name)]
    if rank == 1:
        if config.evaluate.flip != "none":
            raise UserError(
                f"config.evaluate.flip is {config.evaluate.flip}, which mirrors images, but {data.source} holds "
                "signals: set config.evaluate.flip=none"
            )
        if not {*changed} <= {*ANY_RANK, *OF_SIGNALS}:
            raise UserError(
                f"config.data.augment changes what only images have, but {data.source} holds signals: for signals, "
                f"set only config.data.augment.scale, crop, {', '.join(OF_SIGNALS)}"
            )
        return [SignalChanges(augment, seed=seed)], []
    if wrong := [name for name in changed if name in OF_SIGNALS and name not in ANY_RANK]:
        raise UserError(
            f"config.data.augment.{wrong[0]} changes what only signals have, but {data.source} holds images: "
            f"leave out config.data.augment.{wrong[0]}"
        )
    if augment.saturation and data.channels not in COLOURS:
        raise UserError(
            f"config.data.augment.saturation is {augment.saturation}, but {data.channels} channels are no colours: set "
            "config.data.augment.saturation=0.0"
        )
    if augment.policy != "none" and (data.channels not in COLOURS or data.pixel_range != "8bit"):
        raise UserError(
            f"config.data.augment.policy is {augment.policy}, but its operations change 8 bits of grey or colour, not "
            f"{data.channels} channels with config.data.pixel_range {data.pixel_range}: set "
            "config.data.augment.policy=none"
        )
    colours = [Policy(augment, seed=seed, background=data.background), Colour(augment, seed=seed)]
    return colours, [Motion(augment, seed=seed, background=data.background), Erasing(augment, seed=seed)]


def _open_cache(config: Config, source: Source, split: str, sizes: Int[np.ndarray, "n r"]) -> ExampleCache | None:
    """Open the examples of a split that are on disk, if the config asks for it; say how many there are."""
    folder = cache_folder(config.machine) if config.machine.disk_cache_mib else None
    digests = source.digests() if folder is not None else None
    if folder is None or digests is None:
        return None
    on_disk = ExampleCache(
        folder / "examples",
        rule_of(config.data, source.sampling_rate),
        digests,
        source.sizes,
        sizes,
        channels=config.data.channels,
        max_bytes=config.machine.disk_cache_mib * 2**20,
    )
    say(f"{split}: {len(on_disk):,} of {len(source):,} examples are on disk, decoded; the others are added")
    return on_disk


def _check_classes(config: Config, source: Source) -> None:
    """Check that the model has one class for every label of the source, and no more."""
    num_classes, num_labels = config.model.num_classes, len(source.label_names)
    if num_labels < 2:
        raise UserError(
            f"{config.data.source} has only one class, {', '.join(source.label_names)}, but a classifier needs "
            "at least two: add the examples of another class, or label these in two kinds"
        )
    if source.labels.ndim > 1 and num_classes < num_labels:
        raise UserError(
            f"config.model.num_classes is {num_classes}, but {config.data.source} has {num_labels} labels: "
            f"set config.model.num_classes={num_labels}"
        )
    if source.labels.ndim == 1 and source.labels.max() >= num_classes:
        example = int(source.labels.argmax())
        raise UserError(
            f"config.model.num_classes is {num_classes}, but {source.name(example)} has label "
            f"{source.labels[example]}: set config.model.num_classes={num_labels}"
        )
    if num_classes > num_labels:
        raise UserError(
            f"config.model.num_classes is {num_classes}, but {config.data.source} has only {num_labels} labels: "
            f"set config.model.num_classes={num_labels}"
        )


def _check_weights(source: Source, split: str) -> None:
    """Check that some example counts in the loss; say by what the examples weigh, if they do not weigh the same."""
    weights = source.loss_weights
    if weights is None:
        return
    if not weights.any():
        raise UserError(
            f"{split}: the column weight is 0 in every row, so nothing can be learned: write weights above 0"
        )
    say(f"{split}: examples weigh {weights.min():g} to {weights.max():g} in the loss of training, by the column weight")


def _check_smallest(config: Config, source: Source, sizes: Int[np.ndarray, "n r"], smallest_input: int) -> None:
    """Check that every example, once widened, is large enough for the model."""
    too_small = np.flatnonzero(sizes.min(1) < smallest_input)
    if len(too_small):
        example, min_side = int(too_small[0]), config.data.min_side
        raise UserError(
            f"{source.name(example)} has size {format_size(source.sizes[example].tolist())}, but the model needs sides "
            f"of at least {smallest_input}, and config.data.min_side={min_side} does not widen it "
            f"({len(too_small)} such examples): leave out config.data.min_side, or set "
            f"config.data.min_side={smallest_input} or more"
        )
