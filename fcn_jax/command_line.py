"""The reading of a command line into a config and named values; one line says what is wrong with it.

`--config=mnist` means the launch config `mnist.py` that comes with the code, unless there is a file `mnist`. These
configs are in `configs/` of a checkout or an editable install, and in `fcn_jax/configs/` of a wheel. A config file can
import others by `from configs import mnist`, wherever it lies and wherever the program runs. So, while a config file is
loaded, `configs` is a package of two folders: first the file's own folder, if its name is `configs`, then the folder of
the launch configs that come with the code.
"""

import difflib
import os
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import config_flags

from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import check_path, of_family
from fcn_jax.config_rules import check_types

HELP = ("--help", "-h")
CONFIG_HELP = "a name such as mnist, or FILE.py, perhaps with :ARGUMENT; --config.a.b=value sets a field"
NO_CONFIG = "--config is missing; give a name such as --config=mnist, or a file such as --config=configs/mnist.py"


class HelpAsked(Exception):
    """A request for the flags of a command; the message lists them."""


class CommandLine:
    """The flags of one command.

    Args:
        argv: the command's name, then its flags.
        texts: {name: help} of the flags that take text, other than --config.
        numbers: {name: help} of the flags that take a whole number.
        switches: {name: help} of the flags that take no value.
        takes_config: whether the command takes --config=FILE and --config.a.b=value.
        takes_paths: whether paths may stand among the flags.

    Raises:
        HelpAsked: --help is among the flags.
        UserError: a flag is unknown, or its value cannot be read.
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
            width = 2 + max(map(len, helps), default=0)
            raise HelpAsked("\n".join(f"  --{name:<{width}}{text}" for name, text in helps.items()))
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
        """Load the file of --config, then set its family of nets; return the other flags, which override fields."""
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
        """The config of --config, with its overrides."""
        if self._config is None:
            raise UserError(NO_CONFIG)
        return self._config

    def text(self, name: str) -> str:
        """Return the text of a required flag."""
        value = self._values[name].value
        if not value:
            raise UserError(f"--{name} is missing")
        return value

    def path(self, name: str) -> Path | None:
        """Return the path of an optional flag; None if it is not given."""
        return self.needed_path(name) if self.given(name) else None

    def needed_path(self, name: str) -> Path:
        """Return the path of a required flag.

        Raises:
            UserError: the flag is missing, or the system cannot tell whether the path exists.
        """
        path = Path(self.text(name))
        try:
            os.fsencode(path)
            path.exists()
        except UnicodeError as error:
            raise UserError(f"--{name}={path} cannot be used (no path has such letters): give another path") from error
        except OSError as error:
            raise UserError(f"--{name}={path} cannot be used ({error.strerror}): give another path") from error
        return path

    def folder(self, name: str) -> Path:
        """Return the path of a required flag: a folder to write to, which need not exist yet.

        The check comes early, so that no work is lost later.

        Raises:
            UserError: the folder cannot be made or written to.
        """
        path = self.needed_path(name)
        _check_writable(path, f"--{name}={path}")
        return path

    def file(self, name: str) -> Path:
        """Return the path of a required flag: a file to write, in a folder that exists.

        The check comes early, so that no work is lost later.

        Raises:
            UserError: the file cannot be written.
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
    """Return the command line without one flag, and the flag's last value; None if it is not given."""
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
    """Yield the dotted path of every --config.a.b, and of every --noconfig.a.b, which means False."""
    for argument in argv:
        name = argument.lstrip("-").partition("=")[0]
        if argument == "--":
            return
        if argument.startswith("-") and name.startswith(("config.", "noconfig.")):
            yield name.partition(".")[2]


def _no_such_flag(name: str, names: Sequence[str], *, command: str) -> str:
    """Return the message about a flag that the command does not have."""
    close = difflib.get_close_matches(name.partition(".")[0], names, n=1)
    hint = f"did you mean --{close[0]}? " if close else ""
    return f"there is no flag --{name}; {hint}{command} takes {', '.join(f'--{known}' for known in names)}"


def _check_writable(folder: Path, flag: str) -> None:
    """Check that a folder exists or can be made, and can be written to."""
    absolute = folder.absolute()
    there = next(path for path in (absolute, *absolute.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{flag}: {there} is a file, but it must be a folder: choose another path")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{flag}: {there} cannot be written to: choose another path")


PACKAGE = Path(__file__).parent
NAME = "configs"
"""Name of the folder of launch configs, and of the package that config files import from."""


def load_config(text: str) -> Config:
    """Load the config that a launch config file returns.

    Args:
        text: the value of --config: a file or a bare name, such as `mnist`, then perhaps `:ARGUMENT`.

    Raises:
        UserError: there is no such file, it raises an error, or it does not return a config.
    """
    file, *arguments = find_config(text)
    try:
        with importable_configs(Path(file)):
            loader = SourceFileLoader("fcn_jax_launch_config", file)
            spec = spec_from_loader(loader.name, loader)
            assert spec is not None
            module: Any = module_from_spec(spec)
            sys.modules[loader.name] = module
            loader.exec_module(module)
            config = module.get_config(*arguments)
    except ValueError as error:  # The file refuses its argument.
        raise UserError(str(error)) from error
    except (Exception, SystemExit) as error:  # The file is code, which may raise anything.
        raise UserError(f"--config={text} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise UserError(f"get_config() of --config={text} returns {type(config).__name__}, but it must return a Config")
    check_types(config)
    return config


def find_config(text: str) -> list[str]:
    """Find the file that --config names.

    Returns:
        The file, then the argument for its get_config() if there is one.

    Raises:
        UserError: there is no such file, and no such name among the configs that come with the code.
    """
    name, *argument = text.split(":", 1)
    try:
        is_file = bool(name) and Path(name).is_file()
    except OSError as error:
        raise UserError(f"--config={name} cannot be read: {error.strerror}") from error
    if is_file:
        return [name, *argument]
    if name in shipped_names():
        return [str(shipped_folder() / f"{name}.py"), *argument]
    there_is_no = f"--config={name}: there is no file {name or 'without a name'}"
    if not name or name.endswith(".py") or Path(name).name != name:
        raise UserError(there_is_no)
    raise UserError(
        f"{there_is_no}, and no config of this name; configs that come with fcn_jax: {', '.join(shipped_names())}"
    )


def shipped_folder() -> Path:
    """Return the folder of the launch configs that come with the code."""
    in_wheel = PACKAGE / NAME
    return in_wheel if in_wheel.is_dir() else PACKAGE.parent / NAME


def shipped_names() -> list[str]:
    """Return the names of the launch configs that come with the code."""
    return sorted(path.stem for path in shipped_folder().glob("*.py") if path.stem != "__init__")


@contextmanager
def importable_configs(file: Path) -> Iterator[None]:
    """Let a config file import others while it is loaded: from `configs`, or from the name of its own folder.

    `sys.path` stays as it is: with `fcn_jax/` of a wheel on it, `import train` would find `fcn_jax/train`. Afterwards,
    all modules of these packages are as they were before.
    """
    own = file.absolute().parent
    folders = {NAME: [shipped_folder()]}
    if own.name == NAME:
        folders[NAME].insert(0, own)
    elif own.name.isidentifier() and own.name not in sys.modules:
        folders[own.name] = [own]
    before = _take_modules(folders)
    for name, paths in folders.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(path) for path in paths]
    try:
        yield
    finally:
        _take_modules(folders)
        sys.modules.update(before)


def _take_modules(packages: Container[str]) -> dict[str, ModuleType]:
    """Remove packages and their modules from `sys.modules`, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in names}
