"""What every source of examples offers: random access to the images or signals of one split, and to their labels.

A source knows `sizes` and `labels` of all examples without decoding any; `read` decodes one example. A class that
inherits from `Source` gets the values that it need not know itself.
"""

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Num, UInt8

from fcn_jax.data.pictures import Picture

Decoded = np.ndarray | Picture
"""A decoded example: values, [*size, c], or a picture, which can be resized without a copy."""


def size_of(example: Decoded) -> tuple[int, ...]:
    """Return the size of a decoded example."""
    return example.size if isinstance(example, Picture) else example.shape[:-1]


def values_of(example: Decoded) -> Num[np.ndarray, "*spatial c"]:
    """Return the values of a decoded example."""
    return example.pixels if isinstance(example, Picture) else example


@runtime_checkable
class Source(Protocol):
    """One split of a data set."""

    label_names: tuple[str, ...]
    sizes: Int[np.ndarray, "n r"]
    """True size of every example."""
    labels: Int[np.ndarray, " n"] | Float[np.ndarray, "n k"]
    """Class of every example; or, where it may have several or shares, the target of every class, from 0 to 1."""
    label_kind: str = "one"
    """What a label is: see `DataConfig.labels`."""
    loss_weights: Float[np.ndarray, " n"] | None = None
    """Weight of every example in the loss of training, 0 or more; None: every example weighs 1."""
    bad: dict[str, str]
    """{name: reason} of the examples that were left out."""
    unreadable: tuple[str, ...] = ()
    """Names, below the root of the data set, of the files that were left out as bad."""
    left_out: Mapping[str, str] = MappingProxyType({})
    """{path: reason} of the files of the whole data set that are no examples."""
    origin: str = ""
    """The place that the examples come from, as text."""
    sampling_rate: int | None = None
    """Samples a second of every signal; None for images, or if it is unknown."""
    value_range: tuple[float, float] | None = None
    """The lowest and the highest value that an example can have; None if they are unknown."""

    full_contents: str = ""
    """A digest of every byte of all examples, in order; empty if it was not asked for."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Num[np.ndarray, "*spatial c"]:
        """Return one decoded example: uint8 if an image of 8 bits, float32 if a deeper image or a signal."""
        ...

    def decoded(self, index: int) -> Decoded:
        """Return the same example; an image may come as a picture, which spares a copy before it is resized."""
        return self.read(index)

    def name(self, index: int) -> str:
        """Return a name by which a person can find the example, such as its path."""
        ...

    def key(self, index: int) -> bytes:
        """Return a name that stays the same wherever the data set lies, such as the path below its root."""
        return os.fsencode(self.name(index))

    def digests(self) -> UInt8[np.ndarray, "n 16"] | None:
        """Return a digest of the contents of every example; None if they are unknown."""
        return None

    def is_unchanged(self, index: int) -> bool:
        """Return whether the contents of an example still have the digest that `digests` gives."""
        return True

    def contents(self) -> str:
        """Return a digest of the contents of all examples, in order; empty if it is unknown."""
        return ""


OpenSplit = Callable[[str], Source]
"""A function that opens a split of a data set, such as `train`, or a part of one, such as `train[:512]`."""


def main_classes(labels: Int[np.ndarray, " n"] | Float[np.ndarray, "n k"]) -> Int[np.ndarray, " n"]:
    """Return the class of every example; of shares, the first of those with the largest share."""
    return labels if labels.ndim == 1 else labels.argmax(1).astype(np.int32)
