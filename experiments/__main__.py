"""The command line of the ablations: python -m experiments list | run NAME | report NAME | check NAME.

A mistake of the user ends with one line and exit code 2.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from experiments.ablation import Ablation
from experiments.ablations import ABLATIONS
from experiments.check import check
from experiments.launchers import Launcher, Local
from experiments.report import directory_of, status_lines, write_index, write_report
from experiments.runner import check_jobs, make_runs, missing_runs, print_plan
from experiments.runs import Runs
from experiments.slurm import check_slurm, sbatch_options, slurm
from experiments.words import answer
from fcn_jax.config import UserError
from fcn_jax.system.console import accept_any_text, say, silence_closed_output


class Parser(argparse.ArgumentParser):
    """Raises what argparse would print. `CommandLine` is made for configs: it has no subcommands and no choices."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def main(argv: Sequence[str]) -> int:
    """Run one command line and return the exit code."""
    accept_any_text()
    try:
        code = run(make_parser().parse_args(argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        silence_closed_output()
        return 1
    except UserError as error:
        say(f"python -m experiments: {' '.join(str(error).split())}")
        return 2


def run(arguments: argparse.Namespace) -> int:
    """Run the command that was parsed and return the exit code."""
    match arguments.command:
        case "list":
            return list_command(full=arguments.full)
        case "run":
            return run_command(arguments)
        case "report":
            return report_command(arguments)
        case _:
            ablation, jobs = named(arguments.name), 1 if arguments.jobs is None else arguments.jobs
            check_jobs(ablation, jobs)
            return check(ablation, full=arguments.full, seed=arguments.seed, jobs=jobs)


def make_parser() -> Parser:
    parser = Parser(prog="python -m experiments", description="Ablations that anyone reproduces with one command.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="list, run, report or check")
    add = {
        name: commands.add_parser(name, help=text, description=text)
        for name, text in (
            ("list", "all ablations, and how far they are"),
            ("run", "make the runs that are missing; safe to stop and start again"),
            ("report", "table, plots and page from runs.jsonl"),
            ("check", "make one seed of each arm again, and compare it with what is committed"),
        )
    }
    for command in add.values():
        command.add_argument("--full", action="store_true", help="the full schedule with more seeds")
    for name in ("run", "check"):
        add[name].add_argument("name")
        add[name].add_argument("--jobs", type=int, help="runs at the same time: here 1, under SLURM all, unless given")
    add["run"].add_argument(
        "--dry_run", action="store_true", help="print what would be run, and about how long it takes"
    )
    add["run"].add_argument("--seeds", help="such as 0,1,2, in place of all of the form")
    add["run"].add_argument("--keep", action="store_true", help="leave the workdirs in .cache/experiments")
    add["run"].add_argument(
        "--launcher", choices=("local", "slurm"), default="local", help="processes here, or a job of SLURM for each run"
    )
    add["run"].add_argument(
        "--sbatch", default="", help='what sbatch is told of each job, such as --sbatch="--partition=gpu --time=60"'
    )
    add["report"].add_argument("name", nargs="?")
    add["report"].add_argument("--all", action="store_true", help="every ablation that has a run, and an index page")
    add["check"].add_argument("--seed", type=int, default=0, help="which")
    return parser


def named(name: str) -> Ablation:
    """Return the ablation of this name.

    Raises:
        UserError: there is no such ablation.
    """
    if name not in ABLATIONS:
        raise UserError(f"there is no ablation {name!r}; there are: {', '.join(ABLATIONS)}")
    return ABLATIONS[name]


def parse_seeds(text: str | None) -> list[int] | None:
    """Return the seeds of `0,1,2` as [0, 1, 2]; None stays None.

    Raises:
        UserError: the text has another form, or a seed twice.
    """
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.isdecimal() and len(part) < 10 for part in parts) or len(set(parts)) < len(parts):
        raise UserError(f"--seeds is {text!r}, but it must be different whole numbers such as 0,1,2")
    return [int(part) for part in parts]


def list_command(*, full: bool) -> int:
    lines = status_lines(ABLATIONS.values(), full=full)
    name_width, state_width = (max(len(line[column]) for line in lines) for column in (0, 1))
    for name, state, question in lines:
        print(f"{name:<{name_width}}  {state:<{state_width}}  {question}")
    return 0


def run_command(arguments: argparse.Namespace) -> int:
    ablation, seeds = named(arguments.name), parse_seeds(arguments.seeds)
    launcher = make_launcher(ablation, arguments)
    form, results = ablation.form(full=arguments.full), directory_of(ablation, full=arguments.full)
    rows = Runs(results).read()
    runs = missing_runs(ablation, form, rows, seeds)
    jobs = arguments.jobs
    if jobs is None:
        jobs = 1 if arguments.launcher == "local" else max(len(runs), 1)
    check_jobs(ablation, jobs)
    if arguments.dry_run:
        print_plan(runs, rows, jobs=jobs)
        return 0
    if not runs:
        say(f"{ablation.name} has all its runs: python -m experiments report {ablation.name}")
        return 0
    return make_runs(runs, results, launcher=launcher, jobs=jobs, keep=arguments.keep)


def make_launcher(ablation: Ablation, arguments: argparse.Namespace) -> Launcher:
    """Return the launcher that --launcher and --sbatch ask for.

    Raises:
        UserError: --launcher and --sbatch do not suit the ablation, the machine, or each other.
    """
    match arguments.launcher:
        case "slurm":
            options = sbatch_options(arguments.sbatch)
            check_slurm(ablation)
            return slurm(options)
        case _ if arguments.sbatch:
            raise UserError(f"--sbatch is {arguments.sbatch!r}, but nothing is sent: give --launcher=slurm too")
        case _:
            return Local()


def report_command(arguments: argparse.Namespace) -> int:
    full = arguments.full
    if arguments.all == (arguments.name is not None):
        raise UserError("give either the name of an ablation or --all")
    if not arguments.all:
        results = write_report(named(arguments.name), full=full)
        print(f"{answer(results)}\n{directory_of(results.ablation, full=full) / 'index.html'}")
        return 0
    for ablation in ABLATIONS.values():
        if (directory_of(ablation, full=full) / "runs.jsonl").exists():
            write_report(ablation, full=full)
    print(write_index(ABLATIONS.values(), full=full))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
