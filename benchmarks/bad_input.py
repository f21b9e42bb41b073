"""A test with thousands of wrong inputs: most in this process, some in processes of their own.

    python benchmarks/bad_input.py [--share=1.0] [--processes=1.0] [--seed=0] [--kind=NAME] [--log=FILE]

In this process the inputs go through the entry function of the program. The generators of inputs are in
tests/bad_input/. The table that is printed goes to benchmarks/bad_input.md. A failure is a traceback, more than 30 s,
more than 2 GiB, a file written elsewhere, or something unpickled; after a failure the exit code is 1.
"""

import argparse
import collections
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.strategies import SearchStrategy

sys.path.insert(0, str(Path(__file__).parents[1]))
from fcn_jax.system.machine import describe_versions
from tests.bad_input.attempt import SECONDS_TO_WAIT, Attempt, Outcome, failure_of, lay_out, run_here
from tests.bad_input.kinds import KINDS
from tests.bad_input.world import ROOT, World

COMMANDS = {
    "flags": 1200, "flags of experiments": 1000, "config values": 2500, "config files": 400, "tables of sizes": 2500,
    "tables of paths": 700, "pictures": 120, "signals": 100, "checkpoints": 120, "workdirs": 200,
    "records of a report": 40, "artifacts": 200, "safetensors": 200,
}  # fmt: skip
"""Number of commands of each kind that run in this process."""
PROCESSES = {
    "flags": 60, "flags of experiments": 20, "config values": 50, "config files": 15, "tables of sizes": 15,
    "tables of paths": 15, "pictures": 5, "signals": 4, "checkpoints": 4, "workdirs": 4, "records of a report": 2,
    "artifacts": 3, "safetensors": 3,
}  # fmt: skip
"""Number of commands of each kind that run in a process of their own; 200 in all."""
SLOW_AND_LARGE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
MOST_GIB = 8
"""Limit of the address space, in GiB. More raises MemoryError, which counts as a failure."""


@dataclass
class Tally:
    """The counts of one kind of input: a row of the table."""

    kind: str
    commands: int = 0
    inputs: int = 0
    codes: collections.Counter[int | None] = field(default_factory=collections.Counter)
    bad_lines: int = 0
    seconds: float = 0.0
    """Seconds of the slowest command."""
    mib: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, attempt: Attempt, outcome: Outcome) -> None:
        self.commands += 1
        self.inputs += attempt.inputs
        self.codes[outcome.code] += 1
        self.bad_lines += outcome.bad_lines
        self.seconds, self.mib = max(self.seconds, outcome.seconds), max(self.mib, outcome.mib)
        if outcome.failure:
            self.failures.append(f"{self.kind}: {attempt!r}: {outcome.failure}")

    def row(self) -> str:
        codes = " | ".join(f"{self.codes[code]:,}" for code in (2, 1, 0))
        most = f"{self.mib:,.0f}" if self.mib else "–"
        return (
            f"| {self.kind} | {self.inputs:,} | {self.commands:,} | {codes} | {self.bad_lines:,} | {self.seconds:.1f} "
            f"| {most} | {len(self.failures)} |"
        )


def drawn(strategy: SearchStrategy[Attempt], number: int, *, seed: int, visit: Callable[[Attempt], None]) -> None:
    """Visit a number of examples of a strategy. The same seed gives the same examples."""

    if not number:
        return

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=number, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=SLOW_AND_LARGE,
    )  # fmt: skip
    @hypothesis.given(strategy)
    def each(attempt: Attempt) -> None:
        visit(attempt)

    each()


def try_here(kind: str, world: World, folder: Path, number: int, *, seed: int, log: Path | None) -> Tally:
    """Run commands of one kind in this process."""
    tally = Tally(kind)

    def visit(attempt: Attempt) -> None:
        outcome = run_here(attempt, folder / "here")
        tally.add(attempt, outcome)
        if log is not None:
            with log.open("a", encoding="utf-8") as file:
                said = " ".join(outcome.said.split())[-300:]
                print(
                    kind,
                    outcome.code,
                    f"{outcome.seconds:.1f}s {outcome.mib:.0f}MiB",
                    outcome.failure,
                    repr(attempt)[:400],
                    said,
                    sep="\t",
                    file=file,
                )

    drawn(KINDS[kind](world), number, seed=seed, visit=visit)
    print(tally.row(), *tally.failures, sep="\n", file=sys.stderr)
    return tally


