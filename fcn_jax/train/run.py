"""A run in progress: it restores its state, waits for its programs, takes its steps and evaluates.

`core/loop.py` takes the steps. It calls the hooks in `_RunHooks`, which log, validate and save, tell the watchdog what
the run waits for, and stop the run on request.
"""

import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from fcn_jax.core.block import Block
from fcn_jax.core.loop import train_steps
from fcn_jax.core.step import Sums, TrainState
from fcn_jax.data.bad_examples import share
from fcn_jax.data.loader import Step
from fcn_jax.data.meaning import check_meaning, meaning_of
from fcn_jax.system.console import Bar, say
from fcn_jax.system.disk import write_json
from fcn_jax.system.processes import gather, is_first, together
from fcn_jax.system.stopping import RESUME, Stopped, StopRequest
from fcn_jax.system.watchdog import Watchdog
from fcn_jax.train.best import Best
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.compile import print_programs
from fcn_jax.train.compile_in_threads import CompiledPrograms, PendingProgram, program_of
from fcn_jax.train.devices import describe_change
from fcn_jax.train.log import Clock, Meter, MetricsWriter, check_state, describe, describe_means
from fcn_jax.train.out_of_memory import check_fits_device, fitting
from fcn_jax.train.passes import evaluate, with_precise_statistics
from fcn_jax.train.profiler import Profiler
from fcn_jax.train.setup import Setup, Split
from fcn_jax.train.workdir import meaning_in

SECONDS_BETWEEN_LOOKS = 0.2
"""Seconds between two looks at a stop request, while the run waits for a program."""

BAD_EXAMPLES = "bad_examples.jsonl"
"""Name of the file in a workdir that has one line for each bad example."""


