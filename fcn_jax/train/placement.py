"""The devices that hold the state of a run: parameters on each, a large optimiser state shared among them.

Every device needs all parameters for a step, but of the optimiser's state it needs only what belongs to the parameters
that it updates. Shared out, that part needs 1/n of the memory on each of n devices (ZeRO, stage 1, arXiv:1910.02054).
XLA then adds the exchange of the updated parameters. The numbers are the same, to the order of summation.
"""

import math
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fcn_jax.core.step import TrainState

LARGE_BYTES = 2**30
"""An optimiser state from which `machine.share_optimizer=auto` shares it among devices."""
SHARED_NUMBERS = 2**10
"""Arrays with fewer numbers stay on every device: an exchange would cost more than they take."""


def placement(state: TrainState, mesh: Mesh, share: str) -> TrainState:
    """Return the sharding of every array of a state.

    Args:
        state: the state, or its shapes and types.
        share: the config's `machine.share_optimizer`.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    placed = jax.tree.map(lambda _: everywhere, state)
    takes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.opt_state))
    if mesh.size == 1 or share == "never" or (share == "auto" and takes < LARGE_BYTES):
        return placed
    return placed._replace(opt_state=jax.tree.map(lambda leaf: _over_devices(leaf, mesh), state.opt_state))


def _over_devices(array: Any, mesh: Mesh) -> NamedSharding:
    """Return the sharding that splits an array along its longest axis that the devices divide evenly, if it has one."""
    axes = [axis for axis, side in enumerate(array.shape) if side % mesh.size == 0]
    if not axes or math.prod(array.shape) < SHARED_NUMBERS:
        return NamedSharding(mesh, PartitionSpec())
    longest = max(axes, key=lambda axis: array.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*(None,) * longest, *mesh.axis_names))


def with_sharding(array: Any, sharding: jax.sharding.Sharding | None = None) -> jax.ShapeDtypeStruct:
    """Return the shape, type and sharding of an array, without the array; `sharding` replaces its own."""
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding or array.sharding)


def device_mib(tree: Any) -> float:
    """Return the memory in MiB that placed arrays take on one device."""
    shards = ((leaf.sharding.shard_shape(leaf.shape), leaf.dtype) for leaf in jax.tree.leaves(tree))
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in shards) / 2**20
