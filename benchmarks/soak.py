"""A test with hundreds of faults: kills, signals to stop, lost processes, damaged checkpoints and full disks.

    python benchmarks/soak.py [--kills=100] [--terms=20] [--losses=8] [--damages=200] [--full_disks=10] [--seed=0]
        [--minutes=600]  # no fault is injected after this time

Every run is `configs/mnist.py:tiny` with longer training and a checkpoint every 4 steps. Its final state is compared
bit by bit with that of an undisturbed run. The table that is printed goes to benchmarks/soak.md. Full disks need
`mount`, that is, root.
"""

import argparse
import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.soak_runs import EVERY_STEPS, MOMENTS, Bench, Tally, last_step, newest_step, wait_for
from fcn_jax.system.disk import MAKE_ROOM
from fcn_jax.system.machine import describe_versions
from fcn_jax.system.processes import WHO_IS_LOST
from fcn_jax.train.checkpoint import Checkpoints, checksum

MOST_REPEATED = 2 * EVERY_STEPS
"""While a run writes a checkpoint it trains on, as far as the next one."""
DEFAULTS = {"kills": 100, "terms": 20, "losses": 8, "damages": 200, "full_disks": 10, "seed": 0, "minutes": 600}
SECONDS_TO_END = 30
"""At most, for a process that is told to stop."""
SECONDS_TO_NOTICE = 60
"""At most, for a process that has lost another."""


def disturb(bench: Bench, number: int, *, with_signal: signal.Signals) -> None:
    """Send a signal `number` times, at moments of all kinds, in as many runs as that takes."""
    tallies = [bench.tally(f"{with_signal.name} during {moment}") for moment in MOMENTS]
    workdir, runs = bench.folder / f"{with_signal.name}_0", 0
    while (done := sum(tally.injected for tally in tallies)) < number and not bench.is_over:
        tally = tallies[done % len(MOMENTS)]
        moment = MOMENTS[done % len(MOMENTS)]
        # Without a cache every start compiles, which takes long enough for the signal to hit it.
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
                assert tally.seconds[-1] < SECONDS_TO_END, said
                assert process.returncode == 0, said
                assert ": resume with the same command" in said or (workdir / "summary.json").exists(), said
            assert tally.repeated[-1] <= MOST_REPEATED, f"{tally.repeated[-1]} steps are lost"
            tally.survived += 1
        if (workdir / "summary.json").exists():
            bench.finish(workdir)
            runs += 1
            workdir = bench.folder / f"{with_signal.name}_{runs}"
        print(f"{done + 1}/{number} {tally.fault}", file=sys.stderr)
    if workdir.exists():
        bench.finish(workdir)


def lose(bench: Bench, number: int) -> None:
    """Kill or stop one of two processes `number` times, during a step or a save. The other process has to notice."""
    tallies = [bench.tally(f"one of two processes {lost}") for lost in ("killed", "stopped (SIGSTOP)")]
    workdir, runs = bench.folder / "lost_0", 0
    while (done := sum(tally.injected for tally in tallies)) < number and not bench.is_over:
        tally, how = tallies[done % 2], (signal.SIGKILL, signal.SIGSTOP)[done % 2]
        processes, lost = bench.start_all(workdir, 2), done // 2 % 2
        if wait_for(bench, processes[0], workdir, bench.random.choice(MOMENTS[1:])):
            before = newest_step(workdir)
            sent, left = time.monotonic(), processes.pop(1 - lost)
            processes[0].send_signal(how)
            _, said = left.communicate()
            tally.injected += 1
            tally.seconds.append(time.monotonic() - sent)
            assert tally.seconds[-1] < SECONDS_TO_NOTICE, said
            assert left.returncode == -signal.SIGABRT, said
            assert WHO_IS_LOST in said, said
            assert ("The following tasks are unhealthy" in said) == (lost == 1), said
            tally.repeated.append(last_step(workdir) - newest_step(workdir))
            assert tally.repeated[-1] <= EVERY_STEPS, f"{tally.repeated[-1]} steps are lost"
            assert newest_step(workdir) >= before, said
            processes[0].kill()
            tally.survived += 1
        for process in processes:
            process.communicate()
        if (workdir / "summary.json").exists():
            bench.finish(workdir, 2)
            runs += 1
            workdir = bench.folder / f"lost_{runs}"
        print(f"{done + 1}/{number} {tally.fault}", file=sys.stderr)
    if workdir.exists():
        bench.finish(workdir, 2)


