"""The programs of a run are compiled in threads: the run waits for a program only when it needs it.

The longest jobs begin first, so that no thread is left with a long one at the end. Where a run goes on beside the
compilation, the program of its next step comes before all others.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import jax

from fcn_jax.system.console import GrowingTable, say
from fcn_jax.system.machine import usable_cores
from fcn_jax.system.threads import JobsInThreads
from fcn_jax.train.compile import COLUMNS, CompiledProgram, Job, Jobs, Update, cells, compile_job, jobs_of, joined
from fcn_jax.train.setup import Setup, Split


class PendingProgram:
    """A program that may still be compiled; what needs the program itself waits for it.

    Args:
        results: the compiled programs of its jobs, in their order.
    """

    def __init__(self, update: Update, results: Sequence[Future[CompiledProgram]]):
        self.update, self._results = update, results

    @property
    def name(self) -> str:
        return self.update.name

    @property
    def blocks(self) -> str:
        return self.update.blocks

    def wait(self, seconds: float) -> bool:
        """Wait for at most so many seconds; return whether the compilation has ended, well or with an error."""
        return not wait(self._results, timeout=seconds).not_done

    def compiled(self) -> CompiledProgram:
        """Return the program once it is compiled; raise the error of its compilation."""
        return self._joined

    @cached_property
    def _joined(self) -> CompiledProgram:
        return joined(self.update, [result.result() for result in self._results])

    @property
    def run(self) -> Callable[..., Any]:
        return self.compiled().run


MOST_THREADS = 16
"""Most threads that compile; each needs a few GiB for a large program."""


def num_compile_threads(cores: int, *, platform: str) -> int:
    """Return how many threads compile.

    XLA already uses several cores for one program, and lowering holds Python's lock. On two cores two threads took as
    long as one, or longer. On a GPU threads wait for each other's timing of kernels (benchmarks/compilation.md).
    """
    return 1 if platform == "gpu" else max(1, min(MOST_THREADS, cores // 2))


class CompiledPrograms:
    """All programs of a run, which threads compile; whatever needs one waits for it.

    `train` is indexed by stage and program number, `evaluate` by bucket shape and rows. `moments` holds the programs
    that re-estimate BatchNorm, by number.

    Args:
        order: the jobs in the order in which their compilation begins.
    """

    def __init__(self, jobs: Jobs, *, order: Sequence[Job], num_threads: int | None = None, is_trial: bool = False):
        self.jobs = jobs.all
        self._began = self._last = time.perf_counter()
        self._table: GrowingTable | None = None
        self._compiled: list[tuple[Job, CompiledProgram]] = []
        self._changes = threading.Lock()
        self._threads = JobsInThreads(
            _with_settings_of_this_thread(partial(compile_job, is_trial=is_trial)),
            order,
            num_threads=num_threads or num_compile_threads(usable_cores(), platform=jax.default_backend()),
            on_done=self._add,
        )
        results = dict(zip(order, self._threads.results, strict=True))
        programs = {job: PendingProgram(Update(job.name, (job,)), [result]) for job, result in results.items()}
        updates = {update for stage in jobs.train for update in stage}
        trained = {update: PendingProgram(update, [results[job] for job in update.jobs]) for update in updates}
        self.pending = [programs[job] for job in self.jobs]
        """Every program once, in the order of tables."""
        self.train = [[trained[update] for update in stage] for stage in jobs.train]
        self.moments = [programs[job] for job in jobs.moments]
        self.evaluate = {key: programs[job] for key, job in jobs.evaluate.items()}

    def _add(self, job: Job, program: CompiledProgram) -> None:
        with self._changes:
            self._last = time.perf_counter()
            self._compiled.append((job, program))
            if self._table is not None:
                self._table.add(cells(program), work=job.work)

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the table as it fills, and the time remaining, until the end of the block."""
        work = sum(job.work for job in self.jobs)
        with GrowingTable("compile", COLUMNS, total=len(self.jobs), work=work) as table:
            with self._changes:
                for job, program in self._compiled:
                    table.add(cells(program), work=job.work)
                self._table = table
            try:
                yield
            finally:
                with self._changes:
                    self._table = None

    @property
    def are_over(self) -> bool:
        """True once every program is compiled, or one has failed."""
        return self._threads.are_over

    def wait(self) -> None:
        """Wait until every program is compiled; raise the first error at once."""
        self._threads.wait()

    @property
    def all(self) -> list[CompiledProgram]:
        """All programs, in the order of tables, once every one is compiled; raise the first error at once."""
        self.wait()
        return [program.compiled() for program in self.pending]

    @property
    def seconds(self) -> float:
        """Seconds from the beginning of the compilation until the last program so far was ready."""
        return self._last - self._began

    def close(self) -> None:
        """Let no other compilation begin."""
        going_on = self._threads.cancel()
        if going_on:
            say(f"the process cannot end before {going_on} of its programs: nothing interrupts their compilation")


