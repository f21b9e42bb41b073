"""The `train` command: prepare, compile, restore, train, test, sum up."""

import time
from pathlib import Path
from typing import Any

import jax

from fcn_jax.config import Config, UserError
from fcn_jax.reports.plan_plot import draw_plan
from fcn_jax.system.console import say
from fcn_jax.system.disk import write_atomically, write_json
from fcn_jax.system.machine import describe_versions, use_compilation_cache
from fcn_jax.system.processes import by_first, check_shared, is_first, together
from fcn_jax.system.stopping import StopRequest
from fcn_jax.system.watchdog import Watchdog
from fcn_jax.train.checkpoint import Checkpoints, has_checkpoint
from fcn_jax.train.compile import monitoring_compilation, print_programs
from fcn_jax.train.log import MetricsWriter, NotFiniteError
from fcn_jax.train.not_finite import describe_not_finite
from fcn_jax.train.optimizer import describe_frozen
from fcn_jax.train.out_of_memory import compile_all
from fcn_jax.train.run import BAD_EXAMPLES, Run
from fcn_jax.train.setup import Split, prepare_together
from fcn_jax.train.workdir import LABELS, keep_same_data, locked_workdir


def train(config: Config, workdir: Path, *, strict: bool = False, stop: StopRequest | None = None) -> dict[str, Any]:
    """Train a config in a workdir, or go on where it stopped; returns the summary.

    Args:
        strict: go on from the newest checkpoint or not at all, where it is damaged.
        stop: whether somebody asks the run to stop.

    Raises:
        UserError: what is wrong with the config, the data, the workdir or the disk.
        Stopped: somebody asked for it, and what was done is saved.
    """
    began, stop = time.perf_counter(), stop or StopRequest()
    use_compilation_cache(config.machine)
    check_shared(workdir / "checkpoints")
    with together():
        resumes = has_checkpoint(workdir)
    setup = prepare_together(config, abstract=resumes)
    if config.train.freeze:
        say(describe_frozen(setup.state.params, config.train.freeze))
    with by_first(lambda: locked_workdir(workdir, config)), monitoring_compilation() as monitor:
        check_shared(workdir / "config.json")
        with together():
            splits = (setup.train, setup.validation, setup.test)
            if is_first():
                keep_same_data(setup, workdir, resumes=resumes)
                write_plan(setup.train, workdir)
                write_json(workdir / LABELS, setup.train.dataset.source.label_names)
        with together():
            programs = compile_all(setup)
        print_programs(programs.all, seconds=programs.seconds)
        if is_first():
            write_json(workdir / "compile.json", [program.as_row() for program in programs.all])
        monitor.seal(expected=len(programs.all))
        with (
            stop.asked_by_loop(),
            Watchdog(config.machine.watchdog_seconds, workdir / "watchdog.log") as watchdog,
            Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep) as checkpoints,
        ):
            run = Run(setup, programs, checkpoints, stop, watchdog)
            test = _train_and_test(run, workdir, strict=strict)
        seconds = {"compile_seconds": programs.seconds, "wall_seconds": time.perf_counter() - began}
        summary = {**test, **_sum_up(run, splits), "compile_count": monitor.count, **seconds, **describe_versions()}
        with together():
            if is_first():
                for split in splits:
                    split.dataset.bad.write_new(workdir / BAD_EXAMPLES)
                write_json(workdir / "summary.json", summary)
    return summary


def _sum_up(run: Run, splits: tuple[Split, ...]) -> dict[str, float]:
    """What a run has achieved and cost, but for its test."""
    stages = run.setup.train.stages
    return {
        **run.clock.speed(),
        "plan_fill": stages.plan_fill,
        "filler_share": stages.filler_share,
        "fill": stages.fill,
        "train_seconds": run.clock.train_seconds,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.setup.state.params)),
        "bad_examples": sum(len(split.dataset.bad) for split in splits),
    }


def write_plan(train: Split, workdir: Path) -> None:
    """plan.json and plan.png of the last stage."""
    last = train.stages[-1]
    write_atomically(workdir / "plan.json", last.plan.to_json() + "\n")
    draw_plan(last.plan, train.dataset.views.sizes(last.epochs[-1]), workdir / "plan.png")


def _train_and_test(run: Run, workdir: Path, *, strict: bool) -> dict[str, float]:
    """Take the steps that are left; returns {loss, accuracy, count} on test."""
    state = run.restore(strict=strict)
    with by_first(lambda: MetricsWriter(workdir, step=run.step)) as writer:
        try:
            state = run.train(state, writer)
        except NotFiniteError as error:  # In every process.
            kept = run.checkpoints.latest
            with together():
                if is_first():
                    line = describe_not_finite(error, run.setup.train, run.programs, workdir, kept=kept)
                    raise UserError(line) from error
        test = run.evaluate(state, run.setup.test, title="test")
        if writer is not None:
            writer.write(run.step, "test", test)
    return test
