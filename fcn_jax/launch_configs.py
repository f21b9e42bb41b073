"""Launch configs: find one by its name, load it, and let it import others.

`--config=mnist` is `mnist.py` among the launch configs that come with the code, unless there is a file `mnist`. They
lie in `configs/` of a checkout or an editable install, and in `fcn_jax/configs/` of a wheel.

Config files import each other as `from configs import mnist`, wherever they lie and wherever the program runs. So
`configs` is a package of two folders while a config file is loaded: first the folder of the file, if that is called
`configs`, then the folder of those that come with the code. A folder of another name is a package of its own.
"""

import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from fcn_jax.config import Config, UserError, check_types

PACKAGE = Path(__file__).parent
NAME = "configs"
"""The name of the folder, and of the package that config files import from."""


def load_config(text: str) -> Config:
    """Load the config that a file makes.

    Args:
        text: the value of --config: a file or a bare name, such as `mnist`, then perhaps `:ARGUMENT`.

    Raises:
        UserError: there is no such file, or it makes no config.
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
    except ValueError as error:  # The file says it of its argument.
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
    """While a config file is loaded, let it import others: `from configs import mnist`, or from its own folder's name.

    `sys.path` stays as it is: with `fcn_jax/` of a wheel on it, `import train` would find `fcn_jax/train`. Afterwards
    all modules of these packages are as before.
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
    """Take packages and their modules out of those that are imported."""
    names = [name for name in sys.modules if name.partition(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in names}
