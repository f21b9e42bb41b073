"""What training changes: parameters, statistics, the optimiser's state, as plain dicts of arrays.

The structure of the model (its graphdef) never changes and stays outside: `jax.jit` then sees a plain pytree, which
costs 0.7 ms a step on the host where `nnx.jit` costs 14.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int

from fcn_jax.models.model import Model


class TrainState(NamedTuple):
    step: Int[Array, ""]
    """Updates done."""
    params: Any
    stats: Any
    """Running statistics of BatchNorm."""
    opt_state: Any
    average: Any
    """Exponential moving average of the parameters; None without one."""

    @property
    def evaluated_params(self) -> Any:
        """What evaluation uses: the average where there is one."""
        return self.params if self.average is None else self.average


def split_model(model: Model) -> tuple[Any, Any, Any]:
    """(graphdef, parameters, statistics), the latter two as plain dicts."""
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def initial_state(params: Any, stats: Any, optimizer: optax.GradientTransformation, *, average: bool) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if average else None,
    )


def abstract_state(
    params: Any, stats: Any, optimizer: optax.GradientTransformation, *, average: bool, place: jax.sharding.Sharding
) -> TrainState:
    """Shapes, types and places of a state: what a checkpoint is restored into, and a program compiled for."""
    state = jax.eval_shape(lambda p, s: initial_state(p, s, optimizer, average=average), params, stats)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state)


def replicate(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Arrays that every process has, put on all devices of all processes."""
    return jax.make_array_from_process_local_data(sharding, jax.device_get(tree))
