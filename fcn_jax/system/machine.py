"""The machine that a run is on: what starts on it, its memory and its versions.

JAX is imported inside the functions that use it, because the command line calls some others before it imports JAX.
"""

import ctypes
import importlib
import logging
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fcn_jax.config import MachineConfig, UserError
from fcn_jax.version import VERSION


def keep_freed_memory() -> None:
    """Make glibc keep large freed buffers: new memory pages for every step cost up to a third of a step on CPU.

    This holds for the whole process. Call it before any large buffer is made.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            mmap_threshold, trim_threshold, largest = -3, -1, 2**31 - 1
            libc.mallopt(mmap_threshold, largest)
            libc.mallopt(trim_threshold, largest)


def draw_without_window() -> None:
    """Make Matplotlib draw to files, whatever the environment says; call it before Matplotlib is imported."""
    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # Without a home it warns, takes another folder and works.


def import_libraries(*names: str) -> None:
    """Import libraries that read the environment: JAX its variables, Matplotlib a folder that it must write to.

    Raises:
        UserError: a library refuses the environment, or its installation; the message has its own reason.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # A ValueError for a variable, an OSError for a folder, an ImportError, and so on.
            raise UserError(
                f"{name} cannot be imported ({_reason(error)}): correct the environment variable that this names, or "
                "install the packages of requirements.txt again"
            ) from error


def find_devices() -> None:
    """Let JAX look for its devices; in a cluster, join the other processes before.

    Raises:
        UserError: JAX finds none.
    """
    import jax

    try:
        jax.devices()
    except Exception as error:  # JAX raises RuntimeError, or a bare AssertionError if nothing is there.
        platforms = os.environ.get("JAX_PLATFORMS")
        if not platforms:
            raise UserError(f"JAX cannot use the devices of this machine ({_reason(error)})") from error
        raise UserError(
            f"JAX_PLATFORMS={platforms}, but JAX finds no such device here ({_reason(error)}): unset JAX_PLATFORMS, so "
            "that JAX takes what is here, or install what that device needs, such as jax[cuda12]"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or "it gives no reason"


CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""File of Linux with the microseconds of processor time that a container may use in a period, and that period."""


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use: those it may run on, or the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # There is no such file, or no quota: "max".
        return cores


def threads_of(machine: MachineConfig) -> int:
    """Return the number of threads that read data."""
    return machine.num_threads or usable_cores()


def device_memory_mib() -> float:
    """Return the memory of the first device in MiB, or that of the machine when the device is the CPU."""
    import jax

    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] / 2**20
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def peak_mib(executable: Any) -> float:
    """Return the memory in MiB that a program needs on one device: arguments, results and temporaries."""
    memory = executable.memory_analysis()
    together = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return (together - memory.alias_size_in_bytes) / 2**20


def arguments_mib(executable: Any) -> float:
    """Return the memory in MiB that the arguments of a program take on one device."""
    return executable.memory_analysis().argument_size_in_bytes / 2**20


def mib_of(tree: Any) -> float:
    """Return the memory in MiB of arrays, or of their shapes and types."""
    import jax

    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)) / 2**20


PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")


def describe_versions() -> dict[str, Any]:
    """Return the package versions, the devices and the commit of the code (`-dirty` if it has uncommitted changes)."""
    import jax

    devices = jax.devices()
    return {
        "versions": {"fcn_jax": VERSION, **{package: version(package) for package in PACKAGES}},
        "device": f"{len(devices)} × {devices[0].device_kind}",
        "git_commit": git_commit(),
    }


def git_commit(file: Path = Path(__file__)) -> str | None:
    """Return the commit of the git checkout that tracks `file` (by default this file); None if none does.

    An installed wheel may lie inside the checkout of another project. That checkout does not track its files.
    """
    git = ["git", "-C", str(file.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", file.name], capture_output=True, check=True, timeout=10)
        command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
