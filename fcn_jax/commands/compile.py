"""The `compile` command: it compiles every program of a config, for the devices here or for others that are elsewhere.

It shows what every program costs, and checks that it fits the memory of a device.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

from fcn_jax.config import Config
from fcn_jax.config_fields import overridden
from fcn_jax.system.cache import use_compilation_cache
from fcn_jax.system.console import say
from fcn_jax.system.disk import make_folder, write_json
from fcn_jax.system.hlo import Traffic, traffic_of
from fcn_jax.system.targets import Target, absent_target, present_target
from fcn_jax.train.compile import CompiledProgram, print_programs
from fcn_jax.train.devices import describe_devices
from fcn_jax.train.out_of_memory import compile_fitting, parts_of
from fcn_jax.train.setup import prepare


def report_programs(config: Config, *, target: str | None, sizes: Path | None, out: Path | None) -> None:
    """Compile every program of a config, print their table and that they fit, and write compile.json to `out`.

    Args:
        target: a target such as tpu:v5e:4x4 or gpu:h100:8. None: the devices of this machine.
        sizes: a table of sizes that replaces the config's data.

    Raises:
        UserError: a program does not fit; the message says which step does.
    """
    if target is None:
        use_compilation_cache(config.machine)
        place = present_target()
    else:
        place = absent_target(target)
    if sizes is not None:
        config = overridden(config, {"data.source": f"sizes:{sizes}"})
    prepare_here = partial(prepare, devices=place.devices, abstract=True)
    setup = prepare_here(config)
    number, platform = len(place.devices), place.devices[0].platform
    for line in describe_devices(setup.train, config, number, platform=platform):
        say(line)
    began = time.perf_counter()
    programs = [program for part in parts_of(setup) for program in compile_fitting(part, setup, place, prepare_here)]
    rows = [as_row(program, place) for program in programs]
    report_fit(programs, rows, place, seconds=time.perf_counter() - began)
    if out is not None:
        make_folder(out)
        write_json(out / "compile.json", rows)


def as_row(program: CompiledProgram, target: Target) -> dict[str, Any]:
    """Return the row of a program in compile.json; what a chip needs is there for devices that are elsewhere."""
    row = {
        **program.as_row(),
        "target": target.name,
        "devices": len(target.devices),
        "memory_mib": round(target.memory_mib, 2),
        "estimated_seconds": None,
    }
    if target.chip is not None:
        traffic = traffic_of_program(program)
        row |= {"bytes": traffic.bytes, "launches": traffic.launches, "collectives": traffic.collectives}
        row["estimated_seconds"] = target.chip.least_seconds(flops=1e9 * program.gflop, moved=traffic.bytes)
    return row


def traffic_of_program(program: CompiledProgram) -> Traffic:
    """Return what one call of a program moves and launches on one device."""
    executables: list[Any] = [part.run for part in program.parts or (program,)]
    return sum((traffic_of(executable.as_text()) for executable in executables), start=Traffic())


def report_fit(programs: list[CompiledProgram], rows: list[dict[str, Any]], target: Target, *, seconds: float) -> None:
    """Print the table of programs and, to standard output, how much of the memory they need."""
    more = {}
    if target.chip is not None:
        more = {
            "GB moved": [f"{row['bytes'] / 1e9:,.2f}" for row in rows],
            "launches": [f"{row['launches']:,}" for row in rows],
            "collectives": [f"{row['collectives']:,}" for row in rows],
            "ms at peak": [f"{1e3 * row['estimated_seconds']:,.3f}" for row in rows],
        }
    print_programs(programs, seconds=seconds, place=f" for {target.name} (×{len(target.devices)})", more=more)
    largest = max(programs, key=lambda program: program.peak_mib)
    print(f"{largest.name} needs {largest.peak_mib:,.0f} MiB of {target.memory_mib:,.0f} MiB a device: it fits")
