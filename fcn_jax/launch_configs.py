"""Launch configs: find one by its name, and let them import each other.

`--config=mnist` is `mnist.py` among the launch configs that come with the code, unless there is a file `mnist`. They
lie in `configs/` of a checkout or an editable install, and in `fcn_jax/configs/` of a wheel.

Config files import each other as `from configs import mnist`, wherever they lie and wherever the program runs. So
`configs` is a package of two folders while a config file is loaded: first the folder of the file, if that is called
`configs`, then the folder of those that come with the code. `sys.path` stays as it is: with `fcn_jax/` of a wheel on
it, `import train` would find our `fcn_jax/train`.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from fcn_jax.config import UserError

PACKAGE = Path(__file__).parent
NAME = "configs"
"""Of the folder, and of the package that config files import from."""


def shipped_folder() -> Path:
    """The folder of the launch configs that come with the code."""
    in_wheel = PACKAGE / NAME
    return in_wheel if in_wheel.is_dir() else PACKAGE.parent / NAME


def shipped_names() -> list[str]:
    """The names of the launch configs that come with the code."""
    return sorted(path.stem for path in shipped_folder().glob("*.py") if path.stem != "__init__")


def find_config(text: str) -> str:
    """Put the path of a file in place of a bare name.

    Args:
        text: the value of --config: a file or a bare name, such as `mnist`, then perhaps `:ARGUMENT`.

    Returns:
        The same with the file of a bare name; unchanged if it names no config by its bare name.

    Raises:
        UserError: a bare name is neither a file nor one of the configs that come with the code.
    """
    name, colon, argument = text.partition(":")
    is_bare = name and not name.startswith("-") and not name.endswith(".py") and Path(name).name == name
    if not is_bare or Path(name).is_file():
        return text
    if name not in shipped_names():
        raise UserError(
            f"--config={name}: there is no file {name}, and no config of this name; configs that come with fcn_jax: "
            f"{', '.join(shipped_names())}"
        )
    return f"{shipped_folder() / name}.py{colon}{argument}"


def with_found_config(argv: Sequence[str]) -> list[str]:
    """The same command line, with the path of a file in place of a bare name in --config.

    Raises:
        UserError: as `find_config`.
    """
    found = list(argv)
    for place, value, is_apart in _config_flags(argv):
        found[place] = find_config(value) if is_apart else f"--config={find_config(value)}"
    return found


@contextmanager
def importable_configs(argv: Sequence[str]) -> Iterator[None]:
    """While the config file of a command line is loaded, let it find others: `from configs import mnist`.

    Afterwards all modules `configs` and `configs.*` are as before.
    """
    files = [Path(value.partition(":")[0]).absolute() for _, value, _ in _config_flags(argv)]
    folders = [file.parent for file in files if file.parent.name == NAME]
    package = ModuleType(NAME)
    package.__path__ = [str(folder) for folder in (*folders, shipped_folder())]
    before = _take_configs()
    sys.modules[NAME] = package
    try:
        yield
    finally:
        _take_configs()
        sys.modules.update(before)


def _config_flags(argv: Sequence[str]) -> Iterator[tuple[int, str, bool]]:
    """Every value of --config: its place in the command line, the value, and whether it stands apart from the flag."""
    for place, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name not in ("--config", "-config"):
            continue
        if equals:
            yield place, value, False
        elif place + 1 < len(argv):
            yield place + 1, argv[place + 1], True


def _take_configs() -> dict[str, ModuleType]:
    """Take the package `configs` and its modules out of those that are imported."""
    names = [name for name in sys.modules if name == NAME or name.startswith(f"{NAME}.")]
    return {name: sys.modules.pop(name) for name in names}
