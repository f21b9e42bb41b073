"""What a trained model says of every example of a split, for whoever needs more than sums."""

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from fcn_jax.train.setup import Setup, Split
from fcn_jax.train.state import TrainState


def split_logits(setup: Setup, state: TrainState, split: Split) -> Float[np.ndarray, "n k"]:
    """Logits of every example, in the order of the split; NaN for one that turned out bad."""
    graphdef = setup.graphdef

    @jax.jit
    def logits_step(params, stats, blocks):
        predictions = nnx.merge(graphdef, params, stats)(blocks, training=False)
        return [prediction.logits for prediction in predictions]

    (stage,) = split.course.stages
    logits = np.full((len(split.dataset), setup.config.model.num_classes), np.nan, np.float32)
    for step in setup.loader(split).steps(0, stage.num_steps):
        for block, found in zip(
            step.blocks, logits_step(state.evaluated_params, state.stats, step.blocks), strict=True
        ):
            rows = np.flatnonzero(np.asarray(block.weight))
            logits[np.asarray(block.index)[rows]] = np.asarray(found)[rows]
    return logits
