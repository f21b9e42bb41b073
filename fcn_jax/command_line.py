"""A command line as a config and named values, or one line that says what is wrong with it."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import flatten
from fcn_jax.launch_configs import importable_configs, with_found_config

HELP = ("--help", "-h")


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
        helps = {"config": "a file or a name such as mnist; --config.a.b=value sets a field"} if takes_config else {}
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
        try:
            if takes_config:
                argv = with_found_config(argv)
                config_flags.DEFINE_config_file(
                    "config", None, helps["config"], flag_values=self._values, sys_argv=argv
                )
                _check_config_flags(argv)
            with importable_configs(argv):
                _, *self.paths = self._values(argv)
        except flags.UnrecognizedFlagError as error:
            raise UserError(_no_such_flag(error.flagname, list(helps), command=argv[0])) from error
        except flags.Error as error:
            raise UserError(_without_traceback(str(error))) from error
        except UnicodeError as error:
            raise UserError(f"--flagfile cannot be read: {error}") from error
        except UserError:
            raise
        except ValueError as error:  # What a config file says of its argument.
            raise UserError(str(error)) from error
        except Exception as error:  # A config file is code, which may raise anything.
            raise UserError(f"--config cannot be read: {type(error).__name__}: {error}") from error
        if self.paths and not takes_paths:
            raise UserError(f"{self.paths[0]!r} is not a flag; flags are of the form --name=value")

    def given(self, name: str) -> bool:
        return bool(self._values[name].present)

    @property
    def config(self) -> Config:
        """What --config and its overrides make."""
        if not self.given("config"):
            raise UserError("--config is missing; give a file, or a name such as --config=mnist")
        made = self._values["config"].value
        try:
            hasattr(made, "seed")
        except OSError as error:  # ml_collections keeps it until somebody looks.
            raise UserError(f"--config cannot be read: {error}") from error
        if not isinstance(made, Config):
            raise UserError(f"get_config() of --config returns {type(made).__name__}, but it must return a Config")
        return made

    def text(self, name: str) -> str:
        """The text of a flag that has to be given."""
        value = self._values[name].value
        if not value:
            raise UserError(f"--{name} is missing")
        return value

    def path(self, name: str) -> Path | None:
        """The path of a flag that may be given."""
        return Path(self.text(name)) if self.given(name) else None

    def folder(self, name: str) -> Path:
        """The path of a flag that has to be given: a folder to write to, which need not be there yet.

        Raises:
            UserError: it cannot be made or written to, before any work is lost.
        """
        path = Path(self.text(name))
        _check_writable(path, f"--{name}={path}")
        return path

    def file(self, name: str) -> Path:
        """The path of a flag that has to be given: a file to write, in a folder that is there.

        Raises:
            UserError: it cannot be written, before any work is lost.
        """
        path = Path(self.text(name))
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


def _check_config_flags(argv: list[str]) -> None:
    """The file of --config exists, and so does every field that is overridden."""
    fields = flatten(Config())
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = argument.lstrip("-").partition("=")
        file = (value if equals else following).partition(":")[0]
        if name == "config" and not (file and Path(file).is_file()):
            raise UserError(f"--config={file}: there is no file {file or 'without a name'}")
        field = name.removeprefix("config.")
        if field != name and field not in fields:
            close = difflib.get_close_matches(field, fields, n=1, cutoff=0.5)
            hint = f"; did you mean --config.{close[0]}?" if close else ""
            raise UserError(f"--{name}: the config has no field {field}{hint}")


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


def _without_traceback(message: str) -> str:
    """ml_collections puts the whole traceback of a config file into its error; its last line says what happened."""
    head, found, traceback = message.partition("Traceback (most recent call last):")
    return head + traceback.strip().split("\n")[-1] if found else message
