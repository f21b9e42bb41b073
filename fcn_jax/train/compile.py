"""Compilation of all programs before step 0, with progress and a table; compiling a step later is an error.

JAX compiles a function when it first meets a shape, which would stop a run for seconds without a message. Here the
plan gives all shapes. Programs are lowered from shapes alone, compiled ahead, and called as executables, which accept
no other shape. A monitor counts what XLA really compiled.
"""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from fcn_jax.core.block import abstract_block
from fcn_jax.core.geometry import format_size
from fcn_jax.core.stages import Stage
from fcn_jax.core.step import make_evaluate_step, make_moments_step, make_train_step
from fcn_jax.core.step_plan import Program
from fcn_jax.system.console import Bar, print_table
from fcn_jax.system.machine import peak_mib
from fcn_jax.train.setup import Setup, Split

STEP_FUNCTIONS = ("train_step", "evaluate_step", "moments_step")

BlockKey = tuple[tuple[int, ...], int]
"""The canvas and the rows of a block."""


@dataclass(frozen=True)
class Job:
    """One program to compile: only data, so that any thread can take it."""

    name: str
    shapes: tuple[BlockKey, ...]
    """The canvas and the rows of every block."""
    step: Any
    """The function, wrapped by `jax.jit`."""
    arguments: tuple[Any, ...]
    """The shapes, types and shardings of its arguments, the blocks last."""


@dataclass(frozen=True)
class Jobs:
    """The programs of a run that are to be compiled, in the order of `CompiledPrograms`."""

    train: list[list[Job]]
    moments: list[Job]
    evaluate: dict[BlockKey, Job]

    @property
    def all(self) -> list[Job]:
        return [*(job for stage in self.train for job in stage), *self.moments, *self.evaluate.values()]


@dataclass(frozen=True)
class CompiledProgram:
    """One program that is ready to run, with what it costs to compile and to run."""

    name: str
    blocks: str
    """Rows and canvas of every block, as text for tables."""
    seconds: float
    """Seconds spent on compiling it."""
    peak_mib: float
    """Memory that it needs on one device: arguments, results and temporaries."""
    gflop: float
    """Floating-point operations of one call, in 10⁹, as XLA counts them."""
    run: Callable[..., Any]

    def as_row(self) -> dict[str, Any]:
        return {
            "program": self.name,
            "blocks": self.blocks,
            "seconds": round(self.seconds, 3),
            "peak_mib": round(self.peak_mib, 2),
            "gflop": round(self.gflop, 4),
        }


class CompiledPrograms:
    """All programs of a run.

    `train` is indexed by stage and program number, `evaluate` by bucket shape and rows. `moments` holds the programs
    that re-estimate BatchNorm, by number.
    """

    def __init__(
        self,
        train: list[list[CompiledProgram]],
        moments: list[CompiledProgram],
        evaluate: dict[BlockKey, CompiledProgram],
        seconds: float,
    ):
        self.train, self.moments, self.evaluate, self.seconds = train, moments, evaluate, seconds

    @property
    def all(self) -> list[CompiledProgram]:
        return [*(program for stage in self.train for program in stage), *self.moments, *self.evaluate.values()]


def print_programs(
    programs: Sequence[CompiledProgram], *, seconds: float, place: str = "", at_peak: Sequence[float] | None = None
) -> None:
    """Print the table of programs.

    Args:
        seconds: seconds spent on compiling all programs.
        place: text that names the devices.
        at_peak: lowest possible seconds of one call of each program.
    """
    columns = ["program", "seconds", "peak MiB", "GFLOP", "blocks: rows × canvas"]
    rows = [[p.name, f"{p.seconds:.1f}", f"{p.peak_mib:,.0f}", f"{p.gflop:,.3f}", p.blocks] for p in programs]
    if at_peak is not None:
        columns.insert(-1, "ms at peak")
        for row, least in zip(rows, at_peak, strict=True):
            row.insert(-1, f"{1e3 * least:,.3f}")
    print_table(f"{len(rows)} programs compiled in {seconds:.1f} s{place}", columns, rows)


