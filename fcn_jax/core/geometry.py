"""Convolution arithmetic: how large a map is after each window, and the smallest input that survives a net.

A window is anything that slides over a map: a convolution or a pool. A side of n positions becomes
floor((n + 2p - d(k-1) - 1) / s) + 1 positions, for kernel k, stride s, dilation d and padding p on both ends.
`SameWindow` pads by another rule, and a `BalancedWindow` begins elsewhere. The formulas use operators only, so they
take Python ints, NumPy arrays and traced arrays.
Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fcn_jax.config import UserError


@dataclass(frozen=True)
class Window:
    """A sliding window, the same on every axis."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0

    def __post_init__(self):
        for field, smallest in (("kernel", 1), ("stride", 1), ("dilation", 1), ("padding", 0)):
            value = getattr(self, field)
            if value < smallest:
                raise UserError(f"{field} is {value}, but it must be at least {smallest}")

    def describe(self, rank: int) -> str:
        """Return a text such as `3×3, stride 2, padding 1`, for a map with `rank` axes."""
        parts = ["×".join([str(self.kernel)] * rank)]
        for field, usual in (("stride", 1), ("dilation", 1), ("padding", 0)):
            if getattr(self, field) != usual:
                parts.append(f"{field} {getattr(self, field)}")
        return ", ".join(parts)

    @property
    def extent(self) -> int:
        """Number of input positions between the two ends of the window, both ends included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def surplus(self) -> int:
        """Number of positions that the padding adds to a side, less the extent."""
        return 2 * self.padding - self.extent

    def padding_before(self, side):
        """Return how many zeros come before the first position of an input side, an int or an array of ints."""
        return self.padding

    @property
    def computed(self) -> "Window":
        """The window that slides over what `layers.placed` returns: this one."""
        return self

    def output_side(self, side):
        """Return the output side for an input side, an int or any array of ints. Below 1 means that nothing is left."""
        return (side + self.surplus) // self.stride + 1

    def smallest_input(self, output_side: int) -> int:
        """Return the smallest input side whose output side is at least `output_side`."""
        return max(1, (output_side - 1) * self.stride - self.surplus)


@dataclass(frozen=True)
class SameWindow(Window):
    """A window with the padding of TensorFlow's SAME, which depends on the side; `layers.placed` pads maps for it.

    A side of n positions becomes ceil(n / stride). The zeros that this takes are halved between both ends, and an odd
    one is at the far end. At stride 2 and kernel 3, an odd side has one zero before its first position, an even side
    none.
    """

    def __post_init__(self):
        super().__post_init__()
        assert self.padding == 0, self

    def describe(self, rank: int) -> str:
        return f"{super().describe(rank)}, same padding"

    @property
    def surplus(self) -> int:
        """-1, since ceil(n / stride) is (n - 1) // stride + 1."""
        return -1

    def padding_before(self, side):
        zeros = self.extent - 1 - (side - 1) % self.stride
        return zeros * (zeros > 0) // 2

    @property
    def computed(self) -> Window:
        """A window without padding."""
        return Window(self.kernel, self.stride, self.dilation)


@dataclass(frozen=True)
class BalancedWindow(Window):
    """A window whose first place is drawn in training, so that no end of a side is favoured.

    Strides leave up to `stride` - 1 positions of a padded side over, at the far end. A net can tell sizes by them, and
    fit those of its training (Alsallakh et al., "Mind the pool", ICLR 2023). Here the first place is any of those that
    leave some of them over at the near end instead; in evaluation half of them, rounded down.
    """

    def describe(self, rank: int) -> str:
        return f"{super().describe(rank)}, balanced"

    def left_over(self, side):
        """Return how many positions of the padded side no window covers, an int or an array of ints."""
        return (side + self.surplus) % self.stride

    def padding_before(self, side):
        return self.padding - self.left_over(side) // 2

    @property
    def computed(self) -> Window:
        """A window without padding."""
        return Window(self.kernel, self.stride, self.dilation)


def sizes_through(windows: Sequence[Window], size: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the size of the input, then the size after each window.

    Raises:
        UserError: nothing is left after one of the windows; the message says which, and what size would survive.
    """
    sizes = [tuple(size)]
    for number, window in enumerate(windows, start=1):
        output = tuple(window.output_side(side) for side in sizes[-1])
        if min(output) < 1:
            raise UserError(
                f"size {format_size(size)} does not survive the net: window {number} of {len(windows)} (kernel "
                f"{window.kernel}, stride {window.stride}, dilation {window.dilation}, padding {window.padding}) "
                f"leaves {format_size(output)} of {format_size(sizes[-1])}; "
                f"every side must be at least {smallest_side(windows)}"
            )
        sizes.append(output)
    return sizes


def smallest_side(windows: Sequence[Window]) -> int:
    """Return the smallest input side that leaves at least one position after all windows."""
    side = 1
    for window in reversed(windows):
        side = window.smallest_input(side)
    return side


def largest_side(windows: Sequence[Window], output_side: int) -> int:
    """Return the largest input side that leaves at most `output_side` positions after all windows."""
    side = output_side
    for window in reversed(windows):
        side = window.smallest_input(side + 1) - 1
    return side


def receptive_field(windows: Sequence[Window]) -> tuple[int, int]:
    """Return (side of the input region that one output position sees, input positions between neighbouring outputs)."""
    field, jump = 1, 1
    for window in windows:
        field += (window.extent - 1) * jump
        jump *= window.stride
    return field, jump


def parse_size(text: str) -> tuple[int, ...]:
    """Read a size: `28x16` -> (28, 16), `28` -> (28,).

    Raises:
        UserError: the text is neither of the two.
    """
    match = re.fullmatch(r"([0-9]{1,18})(?:[x×]([0-9]{1,18}))?", text.lower())
    size = tuple(int(side) for side in match.groups() if side) if match else ()
    if not size or min(size) < 1:
        raise UserError(f"size {text!r} is neither HEIGHTxWIDTH, such as 28x16, nor a LENGTH, such as 28")
    return size


def format_size(size: Iterable[int]) -> str:
    """Return a size as text: (28, 16) -> `28×16`."""
    return "×".join(str(int(side)) for side in size)
