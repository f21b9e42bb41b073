"""Checks that the programs of a config fit the memory of a target, and the search for the largest step that fits.

One config field decides how large the training programs are, another one decides it for evaluation. If a step is too
large, bisection finds the largest step that fits. It compiles only the program that computes most, since the others
then fit too. A run that does not fit its devices ends with an error that names the program, its memory and that step.
Where the norm of the net allows it, the error also says in how many micro-steps the step that was asked for fits.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import numpy as np

from fcn_jax.config import MOST_PARTS, Config, UserError
from fcn_jax.config_fields import get_field, overridden
from fcn_jax.core.schedule import Schedule
from fcn_jax.core.stages import Stage, Stages
from fcn_jax.core.step_plan import Program, StepPlan
from fcn_jax.system.console import say
from fcn_jax.system.machine import arguments_mib, device_memory_mib, peak_mib
from fcn_jax.train.compile import CompiledProgram, jobs_of
from fcn_jax.train.compile_in_threads import CompiledPrograms, compile_jobs, compile_programs
from fcn_jax.train.setup import Setup, Split, prepare


@runtime_checkable
class Memory(Protocol):
    """A named amount of device memory that programs have to fit."""

    @property
    def name(self) -> str: ...

    @property
    def memory_mib(self) -> float: ...


TOLERANCE = 0.03
"""Relative tolerance of the largest step; with it, about six compilations are enough, of minutes each at worst."""


@dataclass(frozen=True)
class Part:
    """The programs of training or of evaluation, and the config field that decides how large they are."""

    field: str
    unit: int
    """The smallest change of the field that changes a step: rows are given out in units of `rows_multiple_of`."""
    compile: Callable[[Setup], list[CompiledProgram]]
    compile_largest: Callable[[Setup], list[CompiledProgram]]
    accumulates: bool = False
    """True if its steps may be computed in micro-steps."""


def parts_of(setup: Setup) -> tuple[Part, Part]:
    """Return the two parts of a setup: training and evaluation."""
    schedule = setup.config.schedule
    field, unit = "schedule.examples_per_step", schedule.rows_multiple_of
    if schedule.positions_per_step:
        field, unit = "schedule.positions_per_step", unit * max(_largest_canvas(s) for s in setup.train.stages)
    return (
        Part(field, unit, _training, partial(_training, of=_largest_alone), accumulates=may_accumulate(setup.config)),
        Part(
            "evaluate.examples_per_step",
            schedule.rows_multiple_of,
            _evaluation,
            partial(_evaluation, of=_largest_alone),
        ),
    )


def compile_fitting(
    part: Part, setup: Setup, target: Memory, prepare: Callable[[Config], Setup]
) -> list[CompiledProgram]:
    """Compile and return the programs of a part.

    Args:
        prepare: function that returns the setup of a config; it is called with configs of smaller steps.

    Raises:
        UserError: the programs do not fit; the message says which step does.
    """
    programs, reason = try_compiling(lambda: part.compile(setup), target)
    if not reason:
        return programs
    asked = get_field(setup.config, part.field)
    say(f"config.{part.field}={asked} does not fit {target.name} ({reason}): looking for the largest that does")

    def fits(number: int, field: str = part.field) -> bool:
        smaller = prepare(overridden(setup.config, {field: number}))
        _, reason = try_compiling(lambda: part.compile_largest(smaller), target)
        say(f"{field}={number}: {reason or 'fits'}")
        return not reason

    largest, ways = largest_fitting(asked, part.unit, fits), []
    if largest:
        ways.append(f"set --config.{part.field}={largest}, the largest that fits (to within {TOLERANCE:.0%})")
    if part.accumulates:
        least = setup.config.train.accumulate * -(-asked // max(largest, part.unit))
        if parts := parts_that_fit(least, _most_parts(setup), partial(fits, field="train.accumulate")):
            ways.append(f"set --config.train.accumulate={parts}, which computes a step in parts that fit")
    none = (
        f"nor does {min(asked, part.unit)}, the smallest: take a smaller config.data.resize or model, or more devices"
    )
    raise UserError(
        f"config.{part.field} is {asked}, but a step of that does not fit {target.name} ({reason}): "
        f"{'; or '.join(ways) or none}"
    )


def may_accumulate(config: Config) -> bool:
    """Return whether a step may be computed in micro-steps: BatchNorm forbids it unless the config allows it."""
    return config.model.norm != "batch" or config.train.statistics == "micro_step"


def parts_that_fit(least: int, most: int, fits: Callable[[int], bool]) -> int:
    """Return the first of `least`, twice that, four times that and so on, up to `most`, that fits; 0 if none does."""
    while least <= most:
        if fits(least):
            return least
        least *= 2
    return 0


def _most_parts(setup: Setup) -> int:
    """Return the largest `train.accumulate` of use: no step has more parts than rows."""
    programs = [program for stage in setup.train.stages for program in stage.schedule.step_plan.programs]
    return min(MOST_PARTS, max(program.rows for program in programs))


def largest_fitting(asked: int, unit: int, fits: Callable[[int], bool]) -> int:
    """Return the largest multiple of `unit` below `asked` that fits, to within `TOLERANCE`; 0 if none fits."""
    low, high = 0, -(-asked // unit)
    while high - low > max(1, TOLERANCE * high):
        middle = (low + high) // 2
        if fits(middle * unit):
            low = middle
        else:
            high = middle
    return low * unit


def try_compiling(compile: Callable[[], list[CompiledProgram]], target: Memory) -> tuple[list[CompiledProgram], str]:
    """Return the programs and the reason why they do not fit a target; the reason is empty if they fit."""
    try:
        programs = compile()
    except jax.errors.JaxRuntimeError as error:
        return [], exhaustion(error)
    largest = max(programs, key=lambda program: program.peak_mib)
    if largest.peak_mib <= target.memory_mib:
        return programs, ""
    return programs, f"{largest.name} needs {largest.peak_mib:,.0f} MiB of {target.memory_mib:,.0f} MiB a device"


def exhaustion(error: Exception) -> str:
    """Return XLA's message about exhausted memory; raise the error again if it is about anything else."""
    program, exhausted, message = str(error).partition("RESOURCE_EXHAUSTED: ")
    if not exhausted:
        raise error
    return program + message.split("\n")[0].rstrip(". ")


