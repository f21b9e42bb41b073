"""The commands: each reads its flags and calls one function; an error is one line and exit code 2.

Results go to standard output, everything else to standard error. Each command imports JAX by itself, so that help
needs none.
"""

import errno
import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fcn_jax.command_line import HELP, CommandLine, HelpAsked
from fcn_jax.config import Config, UserError
from fcn_jax.config_rules import validate
from fcn_jax.nets.families import FCN
from fcn_jax.system.console import accept_any_text, complain, say, silence_closed_output
from fcn_jax.system.machine import draw_without_window, find_devices, import_libraries, keep_freed_memory
from fcn_jax.system.stopping import Stopped, stop_on_sigterm

if TYPE_CHECKING:
    from fcn_jax.inference.averaging import Averaging

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk. Whatever else is written names its file in a `UserError`; only standard output does not."""
OF_A_RUN = ("evaluate", "predict", "cam", "export", "report")
"""The commands that take the config of a run, not --config."""
CHECKPOINT = {"checkpoint": "the state to use: best, last or the number of a step; else the best if the run kept one"}
AVERAGING = {
    "average_scales": "average the answers at these scales, such as 0.8,1,1.25; else as the config says",
    "flip": "none, mirrored or both: average over an image and its mirror image; else as the config says",
}
STRICT = {"strict": "refuse a damaged newest checkpoint, instead of using the one before it"}


def main(argv: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        The exit code: 0; 1 if some input failed; 2 for a `UserError`, which is printed as one line. Any other exception
        is a bug of this code and is raised.
    """
    accept_any_text()
    if len(argv) < 2 or argv[1] not in (*COMMANDS, *HELP, "help"):
        found = f"there is no command {argv[1]!r}" if len(argv) > 1 else "no command given"
        say(f"python -m fcn_jax: {found}; the commands are:")
        for line in _commands():
            say(line)
        return 2
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        silence_closed_output()
        return 1
    except Stopped as stopped:
        say(str(stopped))
        return 0
    except UserError as error:
        _wait_for_the_lost()
        complain(f"python -m fcn_jax {argv[1]}: {_advice_of(argv[1], ' '.join(str(error).split()))}")
        return 2
    except Exception as error:
        _wait_for_the_lost()
        if not (isinstance(error, OSError) and error.errno in FULL):
            raise
        silence_closed_output()
        complain(f"python -m fcn_jax {argv[1]}: standard output cannot be written ({error.strerror}): make room")
        return 2


def _run(argv: Sequence[str]) -> int:
    """Run a command, or print the help that is asked for; return the exit code."""
    if argv[1] not in COMMANDS:
        print("\n".join(["python -m fcn_jax COMMAND; COMMAND --help lists its flags; the commands are:", *_commands()]))
        return 0
    keep_freed_memory()
    draw_without_window()
    try:
        return COMMANDS[argv[1]](list(argv[1:])) or 0
    except HelpAsked as flags:
        print(f"python -m fcn_jax {argv[1]}: {COMMANDS[argv[1]].__doc__}\n{flags}")
        return 0


def _advice_of(command: str, message: str) -> str:
    """Return the message of an error; if it advises a flag that the command does not take, say which command does.

    Of the config of a run, the views are flags of evaluate and predict.
    """
    if command in ("evaluate", "predict"):
        message = re.sub(rf"config\.evaluate\.({'|'.join(AVERAGING)})\b", r"--\1", message)
    if command in OF_A_RUN and re.search(r"--config\.\w|\bset config\.|\bleave config\.", message):
        return f"{message} ({command} takes the config of the run: such a flag is for train)"
    return message


def _wait_for_the_lost() -> None:
    """Let JAX end this process, if a lost process is the cause of the error."""
    if "jax" in sys.modules:
        from fcn_jax.system.processes import wait_for_the_lost

        wait_for_the_lost()


def _commands() -> list[str]:
    """Return one line for each command."""
    return [f"  {name:<10}{command.__doc__}" for name, command in COMMANDS.items()]


def shapes(argv: list[str]) -> None:
    """Print the size and the parameters of every layer: --config=FILE --size=28x16"""
    import_libraries("jax")
    from fcn_jax.core.geometry import parse_size
    from fcn_jax.nets.model import format_shapes, trace_shapes

    line = CommandLine(argv, texts={"size": "HEIGHTxWIDTH, or a LENGTH"}, takes_config=True)
    config, size = line.config, parse_size(line.text("size"))
    validate(config)
    find_devices()
    print(format_shapes(config, size, trace_shapes(config, size)))


