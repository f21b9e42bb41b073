"""Statistics of BatchNorm estimated once more, for the weights a run ends with (Wu and Johnson, arXiv:2105.07576).

Running averages mix the statistics of many weights, of augmented sizes and, in bucketed training, of one shape a
step. Here the final weights see every training example once, at the evaluation's scale and unchanged. Each layer
normalises by its batch, as it did in training, so that the layers behind see what they learned on; therefore steps
are stratified whatever the schedule: a batch of one shape would be normalised by what only that shape has. The
statistics of all steps are then pooled by their true positions, in float64: the mean and variance of one population.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from fcn_jax.cluster import together
from fcn_jax.console import Bar
from fcn_jax.models.norms import Moments, batch_norms
from fcn_jax.train.agreement import share
from fcn_jax.train.compile import Programs
from fcn_jax.train.setup import Setup
from fcn_jax.train.state import TrainState, replicate


def with_precise_statistics(
    setup: Setup, programs: Programs, state: TrainState, *, attend: Callable[[str], None] = lambda _: None
) -> TrainState:
    """The state with the statistics that its evaluated parameters have over the training data.

    Args:
        attend: called before every step with what is waited for; what it raises ends the pass.
    """
    split = setup.calibration
    pooled = None
    with Bar("precise BatchNorm", split.course.total_steps) as bar:
        attend("step 1 of precise BatchNorm")
        for number, step in enumerate(setup.loader(split).steps(0, split.course.total_steps), start=1):
            found = programs.moments[step.program].run(state.evaluated_params, state.stats, step.blocks)
            moments = [as_float64(m) for m in jax.device_get(found)]
            pooled = moments if pooled is None else [pool(a, b) for a, b in zip(pooled, moments, strict=True)]
            bar.advance()
            attend(f"step {number + 1} of precise BatchNorm")
    share(split.dataset.bad)
    with together():
        split.dataset.bad.check()
    assert pooled is not None
    return state._replace(stats=replaced_statistics(setup, state, pooled))


def as_float64(moments: Moments) -> Moments:
    return Moments(*(np.asarray(value, np.float64) for value in moments))


def pool(a: Moments, b: Moments) -> Moments:
    """Of the positions of both together (Chan et al., The American Statistician 1983); of none, zeros."""
    number = a.number + b.number
    share = b.number / np.maximum(number, 1)
    apart = b.mean - a.mean
    return Moments(
        number, a.mean + share * apart, (1 - share) * a.var + share * b.var + share * (1 - share) * np.square(apart)
    )


def replaced_statistics(setup: Setup, state: TrainState, moments: Sequence[Moments]) -> Any:
    """The statistics of a state with these in their place, in the order of `batch_norms`."""
    model = nnx.merge(setup.graphdef, state.params, state.stats)
    for layer, found in zip(batch_norms(model), moments, strict=True):
        for statistic, value in ((layer.mean, found.mean), (layer.var, found.var)):
            statistic[...] = replicate(value.astype(statistic.dtype), statistic.sharding)
    return nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
