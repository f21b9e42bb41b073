"""The programs of a run: one job for each, its compilation, and the table of what they cost.

JAX compiles a function when it first meets a shape, which would stop a run for seconds without a message. Here the
plan gives all shapes before step 0. Each program is a job: it is lowered from shapes alone, compiled, and called as an
executable, which accepts no other shape. `compile_in_threads.py` has the jobs done.
"""

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import jax
from jax.sharding import NamedSharding, PartitionSpec

from fcn_jax.core.block import Block, abstract_block, rows_on_devices, value_type
from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.geometry import format_size
from fcn_jax.core.stages import Stage
from fcn_jax.core.step import TrainState, make_evaluate_step, make_moments_step, make_scoring_step, make_train_step
from fcn_jax.core.step_plan import Program, StepPlan
from fcn_jax.system.console import print_table
from fcn_jax.system.machine import mib_of, peak_mib
from fcn_jax.train.compile_monitor import TRIAL, compiling
from fcn_jax.train.micro_steps import in_turn, make_add_gradients, make_apply_gradients, make_no_gradients
from fcn_jax.train.placement import device_mib, with_sharding
from fcn_jax.train.setup import Setup, Split

WORK_OF_GRADIENT = 2.0
"""Work of compiling a block of a training program, by that of a block of evaluation; about 2 was measured."""
POSITIONS_OF_A_BLOCK = 1e9
"""So many positions count as one more block: the time goes with the number of blocks, and hardly with their size."""

AnyJob = TypeVar("AnyJob")
BlockKey = tuple[tuple[int, ...], int]
"""The canvas and the rows of a block."""


@dataclass(frozen=True, eq=False)
class Job:
    """One program to compile: only data, so that any thread can take it. A job is equal to itself alone."""

    name: str
    shapes: tuple[BlockKey, ...]
    """The canvas and the rows of every block."""
    step: Any
    """The function, wrapped by `jax.jit`."""
    arguments: tuple[Any, ...]
    """The shapes, types and shardings of its arguments, the blocks last."""
    work: float
    """Estimate of the work of compiling it, in any unit."""
    waiting_mib: float = 0.0
    """Memory of what is on a device while the program runs, and is no argument."""

    @property
    def blocks(self) -> str:
        """Rows and canvas of every block, as text for tables."""
        return "  ".join(f"{rows} × {format_size(shape)}" for shape, rows in self.shapes)


@dataclass(frozen=True, eq=False)
class Update:
    """The jobs that compute the updates of one program: one, or those of `in_turn` in the order in which they run."""

    name: str
    jobs: tuple[Job, ...]

    @property
    def blocks(self) -> str:
        return "  ".join(job.blocks for job in self.jobs if job.shapes)


@dataclass(frozen=True)
class Jobs:
    """The jobs of all programs of a run. Programs with the same blocks have one job; micro-steps share theirs."""

    train: list[list[Update]]
    moments: list[Job]
    evaluate: dict[BlockKey, Job]

    @property
    def all(self) -> list[Job]:
        """Every job once, in the order of tables."""
        trained = [job for stage in self.train for update in stage for job in update.jobs]
        return list(dict.fromkeys([*trained, *self.moments, *self.evaluate.values()]))


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
    """Floating-point operations of one call on one device, in 10⁹, as XLA counts them."""
    run: Callable[..., Any]
    parts: "tuple[CompiledProgram, ...]" = ()
    """The compiled programs that it calls, one after the other, if it computes an update in micro-steps."""

    def as_row(self) -> dict[str, Any]:
        return {
            "program": self.name,
            "blocks": self.blocks,
            "seconds": round(self.seconds, 3),
            "peak_mib": round(self.peak_mib, 2),
            "gflop": round(self.gflop, 4),
        }


COLUMNS: tuple[str, ...] = ("program", "seconds", "peak MiB", "GFLOP", "blocks: rows × canvas")


def cells(program: CompiledProgram) -> list[str]:
    """Return the row of a program in the table of `COLUMNS`."""
    p = program
    return [p.name, f"{p.seconds:.1f}", f"{p.peak_mib:,.0f}", f"{p.gflop:,.3f}", p.blocks]


