"""The loop takes every step once, in order, with the program of its stage, and goes on with the state of the hooks."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest

from fcn_jax.core.block import filler_block
from fcn_jax.core.loop import train_steps
from fcn_jax.core.step import Sums, TrainState


class MadeStep(NamedTuple):
    stage: int
    program: int
    blocks: tuple = ()


@dataclass
class Recorder:
    """Hooks that note what they see and add a hundred to the state."""

    seen: list[Any] = field(default_factory=list)

    def before_step(self, step):
        self.seen.append(("before", step.program))

    def after_step(self, step, state, sums):
        self.seen.append(("after", step.program, state.step, sums.loss))
        return state._replace(step=state.step + 100)


def update_of(number: float):
    return lambda state, blocks: (
        state._replace(step=state.step + 1),
        Sums(number, 0.0, float(len(blocks)), float(len(blocks))),
    )


STATE = TrainState(np.array(0), {}, {}, (), None)
UPDATES = [[update_of(1.0)], [update_of(2.0), update_of(3.0)]]
STEPS = [MadeStep(0, 0), MadeStep(1, 1, (filler_block(1, (2,), 1),)), MadeStep(1, 0)]


def test_every_step_has_its_program_and_its_hooks():
    hooks = Recorder()
    assert train_steps(STATE, iter(STEPS), UPDATES, hooks).step == 303
    assert hooks.seen == [
        ("before", 0),
        ("after", 0, 1, 1.0),
        ("before", 1),
        ("after", 1, 102, 3.0),
        ("before", 0),
        ("after", 0, 203, 2.0),
    ]


def test_no_step_changes_nothing():
    assert train_steps(STATE, [], UPDATES, Recorder()) is STATE


def test_what_a_hook_raises_ends_the_loop():
    class Stops(Recorder):
        def after_step(self, step, state, sums):
            raise KeyboardInterrupt

    hooks = Stops()
    with pytest.raises(KeyboardInterrupt):
        train_steps(STATE, STEPS, UPDATES, hooks)
    assert hooks.seen == [("before", 0)]
