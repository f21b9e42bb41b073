"""Passes over all examples of a split: exact sums, all logits, and precise statistics of BatchNorm."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from fcn_jax.core.block import Block
from fcn_jax.core.net import Model
from fcn_jax.core.norms import Moments, batch_norms
from fcn_jax.core.ranking import label_metrics
from fcn_jax.core.schedule import FILLER
from fcn_jax.core.step import ZERO, Scored, TrainState, Variables, put
from fcn_jax.data.bad_examples import share
from fcn_jax.data.loader import Step
from fcn_jax.system.console import Bar
from fcn_jax.system.processes import gather, together
from fcn_jax.train.compile_in_threads import CompiledPrograms
from fcn_jax.train.setup import Setup, Split


def no_one_asks(_: str) -> None:
    """Do nothing: the `attend` of a pass that nobody watches or stops."""


def steps_of(setup: Setup, split: Split, *, title: str, attend: Callable[[str], None] = no_one_asks) -> Iterator[Step]:
    """Yield every step of a pass over a split, with a bar; at the end every process knows of all bad examples.

    Every example is read once. So those of its bad examples that were not left out are those that this pass did not
    read; they are said.

    Args:
        attend: called before every step with a text that says what the pass waits for; an error in it ends the pass.

    Raises:
        UserError: more examples are bad than the config allows.
    """
    total = split.stages.total_steps
    with Bar(title, total) as bar:
        attend(f"step 1 of {title}")
        for number, step in enumerate(setup.loader(split).steps(0, total), start=1):
            yield step
            bar.advance()
            attend(f"step {number + 1} of {title}")
    share(split.dataset.bad)
    with together():
        split.dataset.bad.check()
    split.dataset.bad.say_new()


def evaluate(
    setup: Setup,
    programs: CompiledPrograms,
    state: TrainState,
    split: Split,
    *,
    title: str,
    attend: Callable[[str], None] = no_one_asks,
) -> dict[str, float]:
    """Return {loss, accuracy (a fraction), count} over all examples of a split, each counted once.

    Where an example may have several labels, an answer is right if all its labels are, and the metrics of
    `label_metrics` come with them.
    """
    sums, scored, read = [], [], 0
    for step in steps_of(setup, split, title=title, attend=attend):
        (block,) = step.blocks
        rows, *canvas, _ = block.image.shape
        program = programs.evaluate[tuple(canvas), rows]
        found = program.run(*state.evaluated, step.blocks)
        if isinstance(found, Scored):
            scored.append((np.asarray(found.example), np.asarray(found.logits)))
            found = found.sums
        sums.append(found)
        read += step.num_examples
    total = sum(jax.device_get(sums), start=ZERO)
    count, read = round(float(total.weight)), sum(gather(read))
    assert count == read, f"{count} examples evaluated, {read} read"
    metrics = _metrics_of(scored, split.dataset.labels) if scored else {}
    return {**total.means(), **metrics, "count": count}


def _metrics_of(scored: Sequence[tuple[np.ndarray, np.ndarray]], targets: np.ndarray) -> dict[str, float]:
    """Return the metrics of several labels from the (indices, logits) of all steps."""
    index, logits = (np.concatenate(parts) for parts in zip(*scored, strict=True))
    is_example = index != FILLER
    return label_metrics(logits[is_example], targets[index[is_example]] > 0.5)


def split_logits(setup: Setup, state: TrainState, split: Split, *, title: str) -> Float[np.ndarray, "n k"]:
    """Return the logits of every example, in the order of the split; NaN for a bad example."""

    def logits_of(model: Model, block: Block) -> Array:
        (prediction,) = model((block,), training=False)
        return prediction.logits

    return _of_every_example(setup, state, split, logits_of, title=title)


def split_features(setup: Setup, state: TrainState, split: Split, *, title: str) -> Float[np.ndarray, "n c"]:
    """Return the features of every example, in the order of the split; NaN for a bad example."""
    return _of_every_example(setup, state, split, Model.features, title=title)


def _of_every_example(
    setup: Setup, state: TrainState, split: Split, of: Callable[[Model, Block], Array], *, title: str
) -> Float[np.ndarray, "n m"]:
    """Return what a function says of every example, in the order of the split; NaN for a bad example."""

    @partial(jax.jit, out_shardings=NamedSharding(setup.mesh, PartitionSpec()))
    def of_block(params, stats, block):
        return block.index, of(nnx.merge(setup.graphdef, params, stats), block)

    values = None
    for step in steps_of(setup, split, title=title):
        (block,) = step.blocks
        index, found = map(np.asarray, of_block(*state.evaluated, block))
        if values is None:
            values = np.full((len(split.dataset), found.shape[1]), np.nan, np.float32)
        rows = np.flatnonzero(index != FILLER)
        values[index[rows]] = found[rows]
    assert values is not None
    return values


def with_precise_statistics(
    setup: Setup, programs: CompiledPrograms, state: TrainState, *, attend: Callable[[str], None] = no_one_asks
) -> TrainState:
    """Return the state with the BatchNorm statistics of its evaluated parameters, measured over the training data."""
    pooled = None
    setup.calibration.dataset.bad.count_as_said(setup.train.dataset.bad.unread)
    for step in steps_of(setup, setup.calibration, title="precise BatchNorm", attend=attend):
        found = programs.moments[step.program].run(*state.evaluated, step.blocks)
        moments = [as_float64(m) for m in jax.device_get(found)]
        pooled = moments if pooled is None else [pool(a, b) for a, b in zip(pooled, moments, strict=True)]
    assert pooled is not None
    return state.evaluated_with(replaced_statistics(setup, state.evaluated, pooled))


def as_float64(moments: Moments) -> Moments:
    return Moments(*(np.asarray(value, np.float64) for value in moments))


def pool(a: Moments, b: Moments) -> Moments:
    """Return the moments of two sets of positions together (Chan et al., The American Statistician 1983).

    They are zeros where both sets are empty.
    """
    number = a.number + b.number
    share = b.number / np.maximum(number, 1)
    apart = b.mean - a.mean
    return Moments(
        number, a.mean + share * apart, (1 - share) * a.var + share * b.var + share * (1 - share) * np.square(apart)
    )


def replaced_statistics(setup: Setup, variables: Variables, moments: Sequence[Moments]) -> Any:
    """Return the statistics of a net with those of every BatchNorm replaced, in the order of `batch_norms`."""
    model = nnx.merge(setup.graphdef, *variables)
    for layer, found in zip(batch_norms(model), moments, strict=True):
        for statistic, value in ((layer.mean, found.mean), (layer.var, found.var)):
            statistic[...] = put(value.astype(statistic.dtype), statistic.sharding)
    return nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
