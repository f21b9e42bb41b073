"""The commit of a run is that of this code, and of no other."""

import subprocess

import pytest

import fcn_jax
from fcn_jax.system.machine import describe_versions, git_commit


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
