"""What anyone types to repeat a run or to use its net, and the config file that repeats it."""

import shlex
from pathlib import Path

from fcn_jax.config import Config
from fcn_jax.config_fields import changes_result, flatten
from fcn_jax.use.report.files import RunFiles

CONFIG_FILE = "again.py"
HEADS_WITH_MAPS = ("average_last", "average_first")
"""Of nets that `cam` can draw."""


def changed_fields(config: Config) -> dict[str, tuple[object, object]]:
    """{field: (its value, the default)} where they differ."""
    default = flatten(Config())
    return {path: (value, default[path]) for path, value in flatten(config).items() if value != default[path]}


def launch_file(config: Config) -> str:
    """A file for --config that gives this config, less what belongs to the machine."""
    changed = {path: value for path, (value, _) in changed_fields(config).items() if changes_result(path)}
    lines = [f"    config.{path} = {value!r}\n" for path, value in changed.items()]
    return (
        "from fcn_jax.config import Config\n\n\ndef get_config(argument: str = '') -> Config:\n    config = Config()\n"
        f"{''.join(lines)}    return config\n"
    )


def commands_to_repeat(files: RunFiles) -> str:
    """The same code, and the same config in a new workdir."""
    commit = files.summary.git_commit.removesuffix("-dirty") if files.summary else ""
    checkout = f"git checkout {commit}\n" if commit else ""
    again = Path(f"{files.workdir}-again")
    return f"{checkout}python -m fcn_jax train --config={CONFIG_FILE} {_workdir(again)}"


def commands_to_use(files: RunFiles) -> str:
    """What can be done with the newest checkpoint; nothing without one."""
    if not files.checkpoints:
        return ""
    workdir = _workdir(files.workdir)
    page = shlex.quote(f"--out={files.workdir / 'test'}")
    commands = [f"evaluate {workdir} --split=test {page}", f"predict {workdir} PATH..."]
    if files.config is not None and files.config.model.head in HEADS_WITH_MAPS:
        commands.append(f"cam {workdir} --out=maps PATH...")
    commands.append(f"export {workdir} --out=net.bin")
    return "\n".join(f"python -m fcn_jax {command}" for command in commands)


def _workdir(workdir: Path) -> str:
    return shlex.quote(f"--workdir={workdir}")
