"""A mistake of the user's is one line and exit code 2."""

import pytest

from experiments.__main__ import main
from experiments.ablations import ABLATIONS

WRONG = {
    "nothing": ([], "required: list, run, report or check"),
    "no such command": (["fly"], "invalid choice: 'fly'"),
    "no name": (["run"], "required: name"),
    "no such ablation": (["run", "batchs"], "there is no ablation 'batchs'; there are: batches, variable_sizes"),
    "report of no such ablation": (["report", "nothing"], "there is no ablation 'nothing'"),
    "check of no such ablation": (["check", "nothing"], "there is no ablation 'nothing'"),
    "report of what": (["report"], "either the name of an ablation or --all"),
    "report of too much": (["report", "batches", "--all"], "either the name of an ablation or --all"),
    "no number": (["run", "batches", "--jobs", "two"], "invalid int value: 'two'"),
    "no jobs": (["run", "batches", "--jobs", "0"], "--jobs is 0"),
    "jobs that falsify time": (["run", "buckets", "--jobs", "2"], "buckets measures time"),
    "no jobs here": (["check", "batches", "--jobs", "0"], "--jobs is 0"),
    "no such launcher": (["run", "batches", "--launcher=cloud"], "invalid choice: 'cloud'"),
    "options for nobody": (["run", "batches", "--sbatch=--partition=gpu"], "give --launcher=slurm too"),
    "no options": (["run", "batches", "--launcher=slurm", "--sbatch=partition=gpu"], "--sbatch has 'partition=gpu'"),
    "jobs that take time": (
        ["run", "buckets", "--launcher=slurm"],
        "buckets measures time, and the nodes of a cluster may differ",
    ),
    "no seeds": (["run", "batches", "--seeds", "a,b"], "--seeds is 'a,b'"),
    "a seed twice": (["run", "batches", "--seeds", "1,1"], "--seeds is '1,1'"),
    "unknown flag": (["list", "--fast"], "unrecognized arguments: --fast"),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line(arguments, said, capfd):
    assert main(arguments) == 2
    printed = capfd.readouterr()
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


def test_list_shows_every_ablation(capfd):
    assert main(["list"]) == 0
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == list(ABLATIONS)


def test_a_dry_run_runs_nothing_and_tells_the_time(capfd):
    assert main(["run", "head_order", "--dry_run", "--seeds", "91,92"]) == 0
    assert "8 runs, about" in capfd.readouterr().out
