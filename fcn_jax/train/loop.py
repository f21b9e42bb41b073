"""The run: compile, restore, train, evaluate, sum up. Orchestration only."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from fcn_jax.cluster import by_first, is_first, together
from fcn_jax.config import Config
from fcn_jax.console import Bar, say
from fcn_jax.data.draw_plan import draw_plan
from fcn_jax.train.agreement import check_shared, prepare_together, share
from fcn_jax.train.checkpoint import Checkpoints, has_checkpoint
from fcn_jax.train.compile import Programs, compile_programs, monitoring_compilation, use_compilation_cache
from fcn_jax.train.evaluate import evaluate
from fcn_jax.train.meter import Clock, Meter, describe
from fcn_jax.train.optimizer import describe_frozen
from fcn_jax.train.precise_norm import with_precise_statistics
from fcn_jax.train.setup import Setup, Split
from fcn_jax.train.state import TrainState
from fcn_jax.train.summary import describe_versions
from fcn_jax.train.workdir import LABELS, locked_workdir
from fcn_jax.train.writer import MetricsWriter, write_atomically, write_json

BAD_EXAMPLES = "bad_examples.jsonl"


@dataclass
class Run:
    """A run in progress."""

    setup: Setup
    programs: Programs
    state: TrainState
    step: int = 0
    """Updates done."""
    clock: Clock = field(default_factory=Clock)

    @property
    def epoch(self) -> float:
        return self.setup.train.course.epochs_done(self.step)


def train(config: Config, workdir: Path) -> dict[str, Any]:
    """Train a config in a workdir, or go on where it stopped; returns the summary.

    Raises:
        ValueError: what is wrong with the config, the data or the workdir.
    """
    began = time.perf_counter()
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
                write_plan(setup.train, workdir)
                write_json(workdir / LABELS, setup.train.dataset.source.label_names)
        programs = compile_programs(setup, splits=splits[1:])
        programs.print()
        if is_first():
            write_json(workdir / "compile.json", [program.as_row() for program in programs.all])
        monitor.seal(expected=len(programs.all))
        with Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep) as checkpoints:
            run = _start(setup, programs, checkpoints)
            with by_first(lambda: MetricsWriter(workdir, step=run.step)) as writer:
                _train_steps(run, checkpoints, writer)
                test = evaluate(setup, programs, run.state, setup.test, title="test")
                if writer is not None:
                    writer.write(run.step, "test", test)
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
    course = run.setup.train.course
    return {
        **run.clock.speed(),
        "plan_fill": course.plan_fill,
        "filler_share": course.filler_share,
        "fill": course.fill,
        "train_seconds": run.clock.train_seconds,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.setup.state.params)),
        "bad_examples": sum(len(split.dataset.bad) for split in splits),
    }


def write_plan(train: Split, workdir: Path) -> None:
    """plan.json and plan.png of the last stage."""
    last = train.course.stages[-1]
    write_atomically(workdir / "plan.json", last.plan.to_json() + "\n")
    draw_plan(last.plan, train.dataset.views.sizes(last.epochs[-1]), workdir / "plan.png")


def _start(setup: Setup, programs: Programs, checkpoints: Checkpoints) -> Run:
    """A new run, or the one the newest checkpoint holds."""
    if checkpoints.latest is None:
        return Run(setup, programs, setup.state)
    state, position = checkpoints.restore(checkpoints.latest, setup.state)
    run = Run(setup, programs, state, step=checkpoints.latest, clock=Clock(**position["clock"]))
    say(f"resumed after step {run.step} of {setup.total_steps}")
    return run


def _train_steps(run: Run, checkpoints: Checkpoints, writer: MetricsWriter | None) -> None:
    """All steps that are left, with logs, validation and checkpoints on their way."""
    setup, config = run.setup, run.setup.config
    loader = setup.loader(setup.train)
    meter = Meter(run.clock, loader)
    with Bar("train", setup.total_steps, done=run.step) as bar:
        for step in loader.steps(run.step, setup.total_steps):
            run.state, sums = run.programs.train[step.stage][step.program].run(run.state, step.blocks)
            run.step += 1
            meter.add(step, sums)
            bar.advance()
            ends_epoch = run.epoch.is_integer()
            saves = run.step % config.checkpoint.every_steps == 0 or run.step == setup.total_steps
            if not (ends_epoch or saves or run.step % config.train.log_every_steps == 0):
                continue
            bar.note(describe(_log(run, meter, writer)))
            with meter.pause(), bar.pause():
                if run.step == setup.total_steps and config.train.precise_batch_norm:
                    run.state = with_precise_statistics(setup, run.programs, run.state)
                if ends_epoch and _validates(run):
                    _validate(run, writer)
                if saves:
                    checkpoints.save(run.step, run.state, {"clock": meter.as_dict()})


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


def _validates(run: Run) -> bool:
    every = run.setup.config.train.evaluate_every_epochs
    return every > 0 and (round(run.epoch) % every == 0 or run.step == run.setup.total_steps)


def _validate(run: Run, writer: MetricsWriter | None) -> None:
    means = evaluate(run.setup, run.programs, run.state, run.setup.validation, title="validation")
    if writer is not None:
        writer.write(run.step, "validation", {**means, "train_seconds": run.clock.train_seconds})
    say(f"epoch {round(run.epoch):>3}  validation accuracy {means['accuracy']:.4f}  loss {means['loss']:.4f}")
