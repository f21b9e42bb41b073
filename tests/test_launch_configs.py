"""A launch config is found by its name, and finds others, wherever it lies and wherever the program runs."""

import re
import sys

import pytest

import configs.mnist
from fcn_jax.cli import main
from fcn_jax.command_line import (
    CommandLine,
    find_config,
    importable_configs,
    load_config,
    shipped_folder,
    shipped_names,
)
from fcn_jax.config import UserError
from tests.processes import ROOT

MNIST = f"{ROOT}/configs/mnist.py"
BUILT_ON = "from configs import {other}\n\n\ndef get_config():\n    return {other}.get_config()\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Run from an empty folder, with no checkout on sys.path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(ROOT))])
    return tmp_path


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("arguments", [[], ["tiny"], ["folder:DIR,tiny"]])
def test_a_bare_name_is_a_config_that_comes_with_the_code(arguments):
    assert find_config(":".join(["mnist", *arguments])) == [MNIST, *arguments]


@pytest.mark.parametrize("text", ["", "nosuch.py", "no/such", "configs/mnist.py:tiny", ":tiny", "x" * 5000])
def test_what_is_neither_a_file_nor_a_bare_name_is_refused(text):
    with pytest.raises(UserError, match=r"^--config=.*(there is no file|cannot be read)"):
        find_config(text)


def test_a_file_goes_before_a_config_of_the_same_name(elsewhere):
    (elsewhere / "mnist").touch()
    assert find_config("mnist:tiny") == ["mnist", "tiny"]


def test_a_folder_is_no_config(elsewhere):
    (elsewhere / "mnist").mkdir()
    assert find_config("mnist") == [MNIST]


def test_a_name_that_is_not_there_gets_the_list_of_those_that_are():
    with pytest.raises(UserError, match=re.escape("configs that come with fcn_jax: all_cnn, convnext, ")):
        find_config("resnet-18:tiny")
    assert "mnist" in shipped_names()
    assert "__init__" not in shipped_names()


def test_a_wheel_has_them_inside_the_package(monkeypatch, tmp_path):
    folder = tmp_path / "fcn_jax" / "configs"
    folder.mkdir(parents=True)
    (folder / "own.py").touch()
    monkeypatch.setattr("fcn_jax.command_line.PACKAGE", tmp_path / "fcn_jax")
    assert shipped_folder() == folder
    assert find_config("own") == [str(folder / "own.py")]


@pytest.mark.parametrize("flags", [["--config=all_cnn:tiny"], ["-config=all_cnn:tiny"], ["--config", "all_cnn:tiny"]])
def test_a_command_line_takes_a_bare_name(flags):
    assert CommandLine(["train", *flags], texts={}, takes_config=True).config == load_config("all_cnn:tiny")


def test_a_bare_name_launches(capsys):
    assert main(["fcn_jax", "shapes", "--config=all_cnn:tiny", "--size=28x16"]) == 0
    assert main(["fcn_jax", "shapes", "--config=nosuch", "--size=28x16"]) == 2
    assert "--config=nosuch: there is no file nosuch, and no config of this name" in capsys.readouterr().err


def test_a_config_anywhere_builds_on_those_that_come_with_the_code(elsewhere):
    own = write(elsewhere / "mine/mnist.py", BUILT_ON.format(other="mnist"))
    assert load_config(str(own)) == load_config("mnist")


def test_a_folder_called_configs_goes_before_those_that_come_with_the_code(elsewhere):
    imports = "from fcn_jax.config import Config\nfrom fcn_jax.nets.families import FCN\n\n\n"
    changed = f"{imports}def get_config():\n    return Config(seed=7, model=FCN())\n"
    write(elsewhere / "configs/mnist.py", changed)
    write(elsewhere / "configs/mine.py", BUILT_ON.format(other="mnist"))
    write(elsewhere / "configs/deep.py", BUILT_ON.format(other="mnist_deep"))
    assert load_config("configs/mine.py").seed == 7
    assert load_config("configs/deep.py").seed == 7
    assert load_config("mnist").seed == 0


def test_imported_modules_are_as_before():
    with importable_configs(ROOT / "configs/mnist.py"):
        import configs.mnist as during
    assert during is not configs.mnist
    assert sys.modules["configs.mnist"] is configs.mnist
