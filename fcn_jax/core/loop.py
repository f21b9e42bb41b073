"""The training loop: it takes the steps of a run, one after the other, and knows nothing else.

Logs, validation, checkpoints, requests to stop, full memory: all that surrounds a step is in hooks.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from fcn_jax.core.block import Block
from fcn_jax.core.step import Sums, TrainState

Update = Callable[[TrainState, tuple[Block, ...]], tuple[TrainState, Sums]]
"""A compiled training step: (state, blocks) -> (the state after it, its sums)."""


@runtime_checkable
class Step(Protocol):
    """A step as the loader gives it."""

    @property
    def stage(self) -> int: ...

    @property
    def program(self) -> int: ...

    @property
    def blocks(self) -> tuple[Block, ...]: ...


AnyStep = TypeVar("AnyStep", bound=Step, contravariant=True)


@runtime_checkable
class Hooks(Protocol[AnyStep]):
    """What surrounds every step. An exception that a hook raises ends the loop."""

    def before_step(self, step: AnyStep) -> None:
        """Run before the step is sent to the device."""
        ...

    def after_step(self, step: AnyStep, state: TrainState, sums: Sums) -> TrainState:
        """Run after the step was sent to the device; returns the state to go on with."""
        ...


def train_steps(
    state: TrainState, steps: Iterable[AnyStep], updates: Sequence[Sequence[Update]], hooks: Hooks[AnyStep]
) -> TrainState:
    """Take steps.

    Args:
        state: before the first of them.
        updates: the compiled step of every program of every stage.

    Returns:
        The state after the last of them.
    """
    for step in steps:
        hooks.before_step(step)
        update = updates[step.stage][step.program]
        state, sums = update(state, step.blocks)
        state = hooks.after_step(step, state, sums)
    return state
