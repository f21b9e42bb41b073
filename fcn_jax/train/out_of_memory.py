"""A run that does not fit its devices ends with the program, its bytes, and the largest step that does fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax

from fcn_jax.config import Config
from fcn_jax.train.compile import Compiled, Programs, arguments_mib, compile_programs, device_memory_mib
from fcn_jax.train.fitting import compile_fitting, exhaustion, parts_of, try_compiling
from fcn_jax.train.setup import Setup, prepare


@dataclass(frozen=True)
class DeviceMemory:
    """What programs may take."""

    name: str
    memory_mib: float


def compile_all(setup: Setup) -> Programs:
    """All programs of a run.

    Raises:
        ValueError: they do not fit; it says which step does.
    """
    made: list[Programs] = []

    def compile_() -> list[Compiled]:
        made.append(compile_programs(setup, splits=(setup.validation, setup.test)))
        return made[0].all

    device = DeviceMemory(f"this {jax.local_devices()[0].device_kind}", device_memory_mib())
    _, reason = try_compiling(compile_, device)
    if not reason:
        return made[0]
    _say_what_fits(setup, device)
    raise ValueError(f"{reason}, though training and evaluation fit {device.name} by themselves: run it again")


@contextmanager
def fitting(program: Compiled, setup: Setup) -> Iterator[None]:
    """A program runs inside.

    Raises:
        ValueError: the device has not as much memory left as it needs.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        reason = exhaustion(error)
        left = DeviceMemory("what is left of this device", _memory_left_mib(program))
        _say_what_fits(setup, left)
        raise ValueError(
            f"{program.name} needs {program.peak_mib:,.0f} MiB, more than the device has left ({reason})"
        ) from error


def _memory_left_mib(program: Compiled) -> float:
    """What a program may take in all, its arguments counted, once `program` did not fit."""
    stats = jax.local_devices()[0].memory_stats() or {}
    less = program.peak_mib * (1 - 1e-6)
    if "bytes_limit" not in stats:
        return less
    free = (stats["bytes_limit"] - stats["bytes_in_use"]) / 2**20
    return min(less, free + arguments_mib(program.run))


def _say_what_fits(setup: Setup, memory: DeviceMemory) -> None:
    """
    Raises:
        ValueError: what does not fit, and which step does.
    """

    def prepare_again(config: Config) -> Setup:
        return prepare(config, devices=list(setup.mesh.devices.flat), abstract=True)

    for part in parts_of(setup):
        compile_fitting(part, setup, memory, prepare_again)
