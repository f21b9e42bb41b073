"""Compilation of all programs before step 0, with progress and a table; compiling a step later is an error.

JAX compiles a function when it first meets a shape, which would stop a run for seconds without a message. Here the
plan gives all shapes. Programs are lowered from shapes alone, compiled ahead, and called as executables, which accept
no other shape. A monitor counts what XLA really compiled.
"""

import re
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from fcn_jax.core.block import Block, abstract_block, rows_on_devices
from fcn_jax.core.geometry import format_size
from fcn_jax.core.stages import Stage
from fcn_jax.core.step import make_evaluate_step, make_moments_step, make_train_step
from fcn_jax.core.step_plan import Program
from fcn_jax.system.console import Bar, print_table
from fcn_jax.system.machine import mib_of, peak_mib
from fcn_jax.train.micro_steps import in_turn, make_add_gradients, make_apply_gradients, no_gradients
from fcn_jax.train.setup import Setup, Split

IN_MICRO_STEPS = ("no_gradients", "add_gradients", "apply_gradients")
STEP_FUNCTIONS = ("train_step", *IN_MICRO_STEPS, "evaluate_step", "moments_step")


@dataclass(frozen=True)
class CompiledProgram:
    """One program that is ready to run, with what it costs to compile and to run."""

    name: str
    blocks: str
    """Rows and canvas of every block, as text for tables; the rows are those of all devices, with their filler."""
    seconds: float
    """Seconds spent on compiling it."""
    peak_mib: float
    """Memory that it needs on one device: arguments, results and temporaries, and what else waits there meanwhile."""
    gflop: float
    """Floating-point operations of one call, in 10⁹, as XLA counts them."""
    run: Callable[..., Any]
    parts: "tuple[CompiledProgram, ...]" = ()
    """The compiled programs that it calls, if it computes an update in micro-steps; others may share them."""

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

    `train` is indexed by stage and program number, `evaluate` by the canvas and rows of a block as it lies on the
    devices. `moments` holds the programs that re-estimate BatchNorm, by number.
    """

    def __init__(
        self,
        train: list[list[CompiledProgram]],
        moments: list[CompiledProgram],
        evaluate: dict[tuple[tuple[int, ...], int], CompiledProgram],
        seconds: float,
    ):
        self.train, self.moments, self.evaluate, self.seconds = train, moments, evaluate, seconds

    @property
    def all(self) -> list[CompiledProgram]:
        """Every program that XLA compiled, once."""
        trained = [part for stage in self.train for program in stage for part in program.parts or (program,)]
        return [*{id(program): program for program in trained}.values(), *self.moments, *self.evaluate.values()]


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
    began = time.perf_counter()
    jobs = list(dict.fromkeys(job for split in splits for job in _evaluation_shapes(setup, split)))
    stages = setup.train.stages if train else ()
    calibrates = train and setup.config.train.precise_batch_norm
    calibration = setup.calibration.stages[0].schedule.step_plan.programs if calibrates else ()
    wanted = [[_wanted(setup, n, program) for program in _programs_of(stage)] for n, stage in enumerate(stages)]
    in_training = {key: job for stage in wanted for update in stage for key, job in update.jobs.items()}
    compiled, moments, evaluated = {}, [], {}
    with Bar("compile", len(in_training) + len(calibration) + len(jobs)) as bar:
        for key, job in in_training.items():
            compiled[key] = job()
            bar.advance()
            bar.note(compiled[key].name)
        for program in calibration:
            moments.append(_compile_moments(setup, program))
            bar.advance()
            bar.note(moments[-1].name)
        for shape, rows in jobs:
            evaluated[shape, rows] = _compile_evaluate(setup, shape, rows)
            bar.advance()
            bar.note(evaluated[shape, rows].name)
    trained = [[update.assemble(compiled) for update in stage] for stage in wanted]
    return CompiledPrograms(trained, moments, evaluated, time.perf_counter() - began)


def _programs_of(stage: Stage) -> tuple[Program, ...]:
    return stage.schedule.step_plan.programs


def _program_name(setup: Setup, stage: Stage, program: Program) -> str:
    """Return a name that tells the programs of a stage apart: the canvas if bucketed, else `_number_of`."""
    if setup.config.schedule.kind == "bucketed":
        return format_size(stage.plan.shapes[program.blocks[0].bucket])
    return _number_of(stage, program)


def _number_of(stage: Stage, program: Program) -> str:
    """Return a name with the number of a program in its stage; empty if the stage has only one."""
    programs = stage.schedule.step_plan.programs
    return f"program {programs.index(program) + 1}" if len(programs) > 1 else ""


def _evaluation_shapes(setup: Setup, split: Split) -> list[tuple[tuple[int, ...], int]]:
    """Return the (canvas, rows) of every block of every program of an evaluation split."""
    (stage,) = split.stages
    return [shape for program in stage.schedule.step_plan.programs for shape in _shapes_of(setup, stage, program)]


@dataclass(frozen=True)
class _Update:
    """What has to be compiled for the updates of one program, and how it becomes the program that the loop calls."""

    name: str
    jobs: dict[Hashable, Callable[[], CompiledProgram]]
    """The functions that compile it. Those of the same key, in other programs and stages, compile the same."""
    order: Sequence[Hashable]
    """The keys in the order in which the compiled programs run; one, or those of `in_turn`."""

    def assemble(self, compiled: dict[Hashable, CompiledProgram]) -> CompiledProgram:
        parts = [compiled[key] for key in self.order]
        if len(parts) == 1:
            return parts[0]
        return CompiledProgram(
            self.name,
            "  ".join(part.blocks for part in parts if part.blocks),
            seconds=sum(compiled[key].seconds for key in self.jobs),
            peak_mib=max(part.peak_mib for part in parts),
            gflop=sum(part.gflop for part in parts),
            run=in_turn(parts[0].run, [part.run for part in parts[1:-1]], parts[-1].run),
            parts=tuple(compiled[key] for key in self.jobs),
        )


def _wanted(setup: Setup, number: int, program: Program) -> _Update:
    """Return what has to be compiled for the updates of a program of stage `number`, from 0."""
    stage = setup.train.stages[number]
    prefix = f"stage {number + 1}, " if len(setup.train.stages) > 1 else ""
    name = f"train {prefix}{_program_name(setup, stage, program)}".rstrip(", ")
    mean_examples = stage.schedule.num_examples / stage.schedule.steps_per_epoch
    everywhere, config = NamedSharding(setup.mesh, PartitionSpec()), setup.config.train
    if all(other.micro_steps == 1 for other in _programs_of(stage)):
        step = make_train_step(setup.graphdef, setup.optimizer, config, mean_examples=mean_examples)
        jitted = jax.jit(step, donate_argnums=0, out_shardings=everywhere)
        key = (number, _programs_of(stage).index(program))
        job = partial(_compile, name, jitted, (_abstract(setup.state),), _shapes_of(setup, stage, program), setup)
        return _Update(name, {key: job}, [key])
    return _in_micro_steps(setup, stage, program, name=name, mean_examples=mean_examples)


def _in_micro_steps(setup: Setup, stage: Stage, program: Program, *, name: str, mean_examples: float) -> _Update:
    """Return what has to be compiled for updates in micro-steps."""
    everywhere, config, state = NamedSharding(setup.mesh, PartitionSpec()), setup.config.train, _abstract(setup.state)
    added = _abstract(jax.eval_shape(no_gradients, state.params), everywhere)
    add_gradients = make_add_gradients(setup.graphdef, label_smoothing=config.label_smoothing)
    apply_gradients = make_apply_gradients(setup.optimizer, config, mean_examples=mean_examples)
    begin = jax.jit(no_gradients, out_shardings=everywhere)
    micro_step = jax.jit(add_gradients, donate_argnums=2, out_shardings=everywhere)
    end = jax.jit(apply_gradients, donate_argnums=0, out_shardings=everywhere)
    groups = [tuple(_shapes_of(setup, stage, Program(group, program.steps))) for group in program.groups]
    blocks = _blocks(setup, [shape for shapes in groups for shape in shapes])
    first, last = "zeros", ("update", mean_examples)
    jobs: dict[Hashable, Callable[[], CompiledProgram]] = {}
    jobs[first] = partial(_compile, "train zeros", begin, (state.params,), None, setup)
    for shapes in groups:
        which = format_size(shapes[0][0]) if len(shapes) == 1 else _number_of(stage, program)
        waiting = mib_of((state.opt_state, state.average))
        waiting += (mib_of(blocks) - mib_of(_blocks(setup, shapes))) / setup.mesh.size
        arguments = (state.params, state.stats, added)
        micro = f"train micro-step {which}".rstrip()
        jobs[shapes] = partial(_compile, micro, micro_step, arguments, shapes, setup, waiting_mib=waiting)
    jobs[last] = partial(_compile, "train update", end, (state, added), None, setup)
    return _Update(name, jobs, [first, *groups, last])


def _compile_moments(setup: Setup, program: Program) -> CompiledProgram:
    (stage,) = setup.calibration.stages
    jitted = jax.jit(make_moments_step(setup.graphdef), out_shardings=NamedSharding(setup.mesh, PartitionSpec()))
    state = (_abstract(setup.state.params), _abstract(setup.state.stats))
    name = f"precise BatchNorm {_number_of(stage, program)}".rstrip()
    return _compile(name, jitted, state, _shapes_of(setup, stage, program), setup)


def _shapes_of(setup: Setup, stage: Stage, program: Program) -> list[tuple[tuple[int, ...], int]]:
    """Return the (canvas, rows) of every block of a program, as the loader puts them on the devices."""
    devices = setup.mesh.size
    return [(stage.plan.shapes[block.bucket], rows_on_devices(block.rows, devices)) for block in program.blocks]


def _compile_evaluate(setup: Setup, shape: tuple[int, ...], rows: int) -> CompiledProgram:
    jitted = jax.jit(make_evaluate_step(setup.graphdef), out_shardings=NamedSharding(setup.mesh, PartitionSpec()))
    state = (_abstract(setup.state.params), _abstract(setup.state.stats))
    return _compile(f"evaluate {format_size(shape)}", jitted, state, [(shape, rows)], setup)


def _compile(
    name: str,
    jitted,
    state: tuple,
    shapes: Sequence[tuple[tuple[int, ...], int]] | None,
    setup: Setup,
    *,
    waiting_mib: float = 0.0,
) -> CompiledProgram:
    """Compile a function of `state` and of a tuple of blocks of some shapes; None: it takes no blocks.

    Args:
        waiting_mib: memory of what is on the device meanwhile and no argument.
    """
    began = time.perf_counter()
    arguments = state if shapes is None else (*state, _blocks(setup, shapes))
    try:
        executable = jitted.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        raise jax.errors.JaxRuntimeError(f"{name}: {error}") from error
    cost = executable.cost_analysis() or {"flops": float("nan")}
    return CompiledProgram(
        name,
        "  ".join(f"{rows} × {format_size(shape)}" for shape, rows in shapes or ()),
        seconds=time.perf_counter() - began,
        peak_mib=peak_mib(executable) + waiting_mib,
        gflop=cost.get("flops", 0.0) / 1e9,  # XLA leaves out a number that is 0.
        run=executable,
    )


def _blocks(setup: Setup, shapes: Sequence[tuple[tuple[int, ...], int]]) -> tuple[Block, ...]:
    """Return blocks of some (canvas, rows) without their values."""
    sharding, channels = NamedSharding(setup.mesh, PartitionSpec("rows")), setup.config.data.channels
    return tuple(abstract_block(rows, shape, channels, sharding=sharding) for shape, rows in shapes)


def _abstract(tree, sharding: NamedSharding | None = None):
    """Return the shapes, types and shardings of arrays, without the arrays; `sharding` replaces their own."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), tree)
