"""The runs of benchmarks/soak.py: their start in one or two processes, the moments of faults, and the expected end."""

import contextlib
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from configs.mnist import get_config
from fcn_jax.config import Config
from fcn_jax.core.step import TrainState
from fcn_jax.train.checkpoint import Checkpoints, checksum
from fcn_jax.train.log import read_metrics
from fcn_jax.train.setup import prepare
from tests.processes import free_address

ROOT = Path(__file__).parents[1]
EVERY_STEPS, EPOCHS = 4, 12
CHANNELS = (4, 8, 8)
MOMENTS = ("compilation", "a step", "a save")


def config_of_runs() -> Config:
    config = get_config("tiny")
    config.train.epochs, config.train.log_every_steps = EPOCHS, 1
    config.model.channels, config.checkpoint.every_steps = CHANNELS, EVERY_STEPS
    return config


FLAGS = (
    f"--config.train.epochs={EPOCHS}",
    "--config.train.log_every_steps=1",
    f"--config.model.channels={CHANNELS}".replace(" ", ""),
    f"--config.checkpoint.every_steps={EVERY_STEPS}",
)
"""The same config as flags of the command line."""


@dataclass
class Tally:
    """The counts of one kind of fault: a row of the table."""

    fault: str
    injected: int = 0
    survived: int = 0
    seconds: list[float] = field(default_factory=list)
    """Seconds from each fault to the end of the process, for faults that the process has to notice."""
    repeated: list[int] = field(default_factory=list)
    """Number of steps done twice after each fault."""

    def row(self) -> str:
        slowest = f"{max(self.seconds):.1f}" if self.seconds else "–"
        most = f"{max(self.repeated)}" if self.repeated else "–"
        return f"| {self.fault} | {self.injected} | {self.survived} | {slowest} | {most} |"


@dataclass
class Bench:
    """The folder of the runs, their expected end, and the counts of what became of them."""

    folder: Path
    random: random.Random
    over_at: float
    """Time on the monotonic clock after which no fault is injected."""
    tallies: list[Tally] = field(default_factory=list)
    expected: dict[int, str] = field(default_factory=dict)
    """Checksum of the final state of an undisturbed run, by its number of processes."""
    seconds_to_compile: float = 0.0
    """Seconds that a run compiles with an empty cache."""
    seconds_to_train: float = 0.0

    def __post_init__(self):
        self.target: TrainState = prepare(config_of_runs(), abstract=True).state

    def tally(self, fault: str) -> Tally:
        """Add a new row to the table."""
        self.tallies.append(Tally(fault))
        return self.tallies[-1]

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.over_at

    def until_over(self, number: int) -> Iterator[int]:
        return itertools.takewhile(lambda _: not self.is_over, range(number))

    def start(self, workdir: Path, *flags: str) -> subprocess.Popen[str]:
        """Start a run, or continue it, in a process of its own. An empty cache makes it compile everything again."""
        arguments = ["train", f"--config={ROOT / 'configs/mnist.py'}:tiny", f"--workdir={workdir}", *FLAGS]
        cache = f"--config.machine.cache_dir={self.folder / 'cache'}"
        return subprocess.Popen(
            [sys.executable, "-m", "fcn_jax", *arguments, cache, *flags],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start_all(self, workdir: Path, processes: int) -> list[subprocess.Popen[str]]:
        """Start a run of one process or of several."""
        if processes == 1:
            return [self.start(workdir)]
        shared = (f"--coordinator={free_address()}", f"--num_processes={processes}")
        return [self.start(workdir, *shared, f"--process_id={number}") for number in range(processes)]

    def finish(self, workdir: Path, processes: int = 1) -> None:
        """Let a run go on to its end, and compare its final state with the expected one."""
        for process in self.start_all(workdir, processes):
            _, said = process.communicate()
            assert process.returncode == 0, said
        assert checksum(self.newest(workdir), {}) == self.expected[processes], f"{workdir} ends with other bits"

    def run_undisturbed(self, processes: int) -> Path:
        """Make an undisturbed run, whose final state all others must reach, and return its folder."""
        workdir = self.folder / f"undisturbed_{processes}"
        for process in self.start_all(workdir, processes):
            _, said = process.communicate()
            assert process.returncode == 0, said
        self.expected[processes] = checksum(self.newest(workdir), {})
        self.seconds_to_compile = json.loads((workdir / "summary.json").read_text(encoding="utf-8"))["compile_seconds"]
        self.seconds_to_train = read_metrics(workdir / "metrics.jsonl")[-2]["train_seconds"]
        return workdir

    def newest(self, workdir: Path) -> TrainState:
        with Checkpoints(workdir / "checkpoints", keep=None) as checkpoints:
            restored = checkpoints.restore_newest(self.target, strict=True)
        assert restored is not None
        return restored.state


def last_step(workdir: Path) -> int:
    """Return the last step that was logged; 0 if there is none."""
    path = workdir / "metrics.jsonl"
    return max((row["step"] for row in read_metrics(path)), default=0) if path.exists() else 0


def newest_step(workdir: Path) -> int:
    """Return the step of the newest complete checkpoint; 0 if there is none."""
    folder = workdir / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return max((int(name) for name in names if name.isdigit()), default=0)


def wait_for(bench: Bench, process: subprocess.Popen, workdir: Path, moment: str) -> bool:
    """Wait for a random moment of a kind, and return whether the run was still alive then."""
    before, began = last_step(workdir), time.time()
    match moment:
        case "compilation":
            lock = workdir / ".lock"
            while process.poll() is None and not (
                lock.exists() and lock.read_text(encoding="utf-8") == str(process.pid)
            ):
                time.sleep(0.01)
            time.sleep(bench.random.uniform(0, bench.seconds_to_compile))
        case "a step":
            while process.poll() is None and last_step(workdir) <= max(before, newest_step(workdir)):
                time.sleep(0.02)
            time.sleep(bench.random.uniform(0, bench.seconds_to_train))
        case _:
            saving = bench.random.randint(1, 5)
            while process.poll() is None and saving:
                saving -= is_saving(workdir, since=began)
                time.sleep(0.01 * (saving > 0))
    return process.poll() is None


def is_saving(workdir: Path, *, since: float) -> bool:
    """Return whether a checkpoint is being written. Unfinished ones that earlier kills left do not count."""
    with contextlib.suppress(FileNotFoundError):  # The save finished in the meantime.
        return any(path.stat().st_mtime > since for path in workdir.glob("checkpoints/*.orbax-checkpoint-tmp*"))
    return False
