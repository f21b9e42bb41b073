"""Devices to compile for: those of this machine, and TPUs and GPUs that are not here.

The makers' compilers need no device: libtpu for TPUs, the CUDA plugin of JAX for GPUs. They compile a program for a
description of the devices, so that its memory and its costs are known before a machine is rented.
"""

import importlib.util
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental.topologies import get_topology_desc

from fcn_jax.config import UserError
from fcn_jax.system.machine import device_memory_mib


@dataclass(frozen=True)
class Chip:
    """A kind of accelerator."""

    memory_mib: float
    """Memory that a program may use."""
    teraflops: float
    """Peak in bfloat16; a TPU multiplies float32 numbers in bfloat16 too, by default."""
    gigabytes_per_second: float
    """Bandwidth of its memory."""

    def least_seconds(self, *, flops: float, moved: float) -> float:
        """Return the longer of the times for so many operations, and for moving so many bytes, both at the peak."""
        return max(flops / (self.teraflops * 1e12), moved / (self.gigabytes_per_second * 1e9))


@dataclass(frozen=True)
class Tpu(Chip):
    """A kind of TPU. Its maker publishes all but the memory (docs.cloud.google.com/tpu/docs: v5e, v5p, v6e)."""

    axes: int
    """Number of axes of a slice's shape."""
    most: int
    """Number of chips of the largest slice."""


@dataclass(frozen=True)
class Gpu(Chip):
    """A kind of GPU, as XLA describes it to its compiler (openxla.org, target_config/specs)."""

    capability: tuple[int, int]
    """CUDA's compute capability."""
    cores: int
    """Streaming multiprocessors."""
    ghz: float
    l2_mib: float
    card_mib: float
    """Memory of the card."""
    lanes: int = 128
    """Floating-point units of a multiprocessor."""
    threads: int = 2048
    """Threads that a multiprocessor holds."""
    shared_kib: int = 228
    """Shared memory of a multiprocessor; a block of threads may have 1 KiB less."""


def _gpu(card_mib: float, *values: Any, **more: Any) -> Gpu:
    """Return a GPU of which a program may use what JAX reserves: 75 % of the card."""
    return Gpu(0.75 * card_mib, *values, card_mib=card_mib, **more)


TPUS = {
    # What libtpu lets a program use; the published sizes are 16, 95 and 32 GiB.
    "v5e": Tpu(15.75 * 1024, 197, 819, axes=2, most=256),
    "v5p": Tpu(95.74 * 1024, 459, 2765, axes=3, most=6144),
    "v6e": Tpu(31.25 * 1024, 918, 1638, axes=2, most=256),
}
GPUS = {
    "a100": _gpu(81_158, 312, 2039, capability=(8, 0), cores=108, ghz=1.41, l2_mib=40, lanes=64, shared_kib=164),
    "h100": _gpu(81_008, 989, 3352, capability=(9, 0), cores=132, ghz=1.98, l2_mib=50),
    "h200": _gpu(144_384, 989, 4800, capability=(9, 0), cores=132, ghz=1.98, l2_mib=50),
    "b200": _gpu(182_642, 2250, 7672, capability=(10, 0), cores=148, ghz=1.965, l2_mib=126.5),
    "l4": _gpu(23_034, 121, 300, capability=(8, 9), cores=58, ghz=2.04, l2_mib=48, threads=1536, shared_kib=100),
}
"""The variants of 80 GB (SXM) of A100 and H100."""
MOST_GPUS = 4096
CUDA_PLUGINS = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")
GPUS_A_HOST = 8
EXAMPLES = "tpu:v5e:4x4, tpu:v6e:2x4, tpu:v5p:2x2x4, gpu:h100:8"

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
    """The kind of accelerator; None if the devices are those of this machine."""


def present_target() -> Target:
    """Return the devices of this machine as a target."""
    devices = jax.devices()
    return Target(devices[0].platform, devices, device_memory_mib())


