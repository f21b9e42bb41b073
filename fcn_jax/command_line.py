"""A command line as a config and named values, or one line that says what is wrong with it."""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import check_path, of_family
from fcn_jax.launch_configs import load_config

HELP = ("--help", "-h")
CONFIG_HELP = "a name such as mnist, or FILE.py, then perhaps :ARGUMENT; --config.a.b=value sets a field"
NO_CONFIG = "--config is missing; give a name such as --config=mnist, or a file such as --config=configs/mnist.py"


class HelpAsked(Exception):
    """Somebody wants to know the flags of a command; the message lists them."""


class CommandLine:
    """The flags of one command.

    Args:
        argv: the command's name, then its flags.
        texts: {name: help} of the flags that take text, beside --config.
        numbers: {name: help} of the flags that take a whole number.
        switches: {name: help} of the flags that are there or not.
        takes_config: whether there are --config=FILE and --config.a.b=value.
        takes_paths: whether paths may stand among the flags.

    Raises:
        HelpAsked: --help is among them.
        UserError: in one line, whatever absl and ml_collections say in many.
    """

    def __init__(
        self,
        argv: list[str],
        *,
        texts: Mapping[str, str],
        numbers: Mapping[str, str] | None = None,
        switches: Mapping[str, str] | None = None,
        takes_config: bool = False,
        takes_paths: bool = False,
    ):
        helps = {"config": CONFIG_HELP} if takes_config else {}
        helps |= {**texts, **(numbers or {}), **(switches or {})}
        if set(argv) & set(HELP):
            raise HelpAsked("\n".join(f"  --{name:<14}{text}" for name, text in helps.items()))
        self._values = flags.FlagValues()
        self._values.set_gnu_getopt(takes_paths)
        for name, text in texts.items():
            flags.DEFINE_string(name, None, text, flag_values=self._values)
        for name, text in (numbers or {}).items():
            flags.DEFINE_integer(name, None, text, flag_values=self._values)
        for name, text in (switches or {}).items():
            flags.DEFINE_boolean(name, False, text, flag_values=self._values)
        self._config: Config | None = None
        try:
            if takes_config:
                argv = self._take_config([argv[0], *self._values.read_flags_from_files(argv[1:], force_gnu=False)])
            _, *self.paths = self._values(argv)
        except flags.UnrecognizedFlagError as error:
            raise UserError(_no_such_flag(error.flagname, list(helps), command=argv[0])) from error
        except flags.Error as error:
            raise UserError(str(error)) from error
        except UnicodeError as error:
            raise UserError(f"--flagfile cannot be read: {error}") from error
        except (SyntaxError, RecursionError, MemoryError) as error:  # The text of a value is read as Python.
            raise UserError(f"a value of --config.… cannot be read: {type(error).__name__}: {error}") from error
        if self.paths and not takes_paths:
            raise UserError(f"{self.paths[0]!r} is not a flag; flags are of the form --name=value")

    def _take_config(self, argv: list[str]) -> list[str]:
        """Load the file of --config and change its family of nets first; the flags that are left override fields."""
        argv, file = _taken(argv, "config")
        argv, family = _taken(argv, "config.model.name")
        if file is None:
            if family is not None or any(_overridden_paths(argv)):
                raise UserError(NO_CONFIG)
            return argv
        config = load_config(file)
        if family is not None:
            config.model = of_family(config.model, family)
        for path in _overridden_paths(argv):
            check_path(config, path)
        config_flags.DEFINE_config_dataclass("config", config, flag_values=self._values, sys_argv=argv)
        self._config = self._values["config"].value
        return argv

    def given(self, name: str) -> bool:
        return self._config is not None if name == "config" else bool(self._values[name].present)

    @property
    def config(self) -> Config:
        """What --config and its overrides make."""
        if self._config is None:
            raise UserError(NO_CONFIG)
        return self._config

    def text(self, name: str) -> str:
        """The text of a flag that has to be given."""
        value = self._values[name].value
        if not value:
            raise UserError(f"--{name} is missing")
        return value

    def path(self, name: str) -> Path | None:
        """The path of a flag that may be given."""
        return self.needed_path(name) if self.given(name) else None

    def needed_path(self, name: str) -> Path:
        """The path of a flag that has to be given.

        Raises:
            UserError: the system cannot even look whether something is there.
        """
        path = Path(self.text(name))
        try:
            path.exists()
        except OSError as error:
            raise UserError(f"--{name}={path} cannot be used ({error.strerror}): give another path") from error
        return path

    def folder(self, name: str) -> Path:
        """The path of a flag that has to be given: a folder to write to, which need not be there yet.

        Raises:
            UserError: it cannot be made or written to, before any work is lost.
        """
        path = self.needed_path(name)
        _check_writable(path, f"--{name}={path}")
        return path

    def file(self, name: str) -> Path:
        """The path of a flag that has to be given: a file to write, in a folder that is there.

        Raises:
            UserError: it cannot be written, before any work is lost.
        """
        path = self.needed_path(name)
        if path.is_dir():
            raise UserError(f"--{name}={path} is a folder, but it must be a file: choose another path")
        if not path.parent.exists():
            raise UserError(f"--{name}={path}: there is no folder {path.parent}: make it, or choose another path")
        _check_writable(path.parent, f"--{name}={path}")
        return path

    def number(self, name: str) -> int | None:
        return self._values[name].value

    def switch(self, name: str) -> bool:
        return bool(self._values[name].value)


def _taken(argv: list[str], name: str) -> tuple[list[str], str | None]:
    """The command line without the flag of a name, and the last value that it has there; None: it is not there."""
    left, value, arguments = [], None, iter(argv)
    for argument in arguments:
        flag, equals, text = argument.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            value = text if equals else next(arguments, "")
        elif argument == "--":
            left += [argument, *arguments]
        else:
            left.append(argument)
    return left, value


def _overridden_paths(argv: list[str]) -> Iterator[str]:
    """The dotted path of every --config.a.b, also written --noconfig.a.b for False."""
    for argument in argv:
        name = argument.lstrip("-").partition("=")[0]
        if argument == "--":
            return
        if argument.startswith("-") and name.startswith(("config.", "noconfig.")):
            yield name.partition(".")[2]


def _no_such_flag(name: str, names: Sequence[str], *, command: str) -> str:
    """What to say of a flag that a command does not have."""
    close = difflib.get_close_matches(name.partition(".")[0], names, n=1)
    hint = f"did you mean --{close[0]}? " if close else ""
    return f"there is no flag --{name}; {hint}{command} takes {', '.join(f'--{known}' for known in names)}"


def _check_writable(folder: Path, flag: str) -> None:
    """A folder can be made, where it is not there yet, and written to."""
    absolute = folder.absolute()
    there = next(path for path in (absolute, *absolute.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{flag}: {there} is a file, but it must be a folder: choose another path")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{flag}: {there} cannot be written to: choose another path")