class CompileMonitor:
    """A listener that counts the compilations of steps that XLA reports; once it is sealed, one more is an error."""

    def __init__(self):
        self.count, self._sealed = 0, False

    def seal(self, *, expected: int) -> None:
        """Forbid compilations from now on; check that there were `expected` so far."""
        assert self.count == expected, f"{self.count} compilations of {expected} programs"
        self._sealed = True

    def __call__(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        name = str(kwargs.get("fun_name", ""))
        if event != "/jax/core/compile/backend_compile_duration" or not _is_step(name):
            return
        self.count += 1
        assert not self._sealed, f"{name} was compiled after step 0; all programs are compiled before it"


def _is_step(name: str) -> bool:
    return re.sub(r"^jit\((.*)\)$", r"\1", name) in STEP_FUNCTIONS


@contextmanager
def monitoring_compilation():
    """Yield a `CompileMonitor` that listens until the end of the block."""
    monitor = CompileMonitor()
    jax.monitoring.register_event_duration_secs_listener(monitor)
    try:
        yield monitor
    finally:
        jax.monitoring.unregister_event_duration_listener(monitor)


def compile_programs(setup: Setup, *, train: bool = True, splits: tuple[Split, ...]) -> CompiledPrograms:
    """Compile the evaluation programs of some splits and, if `train`, those of training and of precise BatchNorm."""
    began, jobs = time.perf_counter(), jobs_of(setup, train=train, splits=splits)
    with Bar("compile", len(jobs.all)) as bar:

        def compiled(job: Job) -> CompiledProgram:
            program = compile_job(job)
            bar.advance()
            bar.note(job.name)
            return program

        return CompiledPrograms(
            [[compiled(job) for job in stage] for stage in jobs.train],
            [compiled(job) for job in jobs.moments],
            {key: compiled(job) for key, job in jobs.evaluate.items()},
            time.perf_counter() - began,
        )


def compile_job(job: Job) -> CompiledProgram:
    """Compile one program; an error of XLA names it."""
    began = time.perf_counter()
    try:
        executable = job.step.lower(*job.arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        raise jax.errors.JaxRuntimeError(f"{job.name}: {error}") from error
    cost = executable.cost_analysis() or {}
    return CompiledProgram(
        job.name,
        "  ".join(f"{rows} × {format_size(shape)}" for shape, rows in job.shapes),
        seconds=time.perf_counter() - began,
        peak_mib=peak_mib(executable),
        gflop=cost.get("flops", float("nan")) / 1e9,
        run=executable,
    )


def jobs_of(setup: Setup, *, train: bool = True, splits: tuple[Split, ...]) -> Jobs:
    """Return the jobs of the evaluation programs of some splits and, if `train`, of training and precise BatchNorm."""
    stages = setup.train.stages if train else ()
    calibration = setup.calibration.stages if train and setup.config.train.precise_batch_norm else ()
    return Jobs(
        [
            [_train_job(setup, number, program) for program in stage.schedule.step_plan.programs]
            for number, stage in enumerate(stages)
        ],
        [_moments_job(setup, stage, program) for stage in calibration for program in stage.schedule.step_plan.programs],
        {shape: _evaluation_job(setup, shape) for split in splits for shape in _evaluation_shapes(split)},
    )


def _train_job(setup: Setup, number: int, program: Program) -> Job:
    stages = setup.train.stages
    stage = stages[number]
    prefix = f"stage {number + 1}, " if len(stages) > 1 else ""
    name = f"train {prefix}{_program_name(setup, stage, program)}".rstrip(", ")
    mean_examples = stage.schedule.num_examples / stage.schedule.steps_per_epoch
    step = make_train_step(setup.graphdef, setup.optimizer, setup.config.train, mean_examples=mean_examples)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=_everywhere(setup))
    return _job(setup, name, jitted, (_abstract(setup.state),), _shapes_of(stage, program))


def _moments_job(setup: Setup, stage: Stage, program: Program) -> Job:
    name = f"precise BatchNorm {_number_of(stage, program)}".rstrip()
    jitted = jax.jit(make_moments_step(setup.graphdef), out_shardings=_everywhere(setup))
    return _job(setup, name, jitted, _evaluated_state(setup), _shapes_of(stage, program))


def _evaluation_job(setup: Setup, shape: BlockKey) -> Job:
    jitted = jax.jit(make_evaluate_step(setup.graphdef), out_shardings=_everywhere(setup))
    return _job(setup, f"evaluate {format_size(shape[0])}", jitted, _evaluated_state(setup), [shape])


def _job(setup: Setup, name: str, step: Any, state: tuple, shapes: list[BlockKey]) -> Job:
    sharding, channels = NamedSharding(setup.mesh, PartitionSpec("rows")), setup.config.data.channels
    blocks = tuple(abstract_block(rows, shape, channels, sharding=sharding) for shape, rows in shapes)
    return Job(name, tuple(shapes), step, (*state, blocks))


def _everywhere(setup: Setup) -> NamedSharding:
    return NamedSharding(setup.mesh, PartitionSpec())


def _program_name(setup: Setup, stage: Stage, program: Program) -> str:
    """Return a name that tells the programs of a stage apart: the canvas if bucketed, else `_number_of`."""
    if setup.config.schedule.kind == "bucketed":
        return format_size(stage.plan.shapes[program.blocks[0].bucket])
    return _number_of(stage, program)


def _number_of(stage: Stage, program: Program) -> str:
    """Return a name with the number of a program in its stage; empty if the stage has only one."""
    programs = stage.schedule.step_plan.programs
    return f"program {programs.index(program) + 1}" if len(programs) > 1 else ""


def _evaluation_shapes(split: Split) -> list[BlockKey]:
    """Return the (canvas, rows) of every block of every program of an evaluation split."""
    (stage,) = split.stages
    return [shape for program in stage.schedule.step_plan.programs for shape in _shapes_of(stage, program)]


def _shapes_of(stage: Stage, program: Program) -> list[BlockKey]:
    """Return the (canvas, rows) of every block of a program."""
    return [(stage.plan.shapes[block.bucket], block.rows) for block in program.blocks]


def _evaluated_state(setup: Setup) -> tuple[Any, Any]:
    return _abstract(setup.state.params), _abstract(setup.state.stats)


def _abstract(tree):
    """Return the shapes, types and shardings of arrays, without the arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
