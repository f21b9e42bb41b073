"""Faults in bulk: runs that are killed, terminated, damaged and starved of disk, and what becomes of them.

    python benchmarks/soak.py [--kills=100] [--terms=20] [--damages=200] [--full_disks=10] [--seed=0]

Every run is `configs/mnist.py:tiny` with longer training and a checkpoint every 4 steps; its end is compared, bit by
bit, with that of an undisturbed run. Prints a table for benchmarks/soak.md. Needs `mount` (root) for full disks.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jax

sys.path.insert(0, str(Path(__file__).parents[1]))
from configs.mnist import get_config
from fcn_jax.config import Config
from fcn_jax.disk import REMEDY
from fcn_jax.train.checkpoint import Checkpoints, checksum
from fcn_jax.train.setup import prepare
from fcn_jax.train.state import TrainState
from fcn_jax.train.summary import describe_versions
from fcn_jax.train.writer import read_metrics

ROOT = Path(__file__).parents[1]
EVERY_STEPS, EPOCHS = 4, 12
FIELDS = (f"--config.train.epochs={EPOCHS}", "--config.train.log_every_steps=1", "--config.model.channels=(4,8,8)")
MOMENTS = ("compilation", "a step", "a save")


@dataclass
class Tally:
    """A row of the table."""

    fault: str
    injected: int = 0
    survived: int = 0
    seconds: list[float] = field(default_factory=list)
    """From the fault to the end of the process, where the process has to notice it."""
    repeated: list[int] = field(default_factory=list)
    """Steps done twice."""

    def row(self) -> str:
        slowest = f"{max(self.seconds):.1f}" if self.seconds else "–"
        most = f"{max(self.repeated)}" if self.repeated else "–"
        return f"| {self.fault} | {self.injected} | {self.survived} | {slowest} | {most} |"


@dataclass
class Bench:
    """Where runs are made, and how they have to end."""

    folder: Path
    random: random.Random
    target: TrainState
    expected: str = ""
    """Checksum of the undisturbed run's end."""
    seconds_to_compile: float = 0.0
    """With an empty cache."""
    seconds_to_train: float = 0.0

    def start(self, workdir: Path, *fields: str) -> subprocess.Popen:
        """A run, or its continuation, in a process of its own; it compiles everything anew with an empty cache."""
        arguments = ["train", f"--config={ROOT / 'configs/mnist.py'}:tiny", f"--workdir={workdir}", *FIELDS]
        cache = [f"--config.machine.cache_dir={self.folder / 'cache'}"]
        fields = (f"--config.checkpoint.every_steps={EVERY_STEPS}", *cache, *fields)
        return subprocess.Popen(
            [sys.executable, "-m", "fcn_jax", *arguments, *fields],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def finish(self, workdir: Path) -> None:
        """Let a run go on to its end, and compare that."""
        process = self.start(workdir)
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert checksum(self.newest(workdir), {}) == self.expected, f"{workdir} ends with other bits"

    def newest(self, workdir: Path) -> TrainState:
        with Checkpoints(workdir / "checkpoints", keep=None) as checkpoints:
            restored = checkpoints.restore_newest(self.target, strict=True)
        assert restored is not None
        return restored.state


def last_step(workdir: Path) -> int:
    """The last that was logged."""
    path = workdir / "metrics.jsonl"
    return max((row["step"] for row in read_metrics(path)), default=0) if path.exists() else 0


def newest_step(workdir: Path) -> int:
    """Of the checkpoints that are whole."""
    folder = workdir / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return max((int(name) for name in names if name.isdigit()), default=0)


def wait_for(bench: Bench, process: subprocess.Popen, workdir: Path, moment: str) -> bool:
    """Wait for a random moment of a kind; returns whether the run was still there then."""
    before, began = last_step(workdir), time.time()
    match moment:
        case "compilation":
            lock = workdir / ".lock"
            while process.poll() is None and not (lock.exists() and lock.read_text() == str(process.pid)):
                time.sleep(0.01)
            time.sleep(bench.random.uniform(0, bench.seconds_to_compile))
        case "a step":
            while process.poll() is None and last_step(workdir) <= max(before, newest_step(workdir)):
                time.sleep(0.002)
            time.sleep(bench.random.uniform(0, bench.seconds_to_train))
        case _:
            saving = bench.random.randint(1, 5)
            while process.poll() is None and saving:
                if is_saving(workdir, since=began):
                    saving -= 1
                    time.sleep(0.01 * (saving > 0))
    return process.poll() is None


def is_saving(workdir: Path, *, since: float) -> bool:
    """Whether there is an unfinished checkpoint that no earlier kill has left."""
    with contextlib.suppress(FileNotFoundError):  # Finished meanwhile.
        return any(path.stat().st_mtime > since for path in workdir.glob("checkpoints/*.orbax-checkpoint-tmp*"))
    return False


def disturb(bench: Bench, number: int, *, with_signal: signal.Signals) -> list[Tally]:
    """Send a signal that often at moments of all kinds, over as many runs as it takes."""
    tallies = [Tally(f"{with_signal.name} during {moment}") for moment in MOMENTS]
    workdir, runs = bench.folder / f"{with_signal.name}_0", 0
    while (done := sum(tally.injected for tally in tallies)) < number:
        tally = tallies[done % len(MOMENTS)]
        moment = MOMENTS[done % len(MOMENTS)]
        # Without a cache every start compiles, long enough to be hit.
        process = bench.start(workdir, *(["--config.machine.cache_dir="] if moment == "compilation" else []))
        was_there = wait_for(bench, process, workdir, moment)
        sent = time.monotonic()
        process.send_signal(with_signal)
        _, said = process.communicate()
        if was_there:
            tally.injected += 1
            tally.repeated.append(last_step(workdir) - newest_step(workdir))
            if with_signal == signal.SIGTERM:
                tally.seconds.append(time.monotonic() - sent)
                assert process.returncode == 0, said
                assert ": resume with the same command" in said or (workdir / "summary.json").exists(), said
            assert tally.repeated[-1] <= EVERY_STEPS, f"{tally.repeated[-1]} steps are lost"
            tally.survived += 1
        if (workdir / "summary.json").exists():
            bench.finish(workdir)
            runs += 1
            workdir = bench.folder / f"{with_signal.name}_{runs}"
        print(f"{done + 1}/{number} {tally.fault}", file=sys.stderr)
    if workdir.exists():
        bench.finish(workdir)
    return tallies


def damage(bench: Bench, number: int, undisturbed: Path) -> list[Tally]:
    """Flip a bit of a random file of the newest checkpoint, or cut it off, and restore."""
    flips, cuts = Tally("a bit of the newest checkpoint flipped"), Tally("a file of the newest checkpoint cut off")
    newest = newest_step(undisturbed)
    for count in range(number):
        tally = (flips, cuts)[count % 2]
        folder = Path(shutil.copytree(undisturbed / "checkpoints", bench.folder / "damaged"))
        files = [path for path in (folder / str(newest)).rglob("*") if path.is_file() and path.stat().st_size]
        # By their size, so that most bits are those of arrays; or any file.
        weights = [path.stat().st_size for path in files] if count % 4 < 2 else None
        (path,) = bench.random.choices(files, weights)
        content = bytearray(path.read_bytes())
        if tally is flips:
            content[bench.random.randrange(len(content))] ^= 1 << bench.random.randrange(8)
        else:
            del content[bench.random.randrange(len(content)) :]
        path.write_bytes(content)
        tally.injected += 1
        with contextlib.redirect_stderr(io.StringIO()), Checkpoints(folder, keep=2) as checkpoints:
            restored = checkpoints.restore_newest(bench.target)
        assert restored is not None
        assert restored.step == newest - EVERY_STEPS or checksum(restored.state, {}) == bench.expected, path
        tally.repeated.append(newest - restored.step)
        tally.survived += 1
        shutil.rmtree(folder)
    return [flips, cuts]


@contextlib.contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill_disks(bench: Bench, number: int, undisturbed: Path) -> Tally:
    """Run on a disk that is too small by a random amount, then give it room."""
    tally = Tally("disk full")
    needed = sum(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file()) // 1024
    for count in range(number):
        folder = bench.folder / f"disk_{count}"
        with small_disk(folder, bench.random.randint(8, needed)):
            workdir = folder / "run"
            process = bench.start(workdir)
            _, said = process.communicate()
            if process.returncode == 0:
                continue
            tally.injected += 1
            assert process.returncode == 2, said
            assert REMEDY in said.strip().splitlines()[-1], said
            assert "Traceback" not in said, said
            tally.repeated.append(last_step(workdir) - newest_step(workdir))
            subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
            bench.finish(workdir)
            tally.survived += 1
        print(f"{count + 1}/{number} disk full", file=sys.stderr)
    return tally


def config_of_runs() -> Config:
    config = get_config("tiny")
    config.train.epochs, config.model.channels = EPOCHS, (4, 8, 8)
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description="Faults in bulk")
    for name, default in (("kills", 100), ("terms", 20), ("damages", 200), ("full_disks", 10), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), random.Random(given.seed), prepare(config_of_runs(), abstract=True).state)
        undisturbed = bench.folder / "undisturbed"
        process = bench.start(undisturbed)
        _, said = process.communicate()
        assert process.returncode == 0, said
        bench.expected = checksum(bench.newest(undisturbed), {})
        bench.seconds_to_compile = json.loads((undisturbed / "summary.json").read_text())["compile_seconds"]
        bench.seconds_to_train = read_metrics(undisturbed / "metrics.jsonl")[-2]["train_seconds"]
        tallies = [
            *disturb(bench, given.kills, with_signal=signal.SIGKILL),
            *disturb(bench, given.terms, with_signal=signal.SIGTERM),
            *damage(bench, given.damages, undisturbed),
            fill_disks(bench, given.full_disks, undisturbed),
        ]
    print_table([tally for tally in tallies if tally.injected], seconds=time.monotonic() - began, given=given)


def print_table(tallies: list[Tally], *, seconds: float, given: argparse.Namespace) -> None:
    flags = " ".join(f"--{name}={value}" for name, value in vars(given).items())
    versions = describe_versions()
    print("# Faults, in bulk\n")
    print(f"`python benchmarks/soak.py {flags}`, {seconds / 60:.0f} minutes on {os.cpu_count()} CPU cores, ", end="")
    print(f"jax {jax.__version__}, commit {versions['git_commit']}.\n")
    print(
        f"Survived: the same command went on, and the run ended with the bits of an undisturbed one; so no example was "
        f"lost or\nseen twice. A checkpoint every {EVERY_STEPS} steps.\n"
    )
    print("| fault | injected | survived | slowest to end, s | most steps repeated |")
    print("|---|---|---|---|---|")
    for tally in tallies:
        print(tally.row())


if __name__ == "__main__":
    main()
