"""What a summary says: the result of a run for people, and what it ran on."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")


def describe_versions() -> dict[str, Any]:
    """Packages, devices and the commit of the code, `-dirty` when it has uncommitted changes."""
    devices = jax.devices()
    return {
        "versions": {package: version(package) for package in PACKAGES},
        "device": f"{len(devices)} × {devices[0].device_kind}",
        "git_commit": git_commit(),
    }


def git_commit() -> str | None:
    """Of the checkout this file stands in; None without one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def format_summary(summary: dict[str, Any]) -> str:
    """The end of a run, for people."""
    return (
        f"test accuracy {summary['accuracy']:.4f}  loss {summary['loss']:.4f}  over {summary['count']:,} examples\n"
        f"trained in {summary['train_seconds']:.1f} s  at {summary['images_per_second']:,.0f} images/s, "
        f"{summary['input_wait']:.1%} of it waiting for input, fill {summary['fill']:.3f}; "
        f"{summary['compile_count']} programs compiled in {summary['compile_seconds']:.1f} s"
    )
