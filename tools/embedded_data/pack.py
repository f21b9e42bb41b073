"""The packing of frames for the embedded signals."""

import numpy as np
from jaxtyping import Float32

from fcn_jax.data.signals import unpack_frames


def pack_frames(values: Float32[np.ndarray, "t c"]) -> bytes:
    """Pack values of six decimals without loss, as differences in time, in millionths.

    The low bytes of all differences come first, then the middle ones, then the high ones. Compressed, this takes two
    thirds of the size of the floats.
    """
    steps = np.diff(np.rint(values.astype(np.float64) * 1e6).astype("<i4"), axis=0, prepend=0)
    assert np.abs(steps).max() < 2**23, "it takes three bytes"
    planes = steps.astype("<i4").view(np.uint8).reshape(*values.shape, 4)[..., :3]
    packed = np.moveaxis(planes, -1, 0).tobytes()
    assert np.array_equal(unpack_frames(packed, channels=values.shape[1]), values), "it has six decimals"
    return packed
