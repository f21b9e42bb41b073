"""Metrics as masked sums, never as averages of averages: sums of any blocks, steps or hosts simply add up."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from fcn_jax.models.heads import Prediction
from fcn_jax.types import Block


class Sums(NamedTuple):
    """Weighted sums over examples."""

    loss: Float[Array, ""] | float
    correct: Float[Array, ""] | float
    weight: Float[Array, ""] | float

    def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]
        return Sums(self.loss + other.loss, self.correct + other.correct, self.weight + other.weight)

    def means(self) -> dict[str, float]:
        """Loss and accuracy (a fraction) of an example."""
        weight = max(float(self.weight), 1e-9)
        return {"loss": float(self.loss) / weight, "accuracy": float(self.correct) / weight}


ZERO = Sums(0.0, 0.0, 0.0)


def sums_of(predictions: tuple[Prediction, ...], blocks: tuple[Block, ...], *, label_smoothing: float) -> Sums:
    """Cross entropy and hits of all blocks; filler has weight 0."""
    total = ZERO
    for prediction, block in zip(predictions, blocks, strict=True):
        logits = prediction.logits
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, block.label)
        if label_smoothing:
            # Cross entropy against the uniform distribution, arXiv:1512.00567.
            uniform = optax.losses.softmax_cross_entropy(logits, jnp.full_like(logits, 1 / logits.shape[-1]))
            loss = (1 - label_smoothing) * loss + label_smoothing * uniform
        correct = logits.argmax(-1) == block.label
        weight = block.weight
        total += Sums((loss * weight).sum(), (correct * weight).sum(), weight.sum())
    return total
