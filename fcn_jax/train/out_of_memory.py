"""Fit the programs of a config to the memory of a target, and find the largest step that fits.

Two fields decide how large programs are: one those of training, one those of evaluation. A step that is too large is
made smaller by bisection, compiling each time the one program that computes most: the others then fit too. A run that
does not fit its devices ends with the program, its bytes, and the largest step that does fit.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import numpy as np

from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import get_field, overridden
from fcn_jax.core.schedule import Schedule
from fcn_jax.core.stages import Stage, Stages
from fcn_jax.core.step_plan import Program, StepPlan
from fcn_jax.system.console import say
from fcn_jax.system.machine import arguments_mib, device_memory_mib
from fcn_jax.train.compile import CompiledProgram, CompiledPrograms, compile_programs
from fcn_jax.train.setup import Setup, Split, prepare


@runtime_checkable
class Memory(Protocol):
    """The memory that programs have to fit."""

    @property
    def name(self) -> str: ...

    @property
    def memory_mib(self) -> float: ...


TOLERANCE = 0.03
"""Relative tolerance of the largest step: a compilation may take minutes, and this needs only about six."""


@dataclass(frozen=True)
class Part:
    """Programs, and the field that decides how large they are."""

    field: str
    unit: int
    """Number that the field is a multiple of."""
    compile: Callable[[Setup], list[CompiledProgram]]
    compile_largest: Callable[[Setup], list[CompiledProgram]]


def parts_of(setup: Setup) -> tuple[Part, Part]:
    """Training and evaluation."""
    schedule = setup.config.schedule
    field, unit = "schedule.examples_per_step", schedule.rows_multiple_of
    if schedule.positions_per_step:
        field, unit = "schedule.positions_per_step", unit * max(_largest_canvas(s) for s in setup.train.stages)
    return (
        Part(field, unit, _training, partial(_training, of=_largest_alone)),
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
    """The programs of a part.

    Args:
        prepare: a config with a smaller step -> its setup.

    Raises:
        UserError: they do not fit; it says which step does.
    """
    programs, reason = try_compiling(lambda: part.compile(setup), target)
    if not reason:
        return programs
    asked = get_field(setup.config, part.field)
    say(f"config.{part.field}={asked} does not fit {target.name} ({reason}): looking for the largest that does")

    def fits(number: int) -> bool:
        smaller = prepare(overridden(setup.config, {part.field: number}))
        _, reason = try_compiling(lambda: part.compile_largest(smaller), target)
        say(f"{part.field}={number}: {reason or 'fits'}")
        return not reason

    largest = largest_fitting(asked, part.unit, fits)
    raise UserError(
        f"config.{part.field} is {asked}, but a step of that does not fit {target.name} ({reason}): "
        + (
            f"set --config.{part.field}={largest}, the largest that fits (to within {TOLERANCE:.0%})"
            if largest
            else f"nor does {part.unit}, the smallest: take a smaller config.data.resize or model, or more devices"
        )
    )


def largest_fitting(asked: int, unit: int, fits: Callable[[int], bool]) -> int:
    """The largest multiple of `unit` below `asked` that fits, or one within `TOLERANCE` of it; 0 where none does."""
    low, high = 0, -(-asked // unit)
    while high - low > max(1, TOLERANCE * high):
        middle = (low + high) // 2
        if fits(middle * unit):
            low = middle
        else:
            high = middle
    return low * unit


def try_compiling(compile: Callable[[], list[CompiledProgram]], target: Memory) -> tuple[list[CompiledProgram], str]:
    """The programs, and why they do not fit a target, as XLA or their own figures say; empty where they do."""
    try:
        programs = compile()
    except jax.errors.JaxRuntimeError as error:
        return [], exhaustion(error)
    largest = max(programs, key=lambda program: program.peak_mib)
    if largest.peak_mib <= target.memory_mib:
        return programs, ""
    return programs, f"{largest.name} needs {largest.peak_mib:,.0f} MiB of {target.memory_mib:,.0f} MiB a device"


def exhaustion(error: Exception) -> str:
    """Return what XLA says of exhausted memory; raise any other error again."""
    program, exhausted, message = str(error).partition("RESOURCE_EXHAUSTED: ")
    if not exhausted:
        raise error
    return program + message.split("\n")[0].rstrip(". ")


def _training(setup: Setup, of: Callable[[Split], Split] = lambda split: split) -> list[CompiledProgram]:
    """The programs that update the parameters; `of` may leave some out."""
    config = overridden(setup.config, {"train.precise_batch_norm": False})
    return compile_programs(replace(setup, config=config, train=of(setup.train)), splits=()).all


def _evaluation(setup: Setup, of: Callable[[Split], Split] = lambda split: split) -> list[CompiledProgram]:
    """The programs that evaluate, and those that re-estimate BatchNorm; `of` may leave some out."""
    splits = tuple(of(split) for split in (setup.validation, setup.test))
    without_training = replace(setup, train=Split(setup.train.dataset, Stages(())))
    return compile_programs(without_training, splits=splits).all


def _largest_alone(split: Split) -> Split:
    """The split with nothing but the program that computes most positions."""
    stage, program = max(
        ((stage, program) for stage in split.stages for program in stage.schedule.step_plan.programs),
        key=lambda pair: _positions(*pair),
    )
    schedule = Schedule(
        stage.plan,
        StepPlan((program,), stage.schedule.step_plan.num_buckets),
        lambda _: np.zeros(0, np.int64),
        num_examples=stage.schedule.num_examples,
        seed=0,
    )
    return Split(split.dataset, Stages((replace(stage, schedule=schedule),)))


def _positions(stage: Stage, program: Program) -> int:
    """Padded, of a step."""
    return sum(int(stage.plan.areas[block.bucket]) * block.rows for block in program.blocks)


def _largest_canvas(stage: Stage) -> int:
    """Positions of the largest bucket."""
    return math.prod(stage.plan.shapes[-1])


@dataclass(frozen=True)
class DeviceMemory:
    """Memory that programs may take, in MiB."""

    name: str
    memory_mib: float


def compile_all(setup: Setup) -> CompiledPrograms:
    """All programs of a run.

    Raises:
        UserError: they do not fit; it says which step does.
    """
    made: list[CompiledPrograms] = []

    def compile_() -> list[CompiledProgram]:
        made.append(compile_programs(setup, splits=(setup.validation, setup.test)))
        return made[0].all

    device = DeviceMemory(f"this {jax.local_devices()[0].device_kind}", device_memory_mib())
    _, reason = try_compiling(compile_, device)
    if not reason:
        return made[0]
    _say_what_fits(setup, device)
    raise UserError(f"{reason}, though training and evaluation fit {device.name} by themselves: run it again")


@contextmanager
def fitting(program: CompiledProgram, setup: Setup) -> Iterator[None]:
    """A program runs inside.

    Raises:
        UserError: the device has not as much memory left as it needs.
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
    """Return the MiB that a program may take with its arguments, after `program` did not fit."""
    stats = jax.local_devices()[0].memory_stats() or {}
    less = program.peak_mib * (1 - 1e-6)
    if "bytes_limit" not in stats:
        return less
    free = (stats["bytes_limit"] - stats["bytes_in_use"]) / 2**20
    return min(less, free + arguments_mib(program.run))


def _say_what_fits(setup: Setup, memory: DeviceMemory) -> None:
    """
    Raises:
        UserError: what does not fit, and which step does.
    """

    def prepare_again(config: Config) -> Setup:
        return prepare(config, devices=list(setup.mesh.devices.flat), abstract=True)

    for part in parts_of(setup):
        compile_fitting(part, setup, memory, prepare_again)
