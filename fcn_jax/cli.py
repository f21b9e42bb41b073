"""The commands: flags in, one function called, errors as one line and exit code 2.

Results stand on standard output, everything else on standard error. JAX is imported by the commands that need it.
"""

import ctypes
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from fcn_jax.config import Config, validate
from fcn_jax.console import say


def main(argv: Sequence[str]) -> int:
    """Run one command line; returns the exit code: 0, or 2 for a mistake of the user's."""
    if len(argv) < 2 or argv[1] not in COMMANDS:
        found = f"there is no command {argv[1]!r}" if len(argv) > 1 else "no command given"
        say(f"python -m fcn_jax: {found}; the commands are: {', '.join(COMMANDS)}")
        return 2
    _keep_freed_memory()
    try:
        COMMANDS[argv[1]](list(argv[1:]))
    except ValueError as error:
        say(f"python -m fcn_jax {argv[1]}: {' '.join(str(error).split())}")
        return 2
    return 0


def shapes(argv: list[str]) -> None:
    """Size and parameters of every layer."""
    from fcn_jax.geometry import parse_size
    from fcn_jax.models.model import format_shapes, trace_shapes

    values = flags.FlagValues()
    flags.DEFINE_string("size", None, "HEIGHTxWIDTH, or a LENGTH", flag_values=values)
    config = _parse(values, argv, config=True, required=("size",))
    size = parse_size(values["size"].value)
    validate(config)
    print(format_shapes(config, size, trace_shapes(config, size)))


def plan(argv: list[str]) -> None:
    """The buckets of a data set or of a table of sizes."""
    from fcn_jax.use.plan_command import plan_of_config, plan_of_table, report_plan

    values = flags.FlagValues()
    flags.DEFINE_string("sizes", None, "a CSV of height,width,count", flag_values=values)
    flags.DEFINE_integer("max_buckets", None, "plan at most so many buckets", flag_values=values)
    flags.DEFINE_integer("multiple_of", None, "sides are multiples of this", flag_values=values)
    flags.DEFINE_string("out", None, "folder for plan.json and plan.png", flag_values=values)
    config = _parse(values, argv, config=True, required=())
    if ("config" in _given(values)) == (values["sizes"].value is not None):
        raise ValueError("give either --config=FILE or --sizes=FILE.csv")
    if values["max_buckets"].value is not None:
        config.schedule.max_buckets = values["max_buckets"].value
    if values["multiple_of"].value is not None:
        config.schedule.multiple_of = values["multiple_of"].value
    validate(config)
    table = values["sizes"].value
    planned = plan_of_table(Path(table), config) if table else plan_of_config(config)
    report_plan(planned, out=Path(values["out"].value) if values["out"].value else None)


def compile_(argv: list[str]) -> None:
    """Compile every program of a config."""
    from fcn_jax.train.compile import report_programs

    values = flags.FlagValues()
    flags.DEFINE_string("out", None, "folder for compile.json", flag_values=values)
    config = _parse(values, argv, config=True)
    report_programs(config, out=Path(values["out"].value) if values["out"].value else None)


def train(argv: list[str]) -> None:
    """Train, or resume."""
    from fcn_jax.train.loop import train
    from fcn_jax.train.summary import format_summary

    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    config = _parse(values, argv, config=True, required=("workdir",))
    print(format_summary(train(config, Path(values["workdir"].value))))


def evaluate(argv: list[str]) -> None:
    """Evaluate the newest checkpoint of a run."""
    from fcn_jax.train.evaluate import evaluate_workdir

    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    flags.DEFINE_string("split", "test", "train, validation, test, or a part of one", flag_values=values)
    _parse(values, argv, required=("workdir",))
    print(json.dumps(evaluate_workdir(Path(values["workdir"].value), split=values["split"].value)))


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "shapes": shapes,
    "plan": plan,
    "compile": compile_,
    "train": train,
    "evaluate": evaluate,
}


def _parse(
    values: flags.FlagValues, argv: list[str], *, config: bool = False, required: tuple[str, ...] = ("config",)
) -> Config:
    """Parse flags into `values`; returns the config that --config and its overrides make, or the default one.

    Raises:
        ValueError: in one line, whatever absl and ml_collections say in many.
    """
    if config:
        config_flags.DEFINE_config_file("config", None, "a file with get_config()", flag_values=values, sys_argv=argv)
        required = ("config", *required) if "sizes" not in values else required
    try:
        rest = values(argv)
    except flags.Error as error:
        raise ValueError(str(error)) from error
    except (AttributeError, KeyError, TypeError, OSError, ImportError, SyntaxError) as error:
        raise ValueError(f"--config cannot be read: {error}") from error
    if len(rest) > 1:
        raise ValueError(f"{rest[1]!r} is not a flag; flags are of the form --name=value")
    for name in required:
        if values[name].value is None:
            raise ValueError(f"--{name} is missing")
    made = values["config"].value if config else None
    if made is not None and not isinstance(made, Config):
        raise ValueError(f"get_config() of --config returns {type(made).__name__}, but it must return a Config")
    return made or Config()


def _given(values: flags.FlagValues) -> set[str]:
    return {name for name in values if values[name].present}


def _keep_freed_memory() -> None:
    """Let glibc keep large freed buffers: fresh pages for every step cost up to a third of a step on CPU."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            mmap_threshold, trim_threshold, largest = -3, -1, 2**31 - 1
            libc.mallopt(mmap_threshold, largest)
            libc.mallopt(trim_threshold, largest)
