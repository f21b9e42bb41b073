"""The run: compile, restore, train, evaluate, sum up. Orchestration only."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax

from fcn_jax.config import Config, UserError
from fcn_jax.core.step import TrainState
from fcn_jax.data.bad_examples import share
from fcn_jax.reports.plan_plot import draw_plan
from fcn_jax.system.console import Bar, say
from fcn_jax.system.disk import write_atomically, write_json
from fcn_jax.system.machine import describe_versions, use_compilation_cache
from fcn_jax.system.processes import by_first, check_shared, gather, is_first, together
from fcn_jax.system.stopping import RESUME, Stopped, StopRequest
from fcn_jax.system.watchdog import Watchdog
from fcn_jax.train.checkpoint import Checkpoints, has_checkpoint
from fcn_jax.train.compile import CompiledPrograms, monitoring_compilation, print_programs
from fcn_jax.train.log import Clock, Meter, MetricsWriter, NotFiniteError, describe
from fcn_jax.train.not_finite import check_state, describe_not_finite
from fcn_jax.train.optimizer import describe_frozen
from fcn_jax.train.out_of_memory import compile_all, fitting
from fcn_jax.train.passes import evaluate, with_precise_statistics
from fcn_jax.train.setup import Setup, Split, prepare_together
from fcn_jax.train.workdir import LABELS, keep_same_data, locked_workdir

BAD_EXAMPLES = "bad_examples.jsonl"


@dataclass
class Run:
    """A run in progress."""

    setup: Setup
    programs: CompiledPrograms
    state: TrainState
    stop: StopRequest
    watchdog: Watchdog
    step: int = 0
    """Updates done."""
    clock: Clock = field(default_factory=Clock)

    @property
    def epoch(self) -> float:
        return self.setup.train.stages.epochs_done(self.step)

    def attend(self, what: str) -> None:
        """Between two steps, before this is waited for.

        Raises:
            Stopped: somebody asked for it.
        """
        self.watchdog.waits_for(what)
        if self.stop.requested:
            raise Stopped(f"stopped after step {self.step} of {self.setup.total_steps}: {RESUME}")


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
    use_compilation_cache(config)
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
            run = Run(setup, programs, setup.state, stop, watchdog)
            _restore(run, checkpoints, strict=strict)
            test = _train_and_test(run, checkpoints, workdir)
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


def _restore(run: Run, checkpoints: Checkpoints, *, strict: bool) -> None:
    """Bring the run to where the newest whole checkpoint is; a new one stays as it is."""
    run.attend("a checkpoint to be restored")
    restored = checkpoints.restore_newest(run.setup.state, strict=strict)
    if restored is not None:
        run.state, run.step, run.clock = restored.state, restored.step, Clock(**restored.position["clock"])
        say(f"resumed after step {run.step} of {run.setup.total_steps}")


def _train_and_test(run: Run, checkpoints: Checkpoints, workdir: Path) -> dict[str, float]:
    """The steps that are left, then {loss, accuracy, count} on test."""
    with by_first(lambda: MetricsWriter(workdir, step=run.step)) as writer:
        try:
            _train_steps(run, checkpoints, writer)
        except NotFiniteError as error:  # In every process.
            kept = checkpoints.latest
            with together():
                if is_first():
                    line = describe_not_finite(error, run.setup.train, run.programs, workdir, kept=kept)
                    raise UserError(line) from error
        test = evaluate(run.setup, run.programs, run.state, run.setup.test, title="test", attend=run.attend)
        if writer is not None:
            writer.write(run.step, "test", test)
    return test


def _train_steps(run: Run, checkpoints: Checkpoints, writer: MetricsWriter | None) -> None:
    """All steps that are left, with logs, validation and checkpoints on their way."""
    setup, config = run.setup, run.setup.config
    loader = setup.loader(setup.train)
    meter = Meter(run.clock, loader)
    with Bar("train", setup.total_steps, done=run.step) as bar:
        _validate_if_due(run, writer)
        run.attend(f"the input of step {run.step + 1}")
        for step in loader.steps(run.step, setup.total_steps):
            run.watchdog.waits_for(f"the device, in step {run.step + 1}")
            program = run.programs.train[step.stage][step.program]
            with fitting(program, setup):
                run.state, sums = program.run(run.state, step.blocks)
                meter.add(step, sums)
            run.step += 1
            bar.advance()
            saves = run.step % config.checkpoint.every_steps == 0 or run.step == setup.total_steps or run.stop.requested
            if saves or run.epoch.is_integer() or run.step % config.train.log_every_steps == 0:
                bar.note(describe(_log(run, meter, writer)))
                with meter.pause(), bar.pause():
                    _end_step(run, checkpoints, writer, saves=saves)
            run.watchdog.waits_for(f"the input of step {run.step + 1}")


def _log(run: Run, meter: Meter, writer: MetricsWriter | None) -> dict[str, float]:
    """Write and return what the steps since the last time came to, and name the bad examples met."""
    bad = run.setup.train.dataset.bad
    with together():
        reading = meter.read(run.step)
        share(bad)
        if writer is not None:
            bad.write_new(writer.workdir / BAD_EXAMPLES)
            writer.write(run.step, "train", {"epoch": run.epoch, **reading})
        bad.check()
    return reading


def _end_step(run: Run, checkpoints: Checkpoints, writer: MetricsWriter | None, *, saves: bool) -> None:
    """What follows a step. Saving comes first: what is stopped in the validation goes on with it.

    Raises:
        Stopped: somebody asked for it; the step is saved.
    """
    setup = run.setup
    if run.step == setup.total_steps and setup.config.train.precise_batch_norm:
        run.state = with_precise_statistics(setup, run.programs, run.state, attend=run.attend)
    if saves:
        _save(run, checkpoints)
    try:
        run.attend("the validation")
        _validate_if_due(run, writer)
    except Stopped:
        if not saves:
            _save(run, checkpoints)
        raise


def _save(run: Run, checkpoints: Checkpoints) -> None:
    run.watchdog.waits_for(f"the checkpoint of step {run.step} to be saved")
    check_state(run.state, step=run.step)
    checkpoints.save(run.step, run.state, {"clock": asdict(run.clock)})


def _validate_if_due(run: Run, writer: MetricsWriter | None) -> None:
    """Validate at the end of an epoch, unless that was done before the run stopped there."""
    every = run.setup.config.train.evaluate_every_epochs
    ends_epoch = run.step > 0 and run.epoch.is_integer()
    if not (ends_epoch and every > 0 and (round(run.epoch) % every == 0 or run.step == run.setup.total_steps)):
        return
    if any(gather(writer is not None and writer.has_validation(run.step))):
        return
    means = evaluate(run.setup, run.programs, run.state, run.setup.validation, title="validation", attend=run.attend)
    if writer is not None:
        writer.write(run.step, "validation", {**means, "train_seconds": run.clock.train_seconds})
    say(f"epoch {round(run.epoch):>3}  validation accuracy {means['accuracy']:.4f}  loss {means['loss']:.4f}")