def plan(argv: list[str]) -> None:
    """Print the buckets of a data set: --config=FILE, or --sizes=FILE.csv [--max_buckets=N] [--resize=area:256]"""
    import_libraries("jax", "matplotlib")
    from fcn_jax.commands.plan import plan_of_config, plan_of_table, report_plans

    line = CommandLine(
        argv,
        texts={
            "sizes": "a CSV of height,width,count",
            "resize": "resize rule, as in config.data.resize",
            "out": "folder for plan.json and plan.png",
        },
        numbers={
            "max_buckets": "largest number of buckets; 0: choose it",
            "multiple_of": "sides of buckets are multiples of this",
            "examples_per_step": "examples of a step",
        },
        takes_config=True,
    )
    table, out = line.path("sizes"), line.folder("out") if line.given("out") else None
    if line.given("config") == (table is not None):
        raise UserError("give either --config=FILE or --sizes=FILE.csv")
    config = Config(model=FCN()) if table else line.config
    for name in ("max_buckets", "multiple_of", "examples_per_step"):
        number = line.number(name)
        if number is not None:
            setattr(config.schedule, name, number)
    if line.given("resize"):
        config.data.resize = line.text("resize")
    validate(config)
    if not table:
        find_devices()
    planned, note = ([plan_of_table(table, config)], "") if table else plan_of_config(config)
    report_plans(planned, note=note, multiple_of=config.schedule.multiple_of, out=out)


def compile_(argv: list[str]) -> None:
    """Compile all programs, print their needs: --config=FILE [--target=gpu:h100:8] [--sizes=FILE.csv] [--out=DIR]"""
    import_libraries("jax")
    from fcn_jax.commands.compile import report_programs

    texts = {
        "target": "TPUs or GPUs to compile for, such as tpu:v5e:4x4 or gpu:h100:8; this machine need not have them",
        "sizes": "a CSV of height,width,count instead of the data",
        "out": "folder for compile.json",
    }
    line = CommandLine(argv, texts=texts, takes_config=True)
    target = line.text("target") if line.given("target") else None
    out = line.folder("out") if line.given("out") else None
    if target is None:
        find_devices()
    report_programs(line.config, target=target, sizes=line.path("sizes"), out=out)


def train(argv: list[str]) -> None:
    """Train a net, or resume it: --config=FILE --workdir=DIR [--config.a.b=value] [--strict] [--profile=DIR]"""
    texts = {"workdir": "folder of the run", "profile": "folder for a profile of five steps"}
    line = _cluster_line(argv, texts=texts, takes_config=True)
    config, workdir = line.config, line.needed_path("workdir")
    profile = line.folder("profile") if line.given("profile") else None
    with stop_on_sigterm() as stop:
        import_libraries("jax", "matplotlib")
        from fcn_jax.commands.train import train
        from fcn_jax.system.processes import is_first
        from fcn_jax.system.stopping import of_all
        from fcn_jax.train.log import format_summary

        _join(line)
        summary = train(config, workdir, strict=line.switch("strict"), stop=of_all(stop), profile=profile)
        if is_first():
            print(format_summary(summary))


def evaluate(argv: list[str]) -> None:
    """Evaluate a trained net, one JSON line per scale: --workdir=DIR [--split=test] [--scale=0.5,1] [--out=DIR]"""
    import_libraries("jax", "matplotlib")
    from fcn_jax.commands.evaluate import evaluate_run
    from fcn_jax.inference.averaging import parse_scales
    from fcn_jax.system.processes import is_first

    line = _cluster_line(
        argv,
        texts={
            "workdir": "folder of the run",
            **CHECKPOINT,
            "split": "split to evaluate, such as test or validation[:100]",
            "data": "other data, such as folder:DIR or table:FILE.csv; classes are matched by name",
            "scale": "test scales, such as 0.5,1,2",
            **AVERAGING,
            "temperature": "fit: fit it on validation and keep it, so that probabilities are honest; none: forget it",
            "out": "folder for the page, evaluation.json and predictions.csv",
        },
        switches={"near_duplicates": "show examples that look nearly like one of train on the page"},
    )
    split = line.text("split") if line.given("split") else None
    data = line.text("data") if line.given("data") else None
    scales = parse_scales(line.text("scale"), flag="scale") if line.given("scale") else ()
    workdir, out = line.needed_path("workdir"), line.folder("out") if line.given("out") else None
    command = f"python -m fcn_jax {shlex.join(argv)}"
    _join(line)
    for row in evaluate_run(
        workdir,
        split=split,
        data=data,
        scales=scales,
        average=_averaging(line),
        temperature=line.text("temperature") if line.given("temperature") else None,
        near_duplicates=line.switch("near_duplicates"),
        out=out,
        command=command,
        which=_checkpoint(line),
        strict=line.switch("strict"),
    ):
        if is_first():
            print(json.dumps(row), flush=True)