@dataclass
class Run:
    """A run in progress."""

    setup: Setup
    programs: CompiledPrograms
    checkpoints: Checkpoints
    best: Best
    stop: StopRequest
    watchdog: Watchdog
    programs_are_reported: bool
    """True once all programs are compiled and their table is written."""
    step: int = 0
    """Number of updates done."""
    clock: Clock = field(default_factory=Clock)
    devices: int = 0
    """Number of devices on which the run began."""
    profile: Path | None = None
    """Folder for a profile of some steps; None: none."""
    first_step_began: float | None = None
    """Time of the first step since the start of the command, on the clock of `time.perf_counter`."""
    _usable: set[PendingProgram] = field(default_factory=set)
    """The programs of which all processes know that they are compiled and fit."""

    @property
    def epoch(self) -> float:
        return self.setup.train.stages.epochs_done(self.step)

    def attend(self, what: str) -> None:
        """Tell the watchdog what the run waits for next, and stop the run if a stop was requested.

        Raises:
            Stopped: a stop was requested.
        """
        self.watchdog.waits_for(what)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.stop.requested:
            raise Stopped(f"stopped after step {self.step} of {self.setup.total_steps}: {RESUME}")

    def wait_for(self, programs: Sequence[PendingProgram]) -> None:
        """Wait until programs are compiled in every process, and check that they fit the device.

        All processes look in the same rounds, so that they stop or fail together.

        Raises:
            Stopped: a stop was requested.
            UserError: a program does not fit.
        """
        for program in programs:
            if program in self._usable:
                continue
            self.watchdog.waits_for(f"{program.name} to be compiled")
            while not all(gather(program.wait(SECONDS_BETWEEN_LOOKS))):
                self._stop_if_asked()
            with together():
                check_fits_device(lambda program=program: [program.compiled()], self.setup)
            self._usable.add(program)

    def wait_and_show(self, programs: Sequence[PendingProgram]) -> None:
        """Wait for programs as `wait_for` does, and show the table of all programs as it fills."""
        if not self.programs_are_reported:
            with self.programs.showing():
                self.wait_for(programs)

    @property
    def next_program(self) -> PendingProgram | None:
        """The program of the next step; None after the last step."""
        if self.step == self.setup.total_steps:
            return None
        stage = self.setup.train.stages.position(self.step).stage
        return self.programs.train[stage][program_of(self.setup, self.step)]

    def report_programs(self, workdir: Path) -> None:
        """Report the programs once all are compiled; raise the error of one that failed, though no step needs it yet.

        Raises:
            UserError: a program does not fit.
        """
        if self.programs_are_reported or not self.programs.are_over:
            return
        check_fits_device(lambda: self.programs.all, self.setup)
        report_programs(self.programs, workdir)
        self.programs_are_reported = True

    def restore(self, *, strict: bool) -> TrainState:
        """Return the state of the newest whole checkpoint and go to its step; without one, begin at step 0."""
        self.attend("a checkpoint to be restored")
        restored = self.checkpoints.restore_newest(self.setup.state, strict=strict)
        if restored is None:
            self.best.forget()
            self.devices = self.setup.mesh.size
            return self.setup.state
        self.step, self.clock = restored.step, Clock(**restored.position["clock"])
        with together():
            net = meaning_in(restored, self.checkpoints.directory)
            for source in self.setup.sources.values():
                check_meaning(source, net, data=self.setup.config.data.source)
        self.best.restore(self.setup.state)
        say(f"resumed after step {self.step} of {self.setup.total_steps}")
        now = self.setup.mesh.size
        self.devices = restored.position.get("devices", now)
        if line := describe_change(self.setup.train.stages, before=self.devices, now=now):
            say(line)
        return restored.state

    def train(self, state: TrainState, workdir: Path, writer: MetricsWriter | None) -> TrainState:
        """Take all steps that are left; return the last state.

        Args:
            writer: writer of the logs; None in a process that writes no logs.
        """
        loader, total = self.setup.loader(self.setup.train), self.setup.total_steps
        updates = [[partial(_update, program, self.setup) for program in stage] for stage in self.programs.train]
        if self.next_program is not None:
            self.wait_and_show([self.next_program])
        with Bar("train", total, done=self.step) as bar:
            meter = Meter(self.clock, loader, rank=self.setup.train.dataset.rank)
            hooks = _RunHooks(self, workdir, writer, meter, bar, Profiler(self.profile))
            hooks.validate_if_due(state)
            self.attend(f"the input of step {self.step + 1}")
            with hooks.profiler, closing(loader.steps(self.step, total)) as steps:
                state = train_steps(
                    state, takewhile(lambda _: not self.best.is_over(self.epoch), steps), updates, hooks
                )
            if self.step < total:
                say(f"ended after epoch {self.epoch:g}: {self.best.describe()}, and train.patience is over")
                if self.setup.config.train.precise_batch_norm:
                    say("BatchNorm's statistics were not measured again, since the last step was not reached")
                if self.step != self.checkpoints.latest:
                    hooks.save(state)
        return state

    def evaluate(self, state: TrainState, split: Split, *, title: str) -> dict[str, float]:
        """Return {loss, accuracy, count} over a split, and what else `evaluate` gives."""
        return evaluate(self.setup, self.programs, state, split, title=title, attend=self.attend)


def _update(
    program: PendingProgram, setup: Setup, state: TrainState, blocks: tuple[Block, ...]
) -> tuple[TrainState, Sums]:
    with fitting(program.compiled(), setup):
        return program.run(state, blocks)


