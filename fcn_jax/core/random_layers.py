"""Layers that draw at random in training: dropout before the head, stochastic depth; and draws for other layers.

A draw depends on the seed, the step, the layer and the example, and on nothing else. So an example is changed in the
same way in any row of any block on any device, and a resumed run draws what it would have drawn. Outside of training,
and where no step is given, these layers return what they get.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fcn_jax.core.layers import Layer, Maps


@dataclass(frozen=True)
class Draws:
    """What the draws of a step depend on."""

    key: Array
    """A key of the seed and the step."""
    examples: tuple[Int[Array, " _"], ...]
    """Numbers of the examples of every block of the step."""


_draws: ContextVar[Draws | None] = ContextVar("draws", default=None)


@contextmanager
def drawing(draws: Draws | None) -> Iterator[None]:
    """Let the layers inside the `with` block draw; None: they do not."""
    token = _draws.set(draws)
    try:
        yield
    finally:
        _draws.reset(token)


def keys_of_examples(number: int, maps: int) -> tuple[Array, ...] | None:
    """Return the keys of the examples of every map, by which a layer draws; None: it does not draw.

    Args:
        number: number of the layer among those of its net that draw, so that each draws for itself.
        maps: number of maps; fewer than blocks if the net has joined its blocks.
    """
    draws = _draws.get()
    if draws is None:
        return None
    examples = draws.examples if maps == len(draws.examples) else (jnp.concatenate(draws.examples),)
    key = jax.random.fold_in(draws.key, number)
    return tuple(jax.vmap(lambda example: jax.random.fold_in(key, example))(own) for own in examples)


class RandomLayer(Layer):
    """A layer that multiplies by 0 at a rate, and by 1 / (1 - rate) elsewhere, so that the mean stays.

    Args:
        rate: probability of 0.
        number: number of the layer among those of its net that draw.
    """

    def __init__(self, rate: float, number: int):
        self.rate, self.number = rate, number

    def draws_of(self, channels: int) -> int:
        """Return for how many groups of channels of an example there is a draw."""
        raise AssertionError(f"{type(self).__name__} has no draws_of")

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        keys = keys_of_examples(self.number, len(maps)) if training else None
        if keys is None:
            return maps
        outputs = []
        for m, own in zip(maps, keys, strict=True):
            factor = self._factors(own, self.draws_of(m.x.shape[-1]))
            factor = factor.reshape(-1, *[1] * (m.x.ndim - 2), factor.shape[-1])
            outputs.append(m._replace(x=m.x * factor.astype(m.x.dtype)))
        return tuple(outputs)

    def _factors(self, keys: Array, number: int) -> Float[Array, "b n"]:
        kept = jax.vmap(lambda own: jax.random.bernoulli(own, 1 - self.rate, (number,)))(keys)
        return kept / (1 - self.rate)

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.rate:g}"


class Dropout(RandomLayer):
    """A layer that drops whole channels of an example (Tompson et al., arXiv:1411.4280).

    Before an average, that is dropout of the averaged features (Srivastava et al., JMLR 2014).
    """

    def draws_of(self, channels: int) -> int:
        return channels


class StochasticDepth(RandomLayer):
    """A layer that drops a whole branch of an example (Huang et al., arXiv:1603.09382)."""

    def draws_of(self, channels: int) -> int:
        return 1