def predict(argv: list[str]) -> int:
    """Classify files of any size, one JSON line per file: --workdir=DIR PATH... (or --artifact=FILE) [--format=csv]"""
    import_libraries("jax")
    from fcn_jax.commands.predict import predict_paths

    texts = {
        "workdir": "folder of the run",
        "artifact": "file that export wrote",
        "format": "json or csv",
        **AVERAGING,
        **CHECKPOINT,
    }
    line = _cluster_line(argv, texts=texts, takes_paths=True)
    form = line.text("format") if line.given("format") else "json"
    workdir, artifact = line.path("workdir"), line.path("artifact")
    _join(line)
    failed = predict_paths(
        line.paths,
        workdir=workdir,
        artifact=artifact,
        form=form,
        average=_averaging(line),
        which=_checkpoint(line),
        strict=line.switch("strict"),
    )
    return 1 if failed else 0


def _checkpoint(line: CommandLine) -> str | None:
    return line.text("checkpoint") if line.given("checkpoint") else None


def _averaging(line: CommandLine) -> "Averaging":
    from fcn_jax.inference.averaging import Averaging, parse_scales

    scales = line.text("average_scales") if line.given("average_scales") else None
    return Averaging(
        scales=parse_scales(scales, flag="average_scales") if scales else None,
        flip=line.text("flip") if line.given("flip") else None,
    )


def _cluster_line(
    argv: list[str],
    *,
    texts: dict[str, str],
    switches: dict[str, str] | None = None,
    takes_config: bool = False,
    takes_paths: bool = False,
) -> CommandLine:
    """Read the command line of a command that uses a checkpoint and can run as several processes."""
    return CommandLine(
        argv,
        texts={**texts, "coordinator": "HOST:PORT of the first of several processes"},
        numbers={"num_processes": "number of processes", "process_id": "number of this process, from 0"},
        switches={**STRICT, **(switches or {})},
        takes_config=takes_config,
        takes_paths=takes_paths,
    )


def _join(line: CommandLine) -> None:
    """Join the other processes, if there are any, and find the devices."""
    from fcn_jax.system.processes import join_cluster

    coordinator = line.text("coordinator") if line.given("coordinator") else None
    join_cluster(coordinator, line.number("num_processes"), line.number("process_id"))
    find_devices()


def cam(argv: list[str]) -> int:
    """Draw the score of a class at each place of files: --workdir=DIR --out=DIR PATH... [--label=NAME]"""
    import_libraries("jax", "matplotlib")
    from fcn_jax.commands.cam import draw_maps

    texts = {
        "workdir": "folder of the run",
        "out": "folder for the pictures",
        "label": "class whose map is drawn",
        **CHECKPOINT,
    }
    line = CommandLine(argv, texts=texts, takes_paths=True)
    label = line.text("label") if line.given("label") else None
    workdir, out = line.needed_path("workdir"), line.folder("out")
    find_devices()
    failed = draw_maps(line.paths, workdir=workdir, out=out, label_name=label, which=_checkpoint(line))
    return 1 if failed else 0


def export(argv: list[str]) -> None:
    """Write a trained net to one file, for any batch, height and width: --workdir=DIR --out=FILE [--format=onnx]"""
    import_libraries("jax")
    from fcn_jax.commands.export import export_workdir

    texts = {"workdir": "folder of the run", "out": "file to write", "format": "stablehlo or onnx", **CHECKPOINT}
    line = CommandLine(argv, texts=texts, switches=STRICT)
    form = line.text("format") if line.given("format") else "stablehlo"
    workdir, out = line.needed_path("workdir"), line.file("out")
    find_devices()
    print(export_workdir(workdir, out, form=form, which=_checkpoint(line), strict=line.switch("strict")))


def report(argv: list[str]) -> None:
    """Write one page about a run, from its files alone: --workdir=DIR"""
    import_libraries("jax", "matplotlib")
    from fcn_jax.reports.run_page import write_report

    line = CommandLine(argv, texts={"workdir": "folder of the run"})
    print(write_report(line.needed_path("workdir")))


COMMANDS: dict[str, Callable[[list[str]], int | None]] = {
    "shapes": shapes,
    "plan": plan,
    "compile": compile_,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "cam": cam,
    "export": export,
    "report": report,
}
