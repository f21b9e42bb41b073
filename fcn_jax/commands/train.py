"""The `train` command: it prepares, compiles, restores, trains, tests and writes a summary.

`train/run.py` has the run in progress.
"""

import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from fcn_jax.config import Config, UserError
from fcn_jax.data.sources import describe_sources, open_data
from fcn_jax.data.splits import trained_on_too
from fcn_jax.reports.summary import sum_up, what_size_tells, write_plan
from fcn_jax.system.cache import use_compilation_cache
from fcn_jax.system.console import say
from fcn_jax.system.disk import write_json
from fcn_jax.system.machine import describe_versions
from fcn_jax.system.processes import by_first, check_shared, is_first, together
from fcn_jax.system.stopping import StopRequest
from fcn_jax.system.watchdog import Watchdog
from fcn_jax.train.best import Best
from fcn_jax.train.checkpoint import CHECKPOINTS, Checkpoints, check_name, newest_step
from fcn_jax.train.compile_in_threads import (
    begin_compilation,
    compiles_beside,
)
from fcn_jax.train.compile_monitor import monitoring_compilation
from fcn_jax.train.devices import describe_devices
from fcn_jax.train.log import MetricsWriter, NotFiniteError
from fcn_jax.train.not_finite import describe_not_finite
from fcn_jax.train.optimizer import describe_frozen
from fcn_jax.train.out_of_memory import compile_all
from fcn_jax.train.run import BAD_EXAMPLES, Run, report_programs
from fcn_jax.train.setup import prepare_together
from fcn_jax.train.workdir import (
    LABELS,
    keep_same_data,
    locked_workdir,
    read_labels,
    unreadable_when_begun,
    with_kept_choices,
)


def train(
    config: Config, workdir: Path, *, strict: bool = False, stop: StopRequest | None = None, profile: Path | None = None
) -> dict[str, Any]:
    """Train a config in a workdir, or go on where an earlier run stopped; return the summary.

    Where compiling does not disturb the run, training begins once the program of its first step is compiled.

    Args:
        strict: fail if the newest checkpoint is damaged.
        stop: request to stop the run.
        profile: folder for a profile of some steps; None: none.

    Raises:
        UserError: the config, the data, the workdir or the disk has a problem, which the message names.
        Stopped: a stop was requested; the steps done are saved.
    """
    began, stop = time.perf_counter(), stop or StopRequest()
    use_compilation_cache(config.machine)
    check_shared(workdir / CHECKPOINTS)
    with together():
        check_name(workdir)
        newest = newest_step(workdir)
        resumes = newest is not None
        label_names = read_labels(workdir) if resumes else None
        unreadable = unreadable_when_begun(workdir) if resumes else frozenset()
        config = with_kept_choices(config, workdir) if resumes else config
    opener = partial(open_data, unreadable=unreadable)
    setup = prepare_together(config, abstract=resumes, opener=opener, label_names=label_names)
    if config.train.freeze:
        say(describe_frozen(setup.state.params, config.train.freeze))
    with by_first(lambda: locked_workdir(workdir, setup.config)), monitoring_compilation() as monitor:
        check_shared(workdir / "config.json")
        with together():
            splits = (setup.train, setup.validation, setup.test)
            for line in describe_sources(config.data.source, setup.sources):
                say(line)
            for note in trained_on_too(config.data).values():
                say(f"  {note}")
            of_sizes = what_size_tells(setup)
            if is_first():
                if not resumes:
                    platform = setup.mesh.devices.flat[0].platform
                    for line in describe_devices(setup.train, setup.config, setup.mesh.size, platform=platform):
                        say(line)
                keep_same_data(setup, workdir, resumes=resumes)
                write_plan(setup.train, workdir)
                write_json(workdir / LABELS, setup.train.dataset.source.label_names)
        beside = compiles_beside(setup)
        with together():
            programs = begin_compilation(setup, splits=splits[1:], step=newest or 0) if beside else compile_all(setup)
            if not beside:
                report_programs(programs, workdir)
        monitor.seal(programs.jobs)
        with (
            closing(programs),
            stop.asked_by_loop(),
            Watchdog(config.machine.watchdog_seconds, workdir / "watchdog.log") as watchdog,
            Checkpoints(workdir / CHECKPOINTS, keep=config.checkpoint.keep) as checkpoints,
            Best(workdir, setup.config) as best,
        ):
            run = Run(
                setup, programs, checkpoints, best, stop, watchdog, programs_are_reported=not beside, profile=profile
            )
            test = _train_and_test(run, workdir, strict=strict)
        monitor.check_complete()
        seconds = {"compile_seconds": programs.seconds, "wall_seconds": time.perf_counter() - began}
        if run.first_step_began is not None:
            seconds["seconds_to_first_step"] = run.first_step_began - began
        cost = {**sum_up(setup, run.clock, splits), "compile_count": monitor.count, **seconds}
        summary = {**test, **run.best.summary(), **of_sizes, **cost, **describe_versions()}
        with together():
            if is_first():
                for split in splits:
                    split.dataset.bad.write_new(workdir / BAD_EXAMPLES)
                write_json(workdir / "summary.json", summary)
    return summary


def _train_and_test(run: Run, workdir: Path, *, strict: bool) -> dict[str, float]:
    """Take the steps that are left; return {loss, accuracy, count} on the test split."""
    state = run.restore(strict=strict)
    with by_first(lambda: MetricsWriter(workdir, step=run.step)) as writer:
        try:
            state = run.train(state, workdir, writer)
        except NotFiniteError as error:  # Every process raises it.
            run.checkpoints.wait()
            kept = run.checkpoints.latest
            with together():
                if is_first():
                    line = describe_not_finite(error, run.setup.train, run.programs, workdir, kept=kept)
                    raise UserError(line) from error
        run.wait_and_show(run.programs.pending)
        with together():
            run.report_programs(workdir)
        best = run.best.restore(run.setup.state)
        if best is not None:
            say(f"the test takes the {run.best.describe()}")
        test = run.evaluate(state if best is None else best, run.setup.test, title="test")
        if writer is not None:
            writer.write(run.step, "test", test)
    return test
