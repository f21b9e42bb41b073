"""What a trained model says of every example of a split, for whoever needs more than sums."""

from functools import partial

import jax
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float

from fcn_jax.console import Bar
from fcn_jax.data.schedule import FILLER
from fcn_jax.train.setup import Setup, Split
from fcn_jax.train.state import TrainState


def split_logits(setup: Setup, state: TrainState, split: Split, *, title: str) -> Float[np.ndarray, "n k"]:
    """Logits of every example, in the order of the split; NaN for one that turned out bad."""
    graphdef = setup.graphdef

    @partial(jax.jit, out_shardings=NamedSharding(setup.mesh, PartitionSpec()))
    def logits_step(params, stats, blocks):
        predictions = nnx.merge(graphdef, params, stats)(blocks, training=False)
        return [(block.index, prediction.logits) for block, prediction in zip(blocks, predictions, strict=True)]

    (stage,) = split.course.stages
    logits = np.full((len(split.dataset), setup.config.model.num_classes), np.nan, np.float32)
    with Bar(title, stage.num_steps) as bar:
        for step in setup.loader(split).steps(0, stage.num_steps):
            for index, found in logits_step(state.evaluated_params, state.stats, step.blocks):
                rows = np.flatnonzero(np.asarray(index) != FILLER)
                logits[np.asarray(index)[rows]] = np.asarray(found)[rows]
            bar.advance()
    return logits
