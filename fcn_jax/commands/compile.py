"""The `compile` command: it compiles every program of a config, for the devices here or for TPUs that are elsewhere.

It shows what every program costs, and checks that it fits the memory of a device.
"""

import importlib.util
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.experimental.topologies import get_topology_desc

from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import overridden
from fcn_jax.system.cache import use_compilation_cache
from fcn_jax.system.console import say
from fcn_jax.system.disk import make_folder, write_json
from fcn_jax.system.machine import device_memory_mib
from fcn_jax.train.compile import CompiledProgram, print_programs
from fcn_jax.train.devices import describe_filler
from fcn_jax.train.out_of_memory import compile_fitting, parts_of
from fcn_jax.train.setup import prepare


@dataclass(frozen=True)
class Chip:
    """A kind of TPU. Its maker publishes all but `memory_gib` (docs.cloud.google.com/tpu/docs: v5e, v5p, v6e)."""

    memory_gib: float
    """Memory that libtpu lets a program use, in GiB; the published sizes are 16, 95 and 32."""
    teraflops: float
    """Peak in bfloat16; by default a TPU also multiplies float32 numbers in bfloat16."""
    gigabytes_per_second: float
    """Bandwidth of its memory."""
    axes: int
    """Number of axes of a slice's shape."""
    most: int
    """Number of chips of the largest slice."""

    def estimated_seconds(self, executable: Any) -> float:
        """Return a roofline estimate: the longer of the times for computing and for moving data, both at the peak.

        XLA reports the operations and the bytes. Its own `optimal_seconds` is sometimes negative.
        """
        cost = executable.cost_analysis()
        return max(cost["flops"] / (self.teraflops * 1e12), cost["bytes accessed"] / (self.gigabytes_per_second * 1e9))


CHIPS = {
    "v5e": Chip(15.75, 197, 819, axes=2, most=256),
    "v5p": Chip(95.74, 459, 2765, axes=3, most=6144),
    "v6e": Chip(31.25, 918, 1638, axes=2, most=256),
}
EXAMPLES = "tpu:v5e:4x4, tpu:v6e:2x4, tpu:v5p:2x2x4"

WITHOUT_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",  # Do not ask the metadata server which TPU this machine has.
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # Avoid a warning that it is unknown; only the topology matters.
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # Nothing runs, so another process may hold a TPU here.
    "TPU_LOG_DIR": "disabled",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}
"""The environment in which libtpu only compiles."""


@dataclass(frozen=True)
class Target:
    """Devices to compile for."""

    name: str
    devices: Sequence[Any]
    memory_mib: float
    """Memory of one device."""
    chip: Chip | None = None
    """The kind of TPU; None if the devices are those of this machine."""


def present_target() -> Target:
    """Return the devices of this machine as a target."""
    devices = jax.devices()
    return Target(devices[0].platform, devices, device_memory_mib())


def tpu_target(text: str) -> Target:
    """Return the TPUs of a `--target`; call it before JAX is used, since it makes JAX ignore a TPU of this machine.

    Raises:
        UserError: there is no such chip or shape, or libtpu is not installed.
    """
    name, sides = parse_target(text)
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--target={text} needs libtpu, the compiler of TPUs, which is not installed: "
            "python -m pip install -r requirements-tpu.txt"
        )
    os.environ.update(WITHOUT_TPU)
    jax.config.update("jax_platforms", "cpu")
    # A program for devices that are not here can be written to the cache, but not read again.
    jax.config.update("jax_enable_compilation_cache", False)
    host = [min(2, side) for side in (*sides, 1, 1)[:3]]
    try:
        shape = "x".join(map(str, sides))
        topology = get_topology_desc(platform="tpu", topology_name=f"{name}:{shape}", chips_per_host_bounds=host)
    except jax.errors.JaxRuntimeError as error:
        raise UserError(f"--target={text} is no shape of {name} that libtpu knows ({error}): try {EXAMPLES}") from error
    chip = CHIPS[name]
    return Target(text, topology.devices, chip.memory_gib * 2**10, chip)


def config_for_tpu(config: Config) -> Config:
    """Return the config with `auto` convolutions resolved as on a TPU (XLA's own), not as on the CPU that compiles."""
    automatic = config.model.convolution == "auto"
    return overridden(config, {"model.convolution": "direct"}) if automatic else config


def parse_target(text: str) -> tuple[str, tuple[int, ...]]:
    """Parse a target: `tpu:v5e:4x4` -> ('v5e', (4, 4)).

    Raises:
        UserError: the text is not of that form, or there is no such chip or shape.
    """
    platform, _, rest = text.partition(":")
    name, _, shape = rest.partition(":")
    sides = shape.split("x")
    if platform != "tpu" or name not in CHIPS or not all(side.isdecimal() and int(side) for side in sides):
        raise UserError(
            f"--target={text}, but it must be tpu:CHIP:SHAPE with one of the chips {', '.join(CHIPS)}: {EXAMPLES}"
        )
    chip, numbers = CHIPS[name], tuple(map(int, sides))
    if len(numbers) != chip.axes or math.prod(numbers) > chip.most:
        raise UserError(
            f"--target={text}, but a slice of {name} has {chip.axes} axes and at most {chip.most:,} chips: {EXAMPLES}"
        )
    return name, numbers


def report_programs(config: Config, *, target: str | None, sizes: Path | None, out: Path | None) -> None:
    """Compile every program of a config, print their table and that they fit, and write compile.json to `out`.

    Args:
        target: a target such as tpu:v5e:4x4. None: the devices of this machine.
        sizes: a table of sizes that replaces the config's data.

    Raises:
        UserError: a program does not fit; the message says which step does.
    """
    if target is None:
        use_compilation_cache(config.machine)
        place = present_target()
    else:
        config, place = config_for_tpu(config), tpu_target(target)
    if sizes is not None:
        config = overridden(config, {"data.source": f"sizes:{sizes}"})
    prepare_here = partial(prepare, devices=place.devices, abstract=True)
    setup = prepare_here(config)
    if line := describe_filler(setup.train, config, len(place.devices)):
        say(line)
    began = time.perf_counter()
    programs = [program for part in parts_of(setup) for program in compile_fitting(part, setup, place, prepare_here)]
    report_fit(programs, place, seconds=time.perf_counter() - began)
    if out is not None:
        make_folder(out)
        write_json(out / "compile.json", [as_row(program, place) for program in programs])


def report_fit(programs: list[CompiledProgram], target: Target, *, seconds: float) -> None:
    """Print the table of programs and, to standard output, how much of the memory they need."""
    chip = target.chip
    print_programs(
        programs,
        seconds=seconds,
        place=f" for {target.name} (×{len(target.devices)})",
        at_peak=None if chip is None else [chip.estimated_seconds(program.run) for program in programs],
    )
    largest = max(programs, key=lambda program: program.peak_mib)
    print(f"{largest.name} needs {largest.peak_mib:,.0f} MiB of {target.memory_mib:,.0f} MiB a device: it fits")


def as_row(program: CompiledProgram, target: Target) -> dict[str, Any]:
    """Return the row of a program in compile.json."""
    return {
        **program.as_row(),
        "target": target.name,
        "devices": len(target.devices),
        "memory_mib": round(target.memory_mib, 2),
        "estimated_seconds": None if target.chip is None else target.chip.estimated_seconds(program.run),
    }