def damage(bench: Bench, number: int, undisturbed: Path) -> None:
    """Flip a bit of a random file of the newest checkpoint, or cut the file off, and restore."""
    flips = bench.tally("a bit of the newest checkpoint flipped")
    cuts = bench.tally("a file of the newest checkpoint cut off")
    newest = newest_step(undisturbed)
    for count in bench.until_over(number):
        tally = (flips, cuts)[count % 2]
        folder = Path(shutil.copytree(undisturbed / "checkpoints", bench.folder / "damaged"))
        files = [path for path in (folder / str(newest)).rglob("*") if path.is_file() and path.stat().st_size]
        # Half of the files are drawn by size, so that most damage is in arrays; the others are drawn uniformly.
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
        assert restored.step == newest - EVERY_STEPS or checksum(restored.state, {}) == bench.expected[1], path
        tally.repeated.append(newest - restored.step)
        tally.survived += 1
        shutil.rmtree(folder)


@contextlib.contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill_disks(bench: Bench, number: int, undisturbed: Path) -> None:
    """Run on a disk that is too small by a random amount, then make the disk larger and go on."""
    tally = bench.tally("disk full")
    needed = sum(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file()) // 1024
    for count in bench.until_over(number):
        folder = bench.folder / f"disk_{count}"
        with small_disk(folder, bench.random.randint(8, needed)):
            workdir = folder / "run"
            process = bench.start(workdir)
            _, said = process.communicate()
            if process.returncode == 0:
                continue
            tally.injected += 1
            assert process.returncode == 2, said
            assert MAKE_ROOM in said.strip().splitlines()[-1], said
            assert "Traceback" not in said, said
            tally.repeated.append(last_step(workdir) - newest_step(workdir))
            subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
            bench.finish(workdir)
            tally.survived += 1
        print(f"{count + 1}/{number} disk full", file=sys.stderr)


def inject(bench: Bench, given: argparse.Namespace) -> None:
    """Inject all faults, kind by kind."""
    if given.losses:
        bench.run_undisturbed(2)
    undisturbed = bench.run_undisturbed(1)
    disturb(bench, given.kills, with_signal=signal.SIGKILL)
    disturb(bench, given.terms, with_signal=signal.SIGTERM)
    lose(bench, given.losses)
    damage(bench, given.damages, undisturbed)
    fill_disks(bench, given.full_disks, undisturbed)


def main() -> None:
    parser = argparse.ArgumentParser(description="Faults in bulk")
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), random.Random(given.seed), over_at=began + 60 * given.minutes)
        try:
            inject(bench, given)
        finally:  # If a run does not survive, the table shows what was seen until then.
            print_table(bench.tallies, seconds=time.monotonic() - began, given=given)


def print_table(tallies: list[Tally], *, seconds: float, given: argparse.Namespace) -> None:
    flags = " ".join(f"--{name}={value}" for name, value in vars(given).items())
    versions = describe_versions()
    print("# Faults, in bulk\n")
    print(f"`python benchmarks/soak.py {flags}`, {seconds / 60:.0f} minutes on {os.cpu_count()} CPU cores, ", end="")
    print(f"jax {jax.__version__}, commit {versions['git_commit']}.\n")
    print(
        "A run has survived if the same command went on and ended with the bits of an undisturbed run. Then no example "
        "was lost or seen\ntwice; 0 rows were lost. A damaged checkpoint has survived if its own bits were restored, "
        f"or the checkpoint before it.\nThe runs saved a checkpoint every {EVERY_STEPS} steps.\n"
    )
    print("| fault | injected | survived | slowest to end, s | most steps repeated |")
    print("|---|---|---|---|---|")
    for tally in tallies:
        if tally.injected:
            print(tally.row())


if __name__ == "__main__":
    main()
