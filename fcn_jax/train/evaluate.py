"""Exact evaluation: every example of a split once, from masked sums."""

from collections.abc import Callable
from pathlib import Path

import jax

from fcn_jax.cluster import together
from fcn_jax.console import Bar
from fcn_jax.train.agreement import check_shared, prepare_together, share
from fcn_jax.train.checkpoint import restore_latest
from fcn_jax.train.compile import Programs, compile_programs, use_compilation_cache
from fcn_jax.train.metrics import ZERO
from fcn_jax.train.setup import Setup, Split
from fcn_jax.train.state import TrainState
from fcn_jax.train.workdir import read_config


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


def evaluate_workdir(workdir: Path, *, split: str, strict: bool = False) -> dict[str, float | str]:
    """The newest whole checkpoint of a run on a split.

    Args:
        strict: the newest of all has to be whole.
        split: `train`, `validation` or `test` as the run's config has them, or any part such as `test[:100]`.

    Raises:
        ValueError: there is no run, no checkpoint or no such split.
    """
    with together():
        config = read_config(workdir)
    use_compilation_cache(config)
    setup = prepare_together(config, abstract=True)
    check_shared(workdir / "checkpoints")
    with together():
        state = restore_latest(workdir, setup.state, strict=strict)
    data = config.data
    own = {"train": data.train_split, "validation": data.validation_split, "test": data.test_split}
    with together():
        chosen = setup.split(own.get(split, split))
    programs = compile_programs(setup, train=False, splits=(chosen,))
    return {"split": split, "step": int(state.step), **evaluate(setup, programs, state, chosen, title=split)}
