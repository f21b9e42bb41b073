"""Exact evaluation: every example of a split once, from masked sums."""

from collections.abc import Callable

import jax

from fcn_jax.cluster import together
from fcn_jax.console import Bar
from fcn_jax.train.agreement import share
from fcn_jax.train.compile import Programs
from fcn_jax.train.metrics import ZERO
from fcn_jax.train.setup import Setup, Split
from fcn_jax.train.state import TrainState


def evaluate(
    setup: Setup,
    programs: Programs,
    state: TrainState,
    split: Split,
    *,
    title: str,
    attend: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:
    """{loss, accuracy (a fraction), count} over all examples of a split.

    Args:
        attend: called before every step with what is waited for; what it raises ends the evaluation.
    """
    (stage,), sums = split.course.stages, []
    with Bar(title, stage.num_steps) as bar:
        attend(f"step 1 of {title}")
        for number, step in enumerate(setup.loader(split).steps(0, stage.num_steps), start=1):
            (block,) = stage.schedule.layout.programs[step.program].blocks
            program = programs.evaluate[stage.plan.shapes[block.bucket], block.rows]
            sums.append(program.run(state.evaluated_params, state.stats, step.blocks))
            bar.advance()
            attend(f"step {number + 1} of {title}")
    total = sum(jax.device_get(sums), start=ZERO)
    count = round(float(total.weight))
    dataset = split.dataset
    share(dataset.bad)
    unread = len(dataset.bad) - len(dataset.source.bad)
    assert count + unread == len(dataset), f"{count} examples evaluated, {unread} bad, {len(dataset)} in the split"
    with together():
        dataset.bad.check()
    return {**total.means(), "count": count}