@dataclass
class _RunHooks:
    """The work before and after every step of a run."""

    run: Run
    workdir: Path
    writer: MetricsWriter | None
    meter: Meter
    bar: Bar
    profiler: Profiler

    def before_step(self, step: Step) -> None:
        del step
        self.run.watchdog.waits_for(f"the device, in step {self.run.step + 1}")
        self.run.first_step_began = self.run.first_step_began or time.perf_counter()

    def after_step(self, step: Step, state: TrainState, sums: Sums) -> TrainState:
        run, config = self.run, self.run.setup.config
        with fitting(run.programs.train[step.stage][step.program].compiled(), run.setup):
            self.meter.add(step, sums)
        run.step += 1
        self.bar.advance()
        if not run.programs_are_reported and run.next_program is not None:
            with suppress(Stopped), self.bar.pause():  # A stop is seen below, where the step just done is saved.
                self._wait_for([run.next_program])
        is_last = run.step == run.setup.total_steps
        logs = run.epoch.is_integer() or run.step % config.train.log_every_steps == 0
        saves = is_last or run.stop.requested or run.checkpoints.are_due(run.step, config.checkpoint, together=logs)
        self.profiler.after_step()
        if saves or logs:
            self.bar.note(describe(self._log()))
            with self.meter.pause(), self.bar.pause():
                state = self._pause(state, saves=saves)
        run.watchdog.waits_for(f"the input of step {run.step + 1}")
        return state

    def _wait_for(self, programs: Sequence[PendingProgram]) -> None:
        with self.meter.leave_out():
            self.run.wait_for(programs)

    def _log(self) -> dict[str, float]:
        """Write and return the metrics of the steps since the last call, and write the names of new bad examples."""
        bad = self.run.setup.train.dataset.bad
        with together():
            reading = self.meter.read(self.run.step)
            share(bad)
            if self.writer is not None:
                bad.write_new(self.writer.workdir / BAD_EXAMPLES)
                self.writer.write(self.run.step, "train", {"epoch": self.run.epoch, **reading})
            bad.check()
            bad.say_new()
            self.run.report_programs(self.workdir)
        return reading

    def _pause(self, state: TrainState, *, saves: bool) -> TrainState:
        """Save, if `saves`, and validate. Saving comes first, so a run that is stopped while validating resumes there.

        Raises:
            Stopped: a stop was requested; the step is saved.
        """
        run, setup = self.run, self.run.setup
        if run.step == setup.total_steps and setup.config.train.precise_batch_norm:
            self._wait_for(run.programs.moments)
            state = with_precise_statistics(setup, run.programs, state, attend=run.attend)
        if saves:
            self.save(state)
        try:
            run.attend("the validation")
            self.validate_if_due(state)
        except Stopped:
            if not saves:
                self.save(state)
            raise
        return state

    def save(self, state: TrainState) -> None:
        run = self.run
        run.watchdog.waits_for(f"the checkpoint of step {run.step} to be saved")
        check_state(state, step=run.step)
        run.checkpoints.save(run.step, state, self._position())

    def _position(self) -> dict[str, Any]:
        """Return what a checkpoint of this step holds beside the state."""
        meaning = meaning_of(self.run.setup.train.dataset.source)
        return {"clock": asdict(self.run.clock), "meaning": meaning.to_json(), "devices": self.run.devices}

    def validate_if_due(self, state: TrainState) -> None:
        """Validate at the end of an epoch that is due, unless the run did so before it was stopped there."""
        run, every = self.run, self.run.setup.config.train.evaluate_every_epochs
        ends_epoch = run.step > 0 and run.epoch.is_integer()
        if not (ends_epoch and every > 0 and (round(run.epoch) % every == 0 or run.step == run.setup.total_steps)):
            return
        if any(gather(self.writer is not None and self.writer.has_validation(run.step))):
            return
        self._wait_for(list(run.programs.evaluate.values()))
        means = run.evaluate(state, run.setup.validation, title="validation")
        run.watchdog.waits_for("the best state to be saved")
        is_best = run.best.consider(run.step, run.epoch, means, state, self._position())
        if self.writer is not None:
            self.writer.write(run.step, "validation", {**means, "train_seconds": run.clock.train_seconds})
        say(f"epoch {round(run.epoch):>3}  validation {describe_means(means)}" + "  the best so far" * is_best)


def report_programs(programs: CompiledPrograms, workdir: Path) -> None:
    """Print the table of all programs, and write it to compile.json."""
    print_programs(programs.all, seconds=programs.seconds)
    if is_first():
        write_json(workdir / "compile.json", [program.as_row() for program in programs.all])
