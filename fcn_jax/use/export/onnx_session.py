"""An ONNX artifact, run by onnxruntime on the CPU, which takes any shape as it comes.

onnxruntime is optional: this file is imported where an artifact is ONNX.
"""

import numpy as np
import onnxruntime  # pyright: ignore[reportMissingImports]
from jaxtyping import Int, Num

from fcn_jax.types import AnyArray
from fcn_jax.use.inference.classifier import Answer, Signature

INPUTS = ("image", "size")
TYPES = {"tensor(uint8)": np.dtype(np.uint8), "tensor(float)": np.dtype(np.float32)}
"""Of images and signals."""
ONLY_ERRORS = 3


class OnnxNet:
    """A net in onnxruntime.

    Args:
        serialized: an ONNX model with the inputs `INPUTS`, whose outputs are called as the fields of `Answer`.
    """

    def __init__(self, serialized: bytes):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ONLY_ERRORS
        self._session = onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])

    @property
    def signature(self) -> Signature:
        image, probabilities = self._session.get_inputs()[0], self._session.get_outputs()[0]
        return Signature(tuple(image.shape), TYPES[image.type], probabilities.shape[-1])

    def answer(self, image: Num[AnyArray, "b *spatial c"], size: Int[AnyArray, "b r"]) -> Answer:
        """What the net says of a padded batch."""
        values = (np.asarray(image), np.asarray(size))
        return Answer(*self._session.run(Answer._fields, dict(zip(INPUTS, values, strict=True))))
