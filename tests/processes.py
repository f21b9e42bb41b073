"""Several processes over loopback."""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 900


def free_address() -> str:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return f"localhost:{taken.getsockname()[1]}"


@contextmanager
def started(commands: Sequence[list[str]], *, devices: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes side by side, each with so many devices, that do not outlive the context."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for command in commands
    ]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def run_together(commands: Sequence[list[str]], *, devices: int = 1) -> list[subprocess.CompletedProcess[str]]:
    """Run processes side by side; return how each ended."""
    ended = []
    with started(commands, devices=devices) as running:
        for process in running:
            out, err = process.communicate(timeout=SECONDS)
            ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return ended
