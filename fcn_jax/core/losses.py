"""The losses of an example, by what its label is: one class, several classes, or a share for every class.

All are linear in the label. So shares that are 0 and 1 give the loss of one label, and the loss to a mix of two labels
is the mix of the two losses. Smoothing, the focal weight and class weights act on the loss to every single class.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from fcn_jax.config import TrainConfig
from fcn_jax.core.block import AnyArray

Label = Int[AnyArray, " b"] | Float[AnyArray, "b k"]
LossOfLabels = Callable[[Float[Array, "b k"], Label], Float[Array, " b"]]
"""A loss of every example: (logits, labels) -> losses."""
cross_entropy: LossOfLabels = optax.softmax_cross_entropy_with_integer_labels


def training_loss(config: TrainConfig, labels: str = "one") -> LossOfLabels:
    """Return the loss that a config trains with, perhaps smoothed, focal and weighted by classes.

    Args:
        labels: `one`: cross entropy to a class; `shares`: cross entropy to shares; `several`: the mean over all classes
            of the binary cross entropies, as PyTorch's BCEWithLogitsLoss has it.
    """
    return {"one": _to_one_class, "shares": _to_shares, "several": _to_several}[labels](config)


def plain_loss(labels: str) -> LossOfLabels:
    """Return the loss that evaluation reports: neither smoothed nor weighted."""
    return cross_entropy if labels == "one" else training_loss(TrainConfig(), labels)


def probabilities_of(logits: Float[AnyArray, "*b k"], labels: str) -> Float[Array, "*b k"]:
    """Return the probability of every class: they add up to 1, except for several labels."""
    return jax.nn.sigmoid(logits) if labels == "several" else jax.nn.softmax(logits)


def is_correct(logits: Float[Array, "b k"], label: Label, labels: str) -> Bool[Array, " b"]:
    """Return whether the answer is right.

    It is if the most probable class is the label, or that with the largest share; of several labels, if exactly these
    have a probability above 0.5.
    """
    match labels:
        case "one":
            return logits.argmax(-1) == label
        case "shares":
            return logits.argmax(-1) == label.argmax(-1)
        case _:
            return jnp.all((logits > 0) == (label > 0.5), -1)


def _to_one_class(config: TrainConfig) -> LossOfLabels:
    def loss_of(logits: Float[Array, "b k"], labels: Int[AnyArray, " b"]) -> Float[Array, " b"]:
        plain = loss = cross_entropy(logits, labels)
        if config.label_smoothing:
            # Cross entropy against the uniform distribution, arXiv:1512.00567.
            uniform = optax.losses.softmax_cross_entropy(logits, jnp.full_like(logits, 1 / logits.shape[-1]))
            loss = (1 - config.label_smoothing) * loss + config.label_smoothing * uniform
        if config.focal:
            loss = loss * _focal(jnp.exp(-plain), config.focal)
        if config.class_weights:
            loss = loss * _class_weights(config, logits)[labels]
        return loss

    return loss_of


def _to_shares(config: TrainConfig) -> LossOfLabels:
    """Return the mean, by the shares, of the losses to single classes."""

    def loss_of(logits: Float[Array, "b k"], shares: Float[AnyArray, "b k"]) -> Float[Array, " b"]:
        plain = losses = -jax.nn.log_softmax(logits)
        if config.label_smoothing:
            losses = (1 - config.label_smoothing) * losses + config.label_smoothing * plain.mean(-1, keepdims=True)
        if config.focal:
            losses = losses * _focal(jnp.exp(-plain), config.focal)
        if config.class_weights:
            losses = losses * _class_weights(config, logits)
        return (shares * losses).sum(-1)

    return loss_of


def _to_several(config: TrainConfig) -> LossOfLabels:
    """Return the mean over the classes of the losses to its being there, or to its not being there."""

    def loss_of(logits: Float[Array, "b k"], targets: Float[AnyArray, "b k"]) -> Float[Array, " b"]:
        there, absent = jax.nn.softplus(-logits), jax.nn.softplus(logits)
        if config.label_smoothing:
            # Half of it goes to the other answer: both are as likely where nothing is known.
            kept, given = 1 - config.label_smoothing / 2, config.label_smoothing / 2
            there, absent = kept * there + given * absent, kept * absent + given * there
        if config.focal:
            probability = jax.nn.sigmoid(logits)
            there = there * _focal(probability, config.focal)
            absent = absent * _focal(1 - probability, config.focal)
        losses = targets * there + (1 - targets) * absent
        if config.class_weights:
            losses = losses * _class_weights(config, logits)
        return losses.mean(-1)

    return loss_of


def _focal(probability: Float[Array, "*b"], exponent: float) -> Float[Array, "*b"]:
    """Return the weight of the focal loss, arXiv:1708.02002, at a probability of the true answer.

    The floor keeps the gradient of the power finite where the answer is certain.
    """
    return jnp.maximum(1 - probability, jnp.finfo(probability.dtype).eps) ** exponent


def _class_weights(config: TrainConfig, logits: Float[Array, "b k"]) -> Float[Array, " _"]:
    return jnp.asarray(config.class_weights, logits.dtype)