def try_as_processes(world: World, folder: Path, share: float, *, seed: int) -> Tally:
    """Run commands of all kinds, each in a process of its own."""
    tally = Tally("all kinds, a process each")

    def visit(attempt: Attempt) -> None:
        tally.add(attempt, run_apart(attempt, folder / "apart"))

    for kind, number in PROCESSES.items():
        drawn(KINDS[kind](world), round(share * number), seed=seed, visit=visit)
    print(tally.row(), *tally.failures, sep="\n", file=sys.stderr)
    return tally


def run_apart(attempt: Attempt, folder: Path) -> Outcome:
    """Run an attempt as a user would, in `folder`. The folder must not exist before, and is removed afterwards."""
    beside = sorted(folder.parent.iterdir())
    lay_out(attempt, folder)
    command = [sys.executable, "-m", attempt.program, *map(as_argument, attempt.arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    with tempfile.TemporaryFile() as listed, tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as results:
        listed.write(attempt.listed)
        listed.seek(0)
        process = subprocess.Popen(command, cwd=folder, env=environment, stdin=listed, stdout=results, stderr=errors)
        killer = threading.Timer(SECONDS_TO_WAIT, process.kill)
        killer.start()
        _, status, usage = os.wait4(process.pid, 0)
        killer.cancel()
        code = process.returncode = os.waitstatus_to_exitcode(status)
        said, printed = (_read(stream) for stream in (errors, results))
    seconds, mib = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    shutil.rmtree(folder)
    failure = failure_of(code, said, seconds, mib)
    if sorted(folder.parent.iterdir()) != beside:
        failure = "it writes beside its folder"
    return Outcome(code, said, printed, seconds, mib, failure)


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def as_argument(text: str) -> bytes:
    """Return the text as an argument that a system can pass: no NUL, no lone surrogate, at most 128 KiB."""
    return text.encode(errors="surrogateescape" if "\ud800" not in text else "replace").replace(b"\0", b"?")[
        : 2**17 - 1
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Wrong input in bulk")
    parser.add_argument("--share", type=float, default=1.0, help="share of the commands in this process to run")
    parser.add_argument(
        "--processes", type=float, default=1.0, help="share of the commands in processes of their own to run"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, help="run this kind only")
    parser.add_argument("--log", type=Path, help="file that gets one line per command")
    given = parser.parse_args()
    began = time.monotonic()
    log = given.log and given.log.absolute()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "home/.cache").mkdir(parents=True)
        (folder / "tried").mkdir()
        os.environ["HOME"] = str(folder / "home")
        world = World(folder)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_GIB * 2**30, resource.getrlimit(resource.RLIMIT_AS)[1]))
        tallies = [
            try_here(kind, world, folder / "tried", round(given.share * number), seed=given.seed, log=log)
            for kind, number in COMMANDS.items()
            if given.share and given.kind in (None, kind)
        ]
        if given.processes:
            tallies.append(try_as_processes(world, folder / "tried", given.processes, seed=given.seed))
    print_report(tallies, time.monotonic() - began)
    return any(tally.failures for tally in tallies)


WHAT_COUNTS = """\
It calls the entry functions of the programs in one process, and runs some commands of all kinds in a process each. A
failure is a traceback, more than 30 seconds of the processor or 300 of the clock, more than 2 GiB, a file written
elsewhere, or something unpickled.
"""
LEGEND = """
With exit code 2 one line says what to mend. With 1 some files of a command were bad. With 0 the input was right after
all, or a report or a prediction did not need what was spoiled. Bad examples are those that got a JSON line with
`error`. The seconds are CPU time of the slowest command. The MiB are resident memory, with JAX and with whatever the
process did before."""


def print_report(tallies: list[Tally], seconds: float) -> None:
    versions = describe_versions()
    inputs, failures = sum(tally.inputs for tally in tallies), [line for tally in tallies for line in tally.failures]
    print("# Wrong input, in bulk\n")
    print(f"`python {' '.join(sys.argv)}`: {inputs:,} inputs in {seconds / 60:.0f} minutes, {len(failures)} failures.")
    print(WHAT_COUNTS)
    print("| kind | inputs | commands | exit 2 | exit 1 | exit 0 | bad examples | slowest s | largest MiB | failures |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    print(*(tally.row() for tally in tallies), *failures, sep="\n")
    print(LEGEND)
    print(f"\n{', '.join(f'{name} {version}' for name, version in versions['versions'].items())}; {versions['device']}")


if __name__ == "__main__":
    sys.exit(main())
