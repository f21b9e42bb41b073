"""Compilation in one thread against several, and beside a run against before it.

python -m benchmarks.compilation threads --threads=1,2
python -m benchmarks.compilation beside
python -m benchmarks.compilation against --old=CHECKOUT

`against` runs one epoch of `configs/mnist.py` here and in a folder with an older commit, first with an empty cache and
then with what that left. The others use a config of their own: each pair runs both ways in turn, in the other order
every second time, without a cache. The config is `configs/mnist.py:tiny` with `schedule.num_programs=4`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from configs import mnist
from fcn_jax.commands import train as command
from fcn_jax.config import Config
from fcn_jax.system.console import hush
from fcn_jax.train.compile import jobs_of
from fcn_jax.train.compile_in_threads import CompiledPrograms
from fcn_jax.train.setup import prepare

ROOT = Path(__file__).parents[1]
PAIRS = 4
SECONDS = ("wall_seconds", "seconds_to_first_step", "compile_seconds", "train_seconds")


def small_config() -> Config:
    config = mnist.get_config("tiny")
    config.machine.cache_dir, config.schedule.num_programs = "", 4
    config.train.epochs, config.train.evaluate_every_epochs, config.train.log_every_steps = 60, 0, 50
    config.checkpoint.every_steps = 10**9
    return config


def compare_threads(numbers: list[int]) -> None:
    """Print the seconds that so many threads take to compile all programs."""
    setup = prepare(small_config(), abstract=True)
    for pair in range(PAIRS):
        for number in numbers if pair % 2 else numbers[::-1]:
            jobs = jobs_of(setup, splits=(setup.validation,))
            longest_first = sorted(jobs.all, key=lambda job: -job.work)
            programs = CompiledPrograms(jobs, order=longest_first, num_threads=number)
            programs.wait()
            print(f"threads {number}: {len(jobs.all)} programs in {programs.seconds:.1f} s", flush=True)


def compare_beside() -> None:
    """Print the times of a run, whether it compiles first or beside its steps."""
    for pair in range(PAIRS):
        for beside in (False, True) if pair % 2 else (True, False):
            command.compiles_beside = lambda setup, beside=beside: beside
            with tempfile.TemporaryDirectory() as folder:
                summary = command.train(small_config(), Path(folder) / "run")
            times = "  ".join(f"{name} {summary[name]:.1f}" for name in SECONDS)
            print(f"{'beside' if beside else 'first'}: {times}", flush=True)


def compare_against(old: Path) -> None:
    """Print the seconds of compiling and to the first step, cold and warm, here and in an older checkout."""
    for pair in range(PAIRS):
        for checkout in (old, ROOT) if pair % 2 else (ROOT, old):
            with tempfile.TemporaryDirectory() as folder:
                for cache in ("cold", "warm"):
                    seconds = _seconds_of_an_epoch(checkout, Path(folder), f"{folder}/{cache}")
                    times = "  ".join(f"{name} {seconds[name]:.1f}" for name in SECONDS if name in seconds)
                    print(f"{'here' if checkout == ROOT else 'old'}, {cache}: {times}", flush=True)


def _seconds_of_an_epoch(checkout: Path, cache: Path, workdir: str) -> dict[str, float]:
    command = [sys.executable, "-m", "fcn_jax", "train", "--config=configs/mnist.py", f"--workdir={workdir}"]
    command += ["--config.train.epochs=1", f"--config.machine.cache_dir={cache}/cache"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True)
    return json.loads((Path(workdir) / "summary.json").read_text())


if __name__ == "__main__":
    hush()
    if sys.argv[1:2] == ["against"]:
        compare_against(Path(sys.argv[2].removeprefix("--old=")).resolve())
    elif sys.argv[1:2] == ["beside"]:
        compare_beside()
    else:
        texts = [text.removeprefix("--threads=") for text in sys.argv[2:]] or ["1,2"]
        compare_threads([int(number) for number in texts[0].split(",")])