def print_programs(
    programs: Sequence[CompiledProgram],
    *,
    seconds: float,
    place: str = "",
    more: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Print the table of programs.

    Args:
        seconds: seconds spent on compiling all programs.
        place: text that names the devices.
        more: further columns by title, with a text for each program.
    """
    columns = [*COLUMNS[:-1], *more, COLUMNS[-1]]
    rows = [[*row[:-1], *others, row[-1]] for row, *others in zip(map(cells, programs), *more.values(), strict=True)]
    print_table(f"{len(rows)} programs compiled in {seconds:.1f} s{place}", columns, rows)


def compile_job(job: Job, *, is_trial: bool = False) -> CompiledProgram:
    """Compile one program; an error of XLA names it."""
    began = time.perf_counter()
    try:
        with compiling(TRIAL if is_trial else job):
            executable = job.step.lower(*job.arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        raise jax.errors.JaxRuntimeError(f"{job.name}: {error}") from error
    return CompiledProgram(
        job.name,
        job.blocks,
        seconds=time.perf_counter() - began,
        peak_mib=peak_mib(executable) + job.waiting_mib,
        gflop=_flops(job, executable) / 1e9,
        run=executable,
    )


def _flops(job: Job, executable: Any) -> float:
    """Return the operations of one call on one device.

    XLA has no count for a program compiled for a GPU that is not here: then it counts the function before it is
    compiled, and the devices share its work.
    """
    try:
        cost = executable.cost_analysis()
    except jax.errors.JaxRuntimeError:
        cost = None
    if cost:
        return cost.get("flops", 0.0)  # XLA leaves out a number that is 0.
    plain = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), job.arguments)
    devices = max(leaf.sharding.num_devices for leaf in jax.tree.leaves(job.arguments))
    cost = jax.jit(job.step.__wrapped__).lower(*plain).cost_analysis() or {"flops": float("nan")}
    return cost.get("flops", 0.0) / devices


def joined(update: Update, parts: Sequence[CompiledProgram]) -> CompiledProgram:
    """Return the program that computes an update by its compiled parts, in the order of its jobs."""
    if len(parts) == 1:
        return parts[0]
    once = tuple({id(part): part for part in parts}.values())
    return CompiledProgram(
        update.name,
        update.blocks,
        seconds=sum(part.seconds for part in once),
        peak_mib=max(part.peak_mib for part in once),
        gflop=sum(part.gflop for part in parts),
        run=in_turn(parts[0].run, [part.run for part in parts[1:-1]], parts[-1].run),
        parts=tuple(parts),
    )


def compile_steps(
    step: Any,
    *arguments: Any,
    plan: BucketPlan,
    step_plan: StepPlan,
    channels: int,
    sharding: jax.sharding.Sharding | None = None,
) -> list[Callable[..., Any]]:
    """Compile a step for all programs of a step plan, before the first step is taken.

    Args:
        step: a function of `arguments` and then a tuple of blocks, wrapped by `jax.jit`.
        arguments: arrays, or their shapes and types.
        plan: the buckets that the step plan refers to.
        channels: channels of the examples.
        sharding: placement of the rows of blocks on devices, whose number divides them; None: JAX's default device.

    Returns:
        For every program, a compiled function of (*arguments, blocks) that takes these shapes only.
    """
    compiled = []
    for program in step_plan.programs:
        shapes = [(block.rows, plan.shapes[block.bucket]) for block in program.blocks]
        blocks = tuple(abstract_block(rows, shape, channels, sharding=sharding) for rows, shape in shapes)
        compiled.append(step.lower(*arguments, blocks).compile())
    return compiled


def jobs_of(setup: Setup, *, train: bool = True, splits: tuple[Split, ...]) -> Jobs:
    """Return the jobs of the evaluation programs of some splits and, if `train`, of training and precise BatchNorm."""
    stages = setup.train.stages if train else ()
    calibration = setup.calibration.stages if train and setup.config.train.precise_batch_norm else ()
    shared: dict[Hashable, Job] = {}
    return Jobs(
        [_jobs_of_stage(stage, partial(_update, setup, number, shared)) for number, stage in enumerate(stages)],
        [job for stage in calibration for job in _jobs_of_stage(stage, partial(_moments_job, setup, stage))],
        {shape: _evaluation_job(setup, shape) for split in splits for shape in _evaluation_shapes(setup, split)},
    )


def _jobs_of_stage(stage: Stage, job_of: Callable[[Program], AnyJob]) -> list[AnyJob]:
    """Return the job of every program of a stage; programs that differ only in their steps share one."""
    kinds = [_without_steps(program) for program in stage.schedule.step_plan.programs]
    jobs = {kind: job_of(kind) for kind in kinds}
    return [jobs[kind] for kind in kinds]


def _without_steps(program: Program) -> Program:
    return replace(program, steps=0)


def _update(setup: Setup, number: int, shared: dict[Hashable, Job], program: Program) -> Update:
    """Return the jobs of a program of stage `number`, from 0; `shared` collects those that other programs may share."""
    stages = setup.train.stages
    stage = stages[number]
    prefix = f"stage {number + 1}, " if len(stages) > 1 else ""
    name = f"train {prefix}{_program_name(setup, stage, program)}".rstrip(", ")
    mean_examples = stage.schedule.num_examples / stage.schedule.steps_per_epoch
    if any(other.micro_steps > 1 for other in stage.schedule.step_plan.programs):
        jobs = _jobs_in_micro_steps(setup, stage, program, mean_examples=mean_examples)
        return Update(name, tuple(shared.setdefault(key, job) for key, job in jobs))
    step = make_train_step(
        setup.graphdef,
        setup.optimizer,
        setup.config.train,
        labels=setup.config.data.labels,
        mean_examples=mean_examples,
    )
    jitted = jax.jit(step, donate_argnums=0, out_shardings=_as_now(setup))
    state, shapes = (_abstract(setup.state),), _shapes_of(setup, stage, program)
    return Update(name, (_job(setup, name, jitted, state, shapes, trains=True),))


def _jobs_in_micro_steps(
    setup: Setup, stage: Stage, program: Program, *, mean_examples: float
) -> list[tuple[Hashable, Job]]:
    """Return the jobs of `in_turn`, in the order in which they run; those of the same key compile the same."""
    everywhere, state = _everywhere(setup), _abstract(setup.state)
    no_gradients = make_no_gradients()
    added = _abstract(jax.eval_shape(no_gradients, state.params), everywhere)
    add_gradients = make_add_gradients(setup.graphdef, setup.config.train, labels=setup.config.data.labels)
    apply_gradients = make_apply_gradients(setup.optimizer, setup.config.train, mean_examples=mean_examples)
    begin = jax.jit(no_gradients, out_shardings=everywhere)
    micro_step = jax.jit(add_gradients, donate_argnums=2, out_shardings=everywhere)
    end = jax.jit(apply_gradients, donate_argnums=0, out_shardings=_as_now(setup))
    groups = [tuple(_shapes_of(setup, stage, replace(program, blocks=blocks))) for blocks in program.groups]
    held = device_mib((state.opt_state, state.average))
    held += mib_of([_abstract_blocks(setup, shapes, trains=True) for shapes in groups]) / setup.mesh.size
    micro_steps = {}
    for shapes in dict.fromkeys(groups):
        which = format_size(shapes[0][0]) if len(shapes) == 1 else _number_of(stage, program)
        name, arguments = f"train micro-step {which}".rstrip(), (state.params, state.stats, added, state.step)
        job = _job(setup, name, micro_step, arguments, shapes, trains=True)
        waiting = held - mib_of(_abstract_blocks(setup, shapes, trains=True)) / setup.mesh.size
        micro_steps[shapes] = replace(job, waiting_mib=waiting)
    return [
        ("zeros", Job("train zeros", (), begin, (state.params,), work=0.1)),
        *((shapes, micro_steps[shapes]) for shapes in groups),
        (("update", mean_examples), Job("train update", (), end, (state, added), work=0.5)),
    ]


def _moments_job(setup: Setup, stage: Stage, program: Program) -> Job:
    name = f"precise BatchNorm {_number_of(stage, program)}".rstrip()
    jitted = jax.jit(make_moments_step(setup.graphdef), out_shardings=_everywhere(setup))
    return _job(setup, name, jitted, _evaluated_state(setup), _shapes_of(setup, stage, program))


def _evaluation_job(setup: Setup, shape: BlockKey) -> Job:
    labels = setup.config.data.labels
    make_step = make_scoring_step if labels == "several" else make_evaluate_step
    jitted = jax.jit(make_step(setup.graphdef, labels), out_shardings=_everywhere(setup))
    return _job(setup, f"evaluate {format_size(shape[0])}", jitted, _evaluated_state(setup), [shape])


def _job(setup: Setup, name: str, step: Any, state: tuple, shapes: Sequence[BlockKey], *, trains: bool = False) -> Job:
    blocks, work_of_a_block = _abstract_blocks(setup, shapes, trains=trains), WORK_OF_GRADIENT if trains else 1.0
    work = sum(work_of_a_block * (1 + rows * math.prod(shape) / POSITIONS_OF_A_BLOCK) for shape, rows in shapes)
    return Job(name, tuple(shapes), step, (*state, blocks), work)


def _abstract_blocks(setup: Setup, shapes: Sequence[BlockKey], *, trains: bool) -> tuple[Block, ...]:
    """Return the shapes of blocks; in training alone, examples may have weights of their own."""
    sharding, data = NamedSharding(setup.mesh, PartitionSpec("rows")), setup.config.data
    kind = setup.train.dataset.row_kind
    kind = kind if trains else {**kind, "has_weights": False}
    return tuple(
        abstract_block(rows, shape, data.channels, value_type(len(shape), data.pixel_range), **kind, sharding=sharding)
        for shape, rows in shapes
    )


def _everywhere(setup: Setup) -> NamedSharding:
    return NamedSharding(setup.mesh, PartitionSpec())


def _as_now(setup: Setup) -> tuple[TrainState, NamedSharding]:
    """Return the shardings of what an update returns: the state where it was, its sums everywhere."""
    return jax.tree.map(lambda array: array.sharding, setup.state), _everywhere(setup)


def _program_name(setup: Setup, stage: Stage, program: Program) -> str:
    """Return a name that tells the programs of a stage apart: the canvas if bucketed, else `_number_of`."""
    if setup.config.schedule.kind == "bucketed":
        return format_size(stage.plan.shapes[program.blocks[0].bucket])
    return _number_of(stage, program)


def _number_of(stage: Stage, program: Program) -> str:
    """Return a name with the number of a program in its stage; empty if they are all the same."""
    kinds = [_without_steps(other) for other in stage.schedule.step_plan.programs]
    return f"program {kinds.index(_without_steps(program)) + 1}" if len(set(kinds)) > 1 else ""


def _evaluation_shapes(setup: Setup, split: Split) -> list[BlockKey]:
    """Return the (canvas, rows) of every block of every program of an evaluation split."""
    (stage,) = split.stages
    return [shape for program in stage.schedule.step_plan.programs for shape in _shapes_of(setup, stage, program)]


def _shapes_of(setup: Setup, stage: Stage, program: Program) -> list[BlockKey]:
    """Return the (canvas, rows) of every block of a program, as the loader puts them on the devices."""
    devices = setup.mesh.size
    return [(stage.plan.shapes[block.bucket], rows_on_devices(block.rows, devices)) for block in program.blocks]


def _evaluated_state(setup: Setup) -> tuple[Any, Any]:
    return _abstract(setup.state.params), _abstract(setup.state.stats)


def _abstract(tree: Any, sharding: NamedSharding | None = None) -> Any:
    """Return the shapes, types and shardings of arrays, without the arrays; `sharding` replaces their own."""
    return jax.tree.map(lambda array: with_sharding(array, sharding), tree)
