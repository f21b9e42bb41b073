"""The commands: flags in, one function called, errors as one line and exit code 2.

Results stand on standard output, everything else on standard error. JAX is imported by the commands that need it.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fcn_jax.command_line import CommandLine
from fcn_jax.config import Config
from fcn_jax.config_rules import validate
from fcn_jax.console import say
from fcn_jax.disk import DISK_ERRORS, REMEDY
from fcn_jax.memory import keep_freed_memory
from fcn_jax.train.stopping import Stopped, stop_on_sigterm

STRICT = {"strict": "refuse a damaged newest checkpoint, rather than use the one before it"}


def main(argv: Sequence[str]) -> int:
    """Run one command line; returns the exit code: 0, 1 where some input failed, 2 for what the user has to mend."""
    if len(argv) < 2 or argv[1] not in COMMANDS:
        found = f"there is no command {argv[1]!r}" if len(argv) > 1 else "no command given"
        say(f"python -m fcn_jax: {found}; the commands are:")
        for name, command in COMMANDS.items():
            say(f"  {name:<10}{command.__doc__}")
        return 2
    keep_freed_memory()
    try:
        code = COMMANDS[argv[1]](list(argv[1:])) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever reads has seen enough, as `head` has; what Python still writes at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Stopped as stopped:
        say(str(stopped))
        return 0
    except ValueError as error:
        return _refuse(argv[1], str(error))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        return _refuse(argv[1], f"{error}: {REMEDY}")


def _refuse(command: str, reason: str) -> int:
    say(f"python -m fcn_jax {command}: {' '.join(reason.split())}")
    return 2


def shapes(argv: list[str]) -> None:
    """Size and parameters of every layer: --config=FILE --size=28x16"""
    from fcn_jax.geometry import parse_size
    from fcn_jax.models.model import format_shapes, trace_shapes

    line = CommandLine(argv, texts={"size": "HEIGHTxWIDTH, or a LENGTH"}, takes_config=True)
    config, size = line.config, parse_size(line.text("size"))
    validate(config)
    print(format_shapes(config, size, trace_shapes(config, size)))


def plan(argv: list[str]) -> None:
    """The buckets of a data set: --config=FILE, or a table: --sizes=FILE.csv [--max_buckets=N] [--resize=area:256]"""
    from fcn_jax.use.plan_command import plan_of_config, plan_of_table, report_plans

    line = CommandLine(
        argv,
        texts={
            "sizes": "a CSV of height,width,count",
            "resize": "rule as config.data.resize",
            "out": "folder for plan.json and plan.png",
        },
        numbers={"max_buckets": "plan at most so many buckets", "multiple_of": "sides are multiples of this"},
        takes_config=True,
    )
    table = line.path("sizes")
    if line.given("config") == (table is not None):
        raise ValueError("give either --config=FILE or --sizes=FILE.csv")
    config = Config() if table else line.config
    for name in ("max_buckets", "multiple_of"):
        number = line.number(name)
        if number is not None:
            setattr(config.schedule, name, number)
    if line.given("resize"):
        config.data.resize = line.text("resize")
    validate(config)
    planned, note = ([plan_of_table(table, config)], "") if table else plan_of_config(config)
    report_plans(planned, note=note, multiple_of=config.schedule.multiple_of, out=line.path("out"))


def compile_(argv: list[str]) -> None:
    """Compile every program, with seconds and memory: --config=FILE [--out=DIR]"""
    from fcn_jax.use.compile_command import report_programs

    line = CommandLine(argv, texts={"out": "folder for compile.json"}, takes_config=True)
    report_programs(line.config, out=line.path("out"))


def train(argv: list[str]) -> None:
    """Train, or resume: --config=FILE --workdir=DIR [--config.a.b=value] [--strict]"""
    line = CommandLine(argv, texts={"workdir": "folder of the run"}, switches=STRICT, takes_config=True)
    with stop_on_sigterm() as stop:
        from fcn_jax.train.loop import train
        from fcn_jax.train.summary import format_summary

        summary = train(line.config, Path(line.text("workdir")), strict=line.switch("strict"), stop=stop)
    print(format_summary(summary))


def evaluate(argv: list[str]) -> None:
    """Evaluate the newest checkpoint, one JSON line: --workdir=DIR [--split=test] [--strict]"""
    from fcn_jax.train.evaluate import evaluate_workdir

    texts = {"workdir": "folder of the run", "split": "such as test or validation[:100]"}
    line = CommandLine(argv, texts=texts, switches=STRICT)
    split = line.text("split") if line.given("split") else "test"
    print(json.dumps(evaluate_workdir(Path(line.text("workdir")), split=split, strict=line.switch("strict"))))


def predict(argv: list[str]) -> int:
    """Label files of any size, a JSON line each: --workdir=DIR PATH... (or --artifact=FILE) [--format=csv]"""
    from fcn_jax.use.predict_command import predict_paths

    texts = {"workdir": "folder of the run", "artifact": "what export wrote", "format": "json or csv"}
    line = CommandLine(argv, texts=texts, switches=STRICT, takes_paths=True)
    form = line.text("format") if line.given("format") else "json"
    failed = predict_paths(
        line.paths,
        workdir=line.path("workdir"),
        artifact=line.path("artifact"),
        form=form,
        strict=line.switch("strict"),
    )
    return 1 if failed else 0


def export(argv: list[str]) -> None:
    """One file of a trained net, for any batch, height and width: --workdir=DIR --out=FILE"""
    from fcn_jax.use.export import export_workdir

    line = CommandLine(argv, texts={"workdir": "folder of the run", "out": "file to write"}, switches=STRICT)
    print(export_workdir(Path(line.text("workdir")), Path(line.text("out")), strict=line.switch("strict")))


COMMANDS: dict[str, Callable[[list[str]], int | None]] = {
    "shapes": shapes,
    "plan": plan,
    "compile": compile_,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
}
