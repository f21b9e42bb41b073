"""The run: compile, restore, train, evaluate, sum up. Orchestration only."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from fcn_jax.config import Config
from fcn_jax.console import Bar, say
from fcn_jax.data.draw_plan import draw_plan
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.compile import Programs, compile_programs, monitoring_compilation, use_compilation_cache
from fcn_jax.train.evaluate import evaluate
from fcn_jax.train.metrics import ZERO, Sums
from fcn_jax.train.setup import Setup, prepare
from fcn_jax.train.state import TrainState
from fcn_jax.train.summary import describe_versions, write_summary
from fcn_jax.train.workdir import locked_workdir
from fcn_jax.train.writer import MetricsWriter, write_atomically, write_json


@dataclass
class Clock:
    """Seconds and examples of the training steps, kept over resumes in the checkpoint."""

    train_seconds: float = 0.0
    """From the first step to the last, validation and saving included, compilation not."""
    step_seconds: float = 0.0
    """Of the training steps alone, waiting for input included."""
    input_seconds: float = 0.0
    """Of waiting for input."""
    examples: int = 0
    true_positions: int = 0


@dataclass
class Run:
    """A run in progress."""

    setup: Setup
    programs: Programs
    state: TrainState
    step: int = 0
    clock: Clock = field(default_factory=Clock)


def train(config: Config, workdir: Path) -> dict[str, Any]:
    """Train a config in a workdir, or go on where it stopped; returns the summary.

    Raises:
        ValueError: what is wrong with the config, the data or the workdir.
    """
    began = time.perf_counter()
    use_compilation_cache(config)
    setup = prepare(config)
    splits = (setup.validation, setup.test)
    with locked_workdir(workdir, config), monitoring_compilation() as monitor:
        write_atomically(workdir / "plan.json", setup.train.plan.to_json() + "\n")
        draw_plan(setup.train.plan, setup.train.dataset.sizes, workdir / "plan.png")
        programs = compile_programs(setup, splits=splits)
        programs.print()
        write_json(workdir / "compile.json", [program.as_row() for program in programs.all])
        assert monitor.count == len(programs.all), f"{monitor.count} compilations of {len(programs.all)} programs"
        monitor.sealed = True
        with Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep) as checkpoints:
            run = _start(setup, programs, checkpoints)
            with MetricsWriter(workdir, step=run.step) as writer:
                _train_steps(run, checkpoints, writer)
                test = evaluate(setup, programs, run.state, setup.test, title="test")
                writer.write(run.step, "test", test)
    return write_summary(
        workdir,
        {
            **test,
            **_speed(run.clock),
            "plan_fill": setup.train.plan.fill(setup.train.dataset.sizes),
            "filler_share": setup.train.schedule.filler_share,
            "fill": setup.train.schedule.fill(setup.train.dataset.sizes),
            "compile_seconds": programs.seconds,
            "compile_count": monitor.count,
            "wall_seconds": time.perf_counter() - began,
            **describe_versions(),
        },
    )


def _start(setup: Setup, programs: Programs, checkpoints: Checkpoints) -> Run:
    """A new run, or the one the newest checkpoint holds."""
    if checkpoints.latest is None:
        return Run(setup, programs, setup.state)
    state, position = checkpoints.restore(checkpoints.latest, setup.state)
    epoch, step = divmod(checkpoints.latest, setup.steps_per_epoch)
    say(f"resumed at epoch {epoch}, step {step} of {setup.steps_per_epoch}")
    return Run(setup, programs, state, step=checkpoints.latest, clock=Clock(**position["clock"]))


def _train_steps(run: Run, checkpoints: Checkpoints, writer: MetricsWriter) -> None:
    """All steps that are left, with logs, validation and checkpoints on their way."""
    setup, config = run.setup, run.setup.config
    loader = setup.loader(setup.train)
    pending: list[Sums] = []
    clock_then = time.perf_counter()
    logged = Clock(**vars(run.clock))
    note = ""
    with Bar("train", setup.total_steps, done=run.step) as bar:
        for step in loader.steps(run.step, setup.total_steps):
            run.state, sums = run.programs.train[step.program].run(run.state, step.blocks)
            if pending:
                # One step ahead of the device, no more: then what the loader makes us wait for is what it costs.
                jax.block_until_ready(pending[-1])
            pending.append(sums)
            run.step += 1
            run.clock.examples += step.num_examples
            run.clock.true_positions += step.true_positions
            epoch_ends = run.step % setup.steps_per_epoch == 0
            saves = run.step % config.checkpoint.every_steps == 0 or run.step == setup.total_steps
            logs = run.step % config.train.log_every_steps == 0
            if logs or saves or epoch_ends:
                means = _fetch(pending, run)
                clock_then = _tick(run.clock, clock_then, loader)
                if logs:
                    speed = _speed(run.clock, since=logged)
                    logged = Clock(**vars(run.clock))
                    writer.write(run.step, "train", {"epoch": run.step / setup.steps_per_epoch, **means, **speed})
                    note = _note(means, speed)
            bar.advance(note)
            if epoch_ends and _validates(config, run.step // setup.steps_per_epoch):
                means = evaluate(setup, run.programs, run.state, setup.validation, title="validation")
                writer.write(run.step, "validation", means)
                epoch = run.step // setup.steps_per_epoch
                say(f"epoch {epoch:>3}  validation accuracy {means['accuracy']:.4f}  loss {means['loss']:.4f}  {note}")
            if saves:
                checkpoints.save(run.step, run.state, {"clock": vars(run.clock)})
            if epoch_ends or saves:
                seconds = time.perf_counter() - clock_then
                run.clock.train_seconds += seconds
                clock_then += seconds
                bar.pause(seconds)


def _fetch(pending: list[Sums], run: Run) -> dict[str, float]:
    """Means over the pending steps, which are then done with.

    Raises:
        ValueError: the loss is not finite; the last checkpoint is from before.
    """
    means = sum(jax.device_get(pending), start=ZERO).means()
    pending.clear()
    if not math.isfinite(means["loss"]):
        raise ValueError(
            f"the loss is {means['loss']} in the steps up to {run.step}: the last checkpoint is from before; lower "
            "config.train.learning_rate, or look at the data"
        )
    return means


def _tick(clock: Clock, then: float, loader) -> float:
    """Add the seconds since `then` to the clock; returns now."""
    now = time.perf_counter()
    clock.train_seconds += now - then
    clock.step_seconds += now - then
    clock.input_seconds += loader.seconds_waited
    loader.seconds_waited = 0.0
    return now


def _validates(config: Config, epoch: int) -> bool:
    every = config.train.evaluate_every_epochs
    return every > 0 and (epoch % every == 0 or epoch == config.train.epochs)


def _speed(clock: Clock, since: Clock | None = None) -> dict[str, float]:
    """Throughput, and the share of time spent waiting for input."""
    since = since or Clock()
    seconds = max(clock.step_seconds - since.step_seconds, 1e-9)
    speed = {
        "images_per_second": (clock.examples - since.examples) / seconds,
        "true_megapixels_per_second": (clock.true_positions - since.true_positions) / seconds / 1e6,
        "input_wait": (clock.input_seconds - since.input_seconds) / seconds,
    }
    return speed if since.step_seconds else {**speed, "train_seconds": clock.train_seconds}


def _note(means: dict[str, float], speed: dict[str, float]) -> str:
    return (
        f"loss {means['loss']:.4f}  accuracy {means['accuracy']:.4f}  {speed['images_per_second']:,.0f} images/s  "
        f"{speed['true_megapixels_per_second']:.2f} true Mpx/s  input wait {speed['input_wait']:.1%}"
    )