def _training(setup: Setup, of: Callable[[Split], Split] = lambda split: split) -> list[CompiledProgram]:
    """Compile the programs that update the parameters; `of` may leave some out."""
    config = overridden(setup.config, {"train.precise_batch_norm": False})
    return compile_programs(replace(setup, config=config, train=of(setup.train)), splits=(), is_trial=True).all


def _evaluation(setup: Setup, of: Callable[[Split], Split] = lambda split: split) -> list[CompiledProgram]:
    """Compile the programs that evaluate or re-estimate BatchNorm; `of` may leave out some of those that evaluate."""
    splits = tuple(of(split) for split in (setup.validation, setup.test))
    return compile_jobs(replace(jobs_of(setup, splits=splits), train=[]), is_trial=True).all


def _largest_alone(split: Split) -> Split:
    """Return the split with only the program that computes most positions at once."""
    stage, program = max(
        ((stage, alone) for stage in split.stages for alone in _parts_alone(stage)), key=lambda pair: _positions(*pair)
    )
    schedule = Schedule(
        stage.plan,
        StepPlan((program,), stage.schedule.step_plan.num_buckets),
        lambda _: np.zeros(0, np.int64),
        num_examples=stage.schedule.num_examples,
        seed=0,
    )
    return Split(split.dataset, Stages((replace(stage, schedule=schedule),)))


def _parts_alone(stage: Stage) -> Iterator[Program]:
    """Yield the programs of a stage; in place of one in micro-steps, one for each of them that repeats it alone."""
    programs = stage.schedule.step_plan.programs
    if all(program.micro_steps == 1 for program in programs):
        yield from programs
        return
    for program in programs:
        number = max(2, program.micro_steps)
        yield from (Program(group * number, program.steps, number) for group in set(program.groups))


def _positions(stage: Stage, program: Program) -> int:
    """Return the number of positions that a program computes at once, padding included."""
    return sum(int(stage.plan.areas[block.bucket]) * block.rows for block in program.groups[0])


def _largest_canvas(stage: Stage) -> int:
    """Return the number of positions of the largest bucket that any program holds."""
    programs = stage.schedule.step_plan.programs
    return max(int(stage.plan.areas[block.bucket]) for program in programs for block in program.blocks)


@dataclass(frozen=True)
class DeviceMemory:
    """The memory of one device that programs may use."""

    name: str
    memory_mib: float


def compile_all(setup: Setup) -> CompiledPrograms:
    """Compile and return all programs of a run.

    Raises:
        UserError: the programs do not fit this device; the message says which step does.
    """
    made: list[CompiledPrograms] = []

    def compile_() -> list[CompiledProgram]:
        made.append(compile_programs(setup, splits=(setup.validation, setup.test)))
        return made[0].all

    check_fits_device(compile_, setup)
    return made[0]


def check_fits_device(compile: Callable[[], list[CompiledProgram]], setup: Setup) -> None:
    """Check that programs of a run fit this device.

    Args:
        compile: function that returns the programs, or raises the error of their compilation.

    Raises:
        UserError: they do not fit; the message says which step does.
    """
    device = DeviceMemory(f"this {jax.local_devices()[0].device_kind}", device_memory_mib())
    _, reason = try_compiling(compile, device)
    if reason:
        _say_what_fits(setup, device)
        raise UserError(f"{reason}, though training and evaluation fit {device.name} by themselves: run it again")


@contextmanager
def fitting(program: CompiledProgram, setup: Setup) -> Iterator[None]:
    """Turn an out-of-memory error inside into a UserError; `program` runs inside.

    Raises:
        UserError: the device has less memory left than the program needs.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        reason = exhaustion(error)
        left = DeviceMemory("what is left of this device", _memory_left_mib(program))
        _say_what_fits(setup, left)
        raise UserError(
            f"{program.name} needs {program.peak_mib:,.0f} MiB, more than the device has left ({reason})"
        ) from error


def _memory_left_mib(program: CompiledProgram) -> float:
    """Return the memory in MiB that a program may use, its arguments included, after `program` did not fit."""
    stats = jax.local_devices()[0].memory_stats() or {}
    less = program.peak_mib * (1 - 1e-6)
    if "bytes_limit" not in stats:
        return less
    free = (stats["bytes_limit"] - stats["bytes_in_use"]) / 2**20
    largest = max(program.parts or (program,), key=lambda part: part.peak_mib)
    waiting = largest.peak_mib - peak_mib(largest.run)
    return min(less, free + arguments_mib(largest.run) + waiting)


def _say_what_fits(setup: Setup, memory: DeviceMemory) -> None:
    """Raise the error that says which step fits, if training or evaluation alone does not fit.

    Raises:
        UserError: a part does not fit; the message says which step does.
    """

    def prepare_again(config: Config) -> Setup:
        return prepare(config, devices=list(setup.mesh.devices.flat), abstract=True)

    for part in parts_of(setup):
        compile_fitting(part, setup, memory, prepare_again)