def compile_programs(
    setup: Setup, *, train: bool = True, splits: tuple[Split, ...], is_trial: bool = False
) -> CompiledPrograms:
    """Compile the evaluation programs of some splits and, if `train`, those of training and of precise BatchNorm."""
    return compile_jobs(jobs_of(setup, train=train, splits=splits), is_trial=is_trial)


def compile_jobs(jobs: Jobs, *, is_trial: bool = False) -> CompiledPrograms:
    """Compile the programs of all jobs, the longest first.

    Args:
        is_trial: nothing will run them; they are compiled only to see whether they fit.
    """
    programs = CompiledPrograms(jobs, order=sorted(jobs.all, key=lambda job: -job.work), is_trial=is_trial)
    try:
        with programs.showing():
            programs.wait()
    finally:
        programs.close()
    return programs


def begin_compilation(setup: Setup, *, splits: tuple[Split, ...], step: int) -> CompiledPrograms:
    """Begin to compile all programs of a run in threads, and return at once; see `in_order_of_need`."""
    jobs = jobs_of(setup, splits=splits)
    return CompiledPrograms(jobs, order=in_order_of_need(setup, jobs, step=step))


def compiles_beside(setup: Setup) -> bool:
    """Return whether a run may begin while other programs are being compiled: where compiling leaves the devices alone.

    On a CPU both share the cores: on two of them a run was not clearly shorter for it, and its training took about a
    third longer. On a GPU the compiler times kernels on the device itself (benchmarks/compilation.md).
    """
    return setup.mesh.devices.flat[0].platform not in ("cpu", "gpu")


def in_order_of_need(setup: Setup, jobs: Jobs, *, step: int) -> list[Job]:
    """Return the jobs in the order in which a run that goes on after `step` needs them.

    First comes the program of the next step, then the others of its stage, which are soon needed too. The programs of
    evaluation come before those of stages that begin after the first validation. Among those that are needed at the
    same time, the longest to compile come first.
    """
    stages, every = setup.train.stages, setup.config.train.evaluate_every_epochs
    position = stages.position(step)
    validated = min((position.epoch // every + 1) * every, stages.num_epochs) if every else stages.num_epochs
    needed = dict.fromkeys(jobs.all, stages.total_steps)
    needed |= dict.fromkeys(jobs.evaluate.values(), stages.steps_of(float(validated)))
    for number, stage in enumerate(stages):
        if number >= position.stage:
            begins = max(step, stages.steps_of(float(stage.epochs.start)))
            needed |= {job: min(begins, needed[job]) for update in jobs.train[number] for job in update.jobs}
    if step < stages.total_steps:
        needed |= dict.fromkeys(jobs.train[position.stage][program_of(setup, step)].jobs, -1)
    return sorted(jobs.all, key=lambda job: (needed[job], -job.work))


def program_of(setup: Setup, step: int) -> int:
    """Return the number of the program of a step in its stage."""
    stage, epoch, step_of_epoch = setup.train.stages.position(step)
    return setup.train.stages[stage].schedule.step(epoch, step_of_epoch)[0]


def _with_settings_of_this_thread(work: Callable[[Job], CompiledProgram]) -> Callable[[Job], CompiledProgram]:
    """Return a function that another thread calls; JAX keeps some settings for each thread by itself."""
    settings = jax.config
    x64, precision = settings.jax_enable_x64, settings.jax_default_matmul_precision  # pyright: ignore

    def work_as_here(job: Job) -> CompiledProgram:
        with jax.enable_x64(x64), jax.default_matmul_precision(precision):
            return work(job)

    return work_as_here
