"""Mixing of the examples of a block in training: mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899), under masks.

An example is mixed with the next example of its block, by a draw that depends on the seed, the step and the example
alone. Its true size is the union of both under mixup, and its own under CutMix, whose box lies inside both. Labels
weigh as the true positions that they stand for. So a pair gives the same loss and gradients on any canvas.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import betaincinv

from fcn_jax.core.block import Block
from fcn_jax.core.layers import Map, mask_of, num_positions

QUANTILES = 2**12
"""Parts of the table of a Beta distribution."""
NUMBER = 2**31 - 1
"""The number under which a step draws its mixes; layers have small ones."""


class Mix(NamedTuple):
    """How every example of a block is mixed with another one of the block."""

    partner: Int[Array, " b"]
    """The row of the other example."""
    size: Int[Array, "b r"]
    """The true size of the mixed example."""
    keeps: Float[Array, " b"]
    """The factor of the own values where both are blended; the other's is 1 less this. 1 under CutMix."""
    start: Int[Array, "b r"]
    """The first position of the box that holds the other example's values."""
    stop: Int[Array, "b r"]
    """The position behind the box; the box of mixup is empty."""
    share: Float[Array, " b"]
    """The weight of the own label; the other label weighs 1 less this."""

    def apply(self, m: Map) -> Map:
        """Return the mixed map of a block, whose values are 0 outside of every true size."""
        other = m.x[self.partner]
        keeps = self.keeps.reshape(-1, *[1] * (m.x.ndim - 1)).astype(m.x.dtype)
        box = mask_of(self.stop, m.x.shape[1:-1], start=self.start)
        return Map(jnp.where(box, other, keeps * m.x + (1 - keeps) * other), self.size)


def draw_mixes(key: Array, blocks: tuple[Block, ...], *, mixup: float, cutmix: float) -> tuple[Mix, ...]:
    """Draw how every example of every block is mixed.

    Args:
        key: key of the seed and the step.
        mixup, cutmix: parameters of the Beta distributions of the shares; 0: the one is not used. If both are used,
            each example draws which; if neither is, the result is ().
    """
    if not mixup and not cutmix:
        return ()
    key, rank = jax.random.fold_in(key, NUMBER), blocks[0].size.shape[1]

    def draw(example: Int[Array, ""]) -> tuple[Array, Array, Array, Array]:
        of_share, of_choice, of_place = jax.random.split(jax.random.fold_in(key, example), 3)
        share = jax.random.uniform(of_share)
        return (
            _beta_quantile(share, mixup) if mixup else jnp.ones(()),
            _beta_quantile(share, cutmix) if cutmix else jnp.ones(()),
            jax.random.bernoulli(of_choice, 0.5 if mixup and cutmix else float(mixup > 0)),
            jax.random.uniform(of_place, (rank,)),
        )

    drawn = jax.vmap(draw)(jnp.concatenate([jnp.asarray(block.index) for block in blocks]))
    ends = np.cumsum([len(block.index) for block in blocks])[:-1]
    parts = zip(*(jnp.split(values, ends) for values in drawn), strict=True)
    return tuple(_mix_of(jnp.asarray(block.size), *part) for block, part in zip(blocks, parts, strict=True))


def _beta_quantile(share: Float[Array, ""], parameter: float) -> Float[Array, ""]:
    """Return the value below which a share of Beta(parameter, parameter) lies, between the entries of a table.

    Drawing by rejection, as `jax.random.beta` does, is a loop that takes seconds to compile.
    """
    table = jnp.asarray(betaincinv(parameter, parameter, np.linspace(0, 1, QUANTILES + 1)), share.dtype)
    place = share * QUANTILES
    below = jnp.minimum(jnp.floor(place), QUANTILES - 1).astype(jnp.int32)
    return table[below] + (place - below) * (table[below + 1] - table[below])


def _mix_of(
    size: Int[Array, "b r"],
    blend: Float[Array, " b"],
    cut: Float[Array, " b"],
    blends: Bool[Array, " b"],
    place: Float[Array, "b r"],
) -> Mix:
    """Return the mix of a block, from the shares of mixup and CutMix, which of them it is, and where the box lies."""
    rank, real = size.shape[1], num_positions(size) > 0
    partner = _next_example(real)
    other, blends = size[partner], blends & real
    both = jnp.minimum(size, other)
    # The box has the share 1 - cut of what both examples have in common.
    sides = jnp.floor((1 - cut[:, None]) ** (1 / rank) * both + 0.5).astype(size.dtype)
    sides = jnp.where((blends | ~real)[:, None], 0, sides)
    start = jnp.floor(place * (both - sides + 1)).astype(size.dtype)
    keeps = jnp.where(blends, blend, 1)
    own_area, other_area = num_positions(size), num_positions(other)
    blended = keeps * own_area / jnp.maximum(keeps * own_area + (1 - keeps) * other_area, 1e-9)
    pasted = 1 - num_positions(sides) / jnp.maximum(own_area, 1)
    return Mix(
        partner=partner,
        size=jnp.where(blends[:, None], jnp.maximum(size, other), size),
        keeps=keeps,
        start=start,
        stop=start + sides,
        share=jnp.where(real, jnp.where(blends, blended, pasted), 1.0),
    )


def _next_example(real: Bool[Array, " b"]) -> Int[Array, " b"]:
    """Return, for every row, the row of the next example; after the last comes the first. Filler is left out."""
    rows_of_examples = jnp.argsort(~real, stable=True)
    number = jnp.cumsum(real)
    return rows_of_examples[number % jnp.maximum(real.sum(), 1)]
