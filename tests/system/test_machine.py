"""What the machine lacks is one line with the remedy; the commit of a run is that of this code, and of no other."""

import os
import re
import subprocess
import sys

import jax
import pytest

import fcn_jax
from fcn_jax.config import UserError
from fcn_jax.system.machine import describe_versions, find_devices, git_commit


@pytest.fixture
def checkout(tmp_path):
    """A checkout with one file in its commit and one beside it, as a wheel's within a virtual environment."""
    (tmp_path / "held.py").touch()
    (tmp_path / "beside.py").touch()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "--quiet"], ["add", "held.py"], ["commit", "--quiet", "--message=Begin"]):
        subprocess.run([*git, *command], check=True)
    return tmp_path


def test_the_commit_that_holds_a_file(checkout):
    commit = git_commit(checkout / "held.py")
    assert commit is not None
    assert len(commit) == 40
    (checkout / "held.py").write_text("changed")
    assert git_commit(checkout / "held.py") == f"{commit}-dirty"


def test_a_file_that_no_commit_holds(checkout, tmp_path_factory):
    assert git_commit(checkout / "beside.py") is None
    assert git_commit(tmp_path_factory.mktemp("bare") / "alone.py") is None


def test_the_version_is_said_without_a_commit_too():
    assert describe_versions()["versions"]["fcn_jax"] == fcn_jax.__version__


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": ""}, "JAX_PLATFORMS=cuda, but .*: unset JAX_PLATFORMS"),
        ({"JAX_ENABLE_X64": "banana"}, "jax cannot be imported .*'banana'.*: correct the environment variable"),
    ],
)
def test_an_environment_that_jax_refuses(environment, said):
    command = [sys.executable, "-m", "fcn_jax", "shapes", "--config=mnist", "--size=28x28"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(f"python -m fcn_jax shapes: {said}.*", done.stderr.strip())


def test_a_broken_device(monkeypatch):
    def broken():
        raise RuntimeError("Unable to initialize backend 'cuda':\nno driver (set JAX_PLATFORMS=cpu to skip it)")

    monkeypatch.setattr(jax, "devices", broken)
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(UserError, match=r"cannot use the devices .* no driver \(set JAX_PLATFORMS=cpu"):
        find_devices()


def test_an_environment_that_matplotlib_refuses():
    """No window is ever opened, so a display that is not here is nothing to fail of."""
    code = "from fcn_jax.system.machine import *; draw_without_window(); import_libraries('matplotlib')"
    environment = {**os.environ, "MPLBACKEND": "nosuch", "HOME": "/dev/null"}
    environment.pop("MPLCONFIGDIR", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
