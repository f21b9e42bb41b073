"""The package says what the requirements say, and takes along all that it needs."""

import ast
import tomllib
from pathlib import Path

import pytest

import fcn_jax

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_requirements_are_what_the_package_needs_and_what_its_tests_need():
    assert requirements("requirements.txt") == PROJECT["dependencies"] + EXTRAS["dev"]


@pytest.mark.parametrize("extra", ["onnx", "tiff", "tpu"])
def test_requirements_of_an_extra(extra):
    assert requirements(f"requirements-{extra}.txt") == EXTRAS[extra]


def test_every_folder_of_code_is_in_the_package():
    folders = {path.parent for path in (ROOT / "fcn_jax").rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(SETUPTOOLS["packages"]) == names | {"fcn_jax.configs"}
    assert SETUPTOOLS["package-dir"] == {"fcn_jax.configs": "configs"}


def test_every_other_file_is_data_of_the_package():
    """Pages for readers of the code may stay behind."""
    others = {path for path in (ROOT / "fcn_jax").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    pages = {path for path in others if path.name == "README.md"}
    (name, patterns), *more = SETUPTOOLS["package-data"].items()
    assert not more
    folder = ROOT.joinpath(*name.split("."))
    taken = {path for pattern in patterns for path in folder.glob(f"{pattern}/*") if path.is_file()}
    assert others - pages <= taken


def test_the_version_can_be_read_without_running_the_code():
    """So building needs nothing that the package needs."""
    assert SETUPTOOLS["dynamic"]["version"] == {"attr": "fcn_jax.version.VERSION"}
    statements = ast.parse((ROOT / "fcn_jax/version.py").read_text()).body
    values = [
        ast.literal_eval(statement.value)
        for statement in statements
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "VERSION"
    ]
    assert values == [fcn_jax.__version__]


def test_the_script_runs_the_same_as_the_module():
    module, function = PROJECT["scripts"]["fcn-jax"].split(":")
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    assert path.name == "__main__.py"
    assert path.read_text().endswith(f'if __name__ == "__main__":\n    sys.exit({function}())\n')
