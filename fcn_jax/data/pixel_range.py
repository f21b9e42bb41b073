"""The scale of pixels: which values of a file become 0 and 1 to the net.

- `8bit`: 8 bits a value, from 0 to 255; of 16 bits the upper 8 are kept. Every other rule gives floats at full depth.
- `dtype`: whole numbers are divided by the largest of their type (65,535 for uint16); floats must lie in 0 to 1.
- `LOW,HIGH`: these values become 0 and 1, whatever their type; what lies beyond is cut to them.
- `percentiles:LOW,HIGH`: the same with percentiles of each channel of each file. So a file looks the same to the net
  whatever its exposure, and a prediction needs no other file. What must keep its absolute strength, such as a
  reflectance, wants `LOW,HIGH`.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Num, Shaped, UInt8

from fcn_jax.config import UserError
from fcn_jax.data.bad_examples import BadExampleError

FIELD = "config.data.pixel_range"


@dataclass(frozen=True)
class PixelRange:
    """A rule for the scale of pixels."""

    kind: str
    """8bit, dtype, limits or percentiles."""
    low: float = 0.0
    high: float = 1.0
    """What becomes 0 and 1: values (limits), or percentiles."""

    @classmethod
    def parse(cls, text: str) -> "PixelRange":
        """Read a rule from the text of `data.pixel_range`.

        Raises:
            UserError: there is no such rule.
        """
        if text in ("8bit", "dtype"):
            return cls(text)
        prefix, colon, rest = text.rpartition(":")
        try:
            low, high = map(float, rest.split(","))
        except ValueError:
            low = high = math.nan
        is_range = low < high and math.isfinite(low) and math.isfinite(high)
        if is_range and not colon:
            return cls("limits", low, high)
        if is_range and prefix == "percentiles" and low >= 0 and high <= 100:
            return cls("percentiles", low, high)
        raise UserError(
            f"{FIELD} is {text!r}, but it must be 8bit, dtype, LOW,HIGH such as 0,4095, or percentiles:LOW,HIGH such "
            "as percentiles:1,99"
        )

    @property
    def is_8bit(self) -> bool:
        return self.kind == "8bit"

    def check_type(self, dtype: np.dtype) -> None:
        """Check that values of a type can be scaled.

        Raises:
            BadExampleError: they cannot.
        """
        if self.is_8bit and dtype not in (np.uint8, np.uint16):
            raise BadExampleError(f"its pixels are {dtype}, but {FIELD} is 8bit, which takes uint8 and uint16 alone")
        if dtype.kind not in "uif" or dtype.itemsize > 8:
            raise BadExampleError(f"its pixels are {dtype}; whole numbers or floats are needed")
        if self.kind == "dtype" and dtype.kind == "i":
            raise BadExampleError(
                f"its pixels are {dtype}, of which {FIELD}=dtype cannot say what is black: LOW,HIGH can"
            )

    def apply(self, values: Num[np.ndarray, "h w c"], *, dtype: np.dtype) -> Float32[np.ndarray, "h w c"]:
        """Return values from 0 to 1; of a rule other than `8bit`.

        Args:
            dtype: the type that the values have in the file.

        Raises:
            BadExampleError: they are not finite, or, as floats without given limits, are beyond 0 to 1.
        """
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise BadExampleError("it has values that are not finite")
        if self.kind == "dtype" and dtype.kind == "f":
            low, high = float(values.min()), float(values.max())
            if low < 0 or high > 1:
                raise BadExampleError(
                    f"its values go from {low:g} to {high:g}, but with {FIELD}=dtype floats must lie in 0 to 1: "
                    "LOW,HIGH takes any"
                )
            return values.astype(np.float32)
        wide = values.astype(np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64)
        low, high = self._limits(wide, dtype)
        extent = np.where(high > low, high - low, np.inf)  # A channel without contrast becomes 0.
        return np.clip((wide - low) / extent, 0, 1).astype(np.float32)

    def _limits(self, values: Num[np.ndarray, "h w c"], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Return what becomes 0 and 1, of all channels or of each."""
        if self.kind == "percentiles":
            low, high = np.percentile(values, [self.low, self.high], axis=(0, 1)).astype(values.dtype)
            return low, high
        low, high = (0, np.iinfo(dtype).max) if self.kind == "dtype" else (self.low, self.high)
        return np.asarray(low, values.dtype), np.asarray(high, values.dtype)


def upper_8_bits(values: Shaped[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """Return the upper 8 bits of values of 8 or 16 bits."""
    return (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values.astype(np.uint8)
