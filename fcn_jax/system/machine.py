"""The machine that a run is on: its memory, its versions, its cache of compiled programs.

JAX is imported where it is used: the command line needs some of this before it.
"""

import ctypes
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fcn_jax.config import MachineConfig
from fcn_jax.version import VERSION


def keep_freed_memory() -> None:
    """Let glibc keep large freed buffers: fresh pages for every step cost up to a third of a step on CPU.

    For the whole process; call it before anything large is made.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            mmap_threshold, trim_threshold, largest = -3, -1, 2**31 - 1
            libc.mallopt(mmap_threshold, largest)
            libc.mallopt(trim_threshold, largest)


def use_compilation_cache(machine: MachineConfig) -> None:
    """Find programs again that an earlier process compiled."""
    import jax

    if machine.cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(Path(machine.cache_dir).expanduser() / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def device_memory_mib() -> float:
    """Memory of the first device; of the machine when the device is the CPU."""
    import jax

    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] / 2**20
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def peak_mib(executable: Any) -> float:
    """Return the size of a program's arguments, results and temporaries on one device, in MiB."""
    memory = executable.memory_analysis()
    together = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return (together - memory.alias_size_in_bytes) / 2**20


def arguments_mib(executable: Any) -> float:
    """Return the size of a program's arguments on one device, in MiB."""
    return executable.memory_analysis().argument_size_in_bytes / 2**20


PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")


def describe_versions() -> dict[str, Any]:
    """Packages, devices and the commit of the code, `-dirty` when it has uncommitted changes."""
    import jax

    devices = jax.devices()
    return {
        "versions": {"fcn_jax": VERSION, **{package: version(package) for package in PACKAGES}},
        "device": f"{len(devices)} × {devices[0].device_kind}",
        "git_commit": git_commit(),
    }


def git_commit(file: Path = Path(__file__)) -> str | None:
    """Describe the commit of the checkout that holds a file, by default this one; None where no checkout holds it.

    The folder of a wheel may lie inside the checkout of another project, which does not hold its files.
    """
    git = ["git", "-C", str(file.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", file.name], capture_output=True, check=True, timeout=10)
        command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