def parse_target(text: str) -> tuple[str, str, tuple[int, ...]]:
    """Parse a target: `tpu:v5e:4x4` -> ('tpu', 'v5e', (4, 4)), `gpu:h100:8` -> ('gpu', 'h100', (8,)).

    Raises:
        UserError: the text is not of that form, or there is no such chip or shape.
    """
    platform, _, rest = text.partition(":")
    name, _, shape = rest.partition(":")
    sides = shape.split("x")
    chips = {"tpu": TPUS, "gpu": GPUS}.get(platform, {})
    if name not in chips or not all(side.isdecimal() and 0 < int(side) < 10**6 for side in sides):
        raise UserError(
            f"--target={text}, but it must be tpu:CHIP:SHAPE with one of the chips {', '.join(TPUS)}, or "
            f"gpu:CHIP:NUMBER with one of {', '.join(GPUS)}: {EXAMPLES}"
        )
    numbers = tuple(map(int, sides))
    if platform == "gpu" and (len(numbers) != 1 or numbers[0] > MOST_GPUS):
        raise UserError(f"--target={text}, but GPUs have a number, at most {MOST_GPUS:,}, and no shape: {EXAMPLES}")
    chip = chips[name]
    if isinstance(chip, Tpu) and (len(numbers) != chip.axes or math.prod(numbers) > chip.most):
        raise UserError(
            f"--target={text}, but a slice of {name} has {chip.axes} axes and at most {chip.most:,} chips: {EXAMPLES}"
        )
    return platform, name, numbers


def absent_target(text: str) -> Target:
    """Return the devices of a `--target`. Call it before JAX is used: JAX then ignores the accelerators that are here.

    Raises:
        UserError: there is no such chip or shape, or its compiler is not installed.
    """
    platform, name, numbers = parse_target(text)
    if platform == "tpu":
        _check_installed(text, "libtpu, the compiler of TPUs", "-r requirements-tpu.txt", "libtpu")
        os.environ.update(WITHOUT_TPU)
        chip: Chip = TPUS[name]
    else:
        plugin = "JAX's CUDA plugin, the compiler of GPUs"
        _check_installed(text, plugin, "--no-deps -r requirements-gpu.txt", *CUDA_PLUGINS)
        chip = GPUS[name]
    jax.config.update("jax_platforms", "cpu")
    # A program for devices that are not here can be written to the cache, but not read again.
    jax.config.update("jax_enable_compilation_cache", False)
    devices = _tpus(text, name, numbers) if platform == "tpu" else _gpus(name, numbers[0])
    return Target(text, devices, chip.memory_mib, chip)


def _check_installed(text: str, what: str, arguments: str, *modules: str) -> None:
    """Check that one of the modules is installed."""
    if not any(is_installed(module) for module in modules):
        raise UserError(f"--target={text} needs {what}, which is not installed: python -m pip install {arguments}")


def is_installed(module: str) -> bool:
    """Return whether a module can be imported, whose package may be missing too."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _tpus(text: str, name: str, sides: tuple[int, ...]) -> Sequence[Any]:
    host = [min(2, side) for side in (*sides, 1, 1)[:3]]
    try:
        shape = "x".join(map(str, sides))
        return get_topology_desc(platform="tpu", topology_name=f"{name}:{shape}", chips_per_host_bounds=host).devices
    except jax.errors.JaxRuntimeError as error:
        raise UserError(f"--target={text} is no shape of {name} that libtpu knows ({error}): try {EXAMPLES}") from error


def _gpus(name: str, number: int) -> Sequence[Any]:
    hosts = -(-number // GPUS_A_HOST)
    if number % hosts:
        hosts = number
    topology = f"1x{hosts}x{number // hosts}"
    described = description_of(name, GPUS[name])
    return get_topology_desc(platform="cuda", topology_name=name, target_config=described, topology=topology).devices


def description_of(name: str, gpu: Gpu) -> str:
    """Return what XLA has to know of a GPU: a GpuTargetConfigProto as text."""
    major, minor = gpu.capability
    accelerated = "feature_extension: ACCELERATED_FEATURES" if major >= 9 else ""
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {gpu.shared_kib * 1024}
  shared_memory_per_block_optin: {(gpu.shared_kib - 1) * 1024}
  threads_per_core_limit: {gpu.threads}
  core_count: {gpu.cores}
  fpus_per_core: {gpu.lanes}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {round(gpu.gigabytes_per_second * 1e9)}
  l2_cache_size: {round(gpu.l2_mib * 2**20)}
  clock_rate_ghz: {gpu.ghz}
  device_memory_size: {round(gpu.card_mib * 2**20)}
  cuda_compute_capability {{ major: {major} minor: {minor} {accelerated} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{name}"
"""
