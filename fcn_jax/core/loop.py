"""The training loop: it takes the steps of a run, one after the other, and does nothing else.

Everything around a step is in hooks: logs, validation, checkpoints, requests to stop, full memory.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from fcn_jax.core.block import Block
from fcn_jax.core.step import Sums, TrainState

Update = Callable[[TrainState, tuple[Block, ...]], tuple[TrainState, Sums]]
"""A compiled training step: (state, blocks) -> (state after the step, sums of the step)."""


@runtime_checkable
class Step(Protocol):
    """A step as the loader gives it: the number of its stage, of its program in that stage, and its blocks."""

    @property
    def stage(self) -> int: ...

    @property
    def program(self) -> int: ...

    @property
    def blocks(self) -> tuple[Block, ...]: ...


AnyStep = TypeVar("AnyStep", bound=Step, contravariant=True)


@runtime_checkable
class Hooks(Protocol[AnyStep]):
    """Functions that run before and after every step. An exception in a hook ends the loop."""

    def before_step(self, step: AnyStep) -> None:
        """Do what is needed before the step is sent to the device."""
        ...

    def after_step(self, step: AnyStep, state: TrainState, sums: Sums) -> TrainState:
        """Do what is needed after the step was sent to the device, and return the state for the next step."""
        ...


def train_steps(
    state: TrainState, steps: Iterable[AnyStep], updates: Sequence[Sequence[Update]], hooks: Hooks[AnyStep]
) -> TrainState:
    """Take all steps, one after the other.

    Args:
        state: the state before the first step.
        updates: the compiled training step of every program, for every stage: `updates[stage][program]`.

    Returns:
        The state after the last step.
    """
    for step in steps:
        hooks.before_step(step)
        update = updates[step.stage][step.program]
        state, sums = update(state, step.blocks)
        state = hooks.after_step(step, state, sums)
    return state
