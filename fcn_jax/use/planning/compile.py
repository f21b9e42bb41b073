"""The `compile` command: every program of a config, what it costs, and whether it fits, here or on TPUs elsewhere."""

from functools import partial
from pathlib import Path
from typing import Any

from fcn_jax.config import Config
from fcn_jax.config_fields import overridden
from fcn_jax.console import print_table
from fcn_jax.train.compile import Compiled, use_compilation_cache
from fcn_jax.train.fitting import compile_fitting, parts_of
from fcn_jax.train.setup import prepare
from fcn_jax.train.writer import write_json
from fcn_jax.use.planning.topology import Target, config_for_tpu, present_target, tpu_target


def report_programs(config: Config, *, target: str | None, sizes: Path | None, out: Path | None) -> None:
    """Compile every program of a config; print the table and that it fits, write compile.json to `out`.

    Args:
        target: such as tpu:v5e:4x4; None: the devices that are here.
        sizes: a table in place of the config's data.

    Raises:
        ValueError: a program does not fit; it says which step does.
    """
    if target is None:
        use_compilation_cache(config)
        place = present_target()
    else:
        config, place = config_for_tpu(config), tpu_target(target)
    if sizes is not None:
        config = overridden(config, {"data.source": f"sizes:{sizes}"})
    prepare_here = partial(prepare, devices=place.devices, abstract=True)
    setup = prepare_here(config)
    programs = [program for part in parts_of(setup) for program in compile_fitting(part, setup, place, prepare_here)]
    print_programs(programs, place)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "compile.json", [as_row(program, place) for program in programs])


def print_programs(programs: list[Compiled], target: Target) -> None:
    """The table, and as a result how much of the memory is needed."""
    columns = ["program", "seconds", "peak MiB", "GFLOP", "blocks: rows × canvas"]
    rows = [[p.name, f"{p.seconds:.1f}", f"{p.peak_mib:,.0f}", f"{p.gflop:,.3f}", p.blocks] for p in programs]
    if target.chip is not None:
        columns.insert(-1, "ms at peak")
        for row, program in zip(rows, programs, strict=True):
            row.insert(-1, f"{1e3 * target.chip.estimated_seconds(program.run):,.3f}")
    seconds, devices = sum(program.seconds for program in programs), len(target.devices)
    print_table(f"{len(programs)} programs compiled in {seconds:.1f} s for {target.name} (×{devices})", columns, rows)
    largest = max(programs, key=lambda program: program.peak_mib)
    print(f"{largest.name} needs {largest.peak_mib:,.0f} MiB of {target.memory_mib:,.0f} MiB a device: it fits")


def as_row(program: Compiled, target: Target) -> dict[str, Any]:
    """A row of compile.json."""
    return {
        **program.as_row(),
        "target": target.name,
        "devices": len(target.devices),
        "memory_mib": round(target.memory_mib, 2),
        "estimated_seconds": None if target.chip is None else target.chip.estimated_seconds(program.run),
    }
