"""A workdir belongs to one config and one live process."""

import dataclasses
import json
import subprocess
import sys

import pytest

from fcn_jax.config import Config
from fcn_jax.nets.families import FCN
from fcn_jax.train.workdir import locked_workdir, read_config


def test_a_workdir_keeps_its_config(tmp_path):
    config = Config(seed=3, model=FCN())
    with locked_workdir(tmp_path / "new", config):
        assert read_config(tmp_path / "new") == config


def test_what_a_kill_leaves_before_the_config_stands_is_taken_over(tmp_path):
    (tmp_path / ".lock").write_text("12345")
    (tmp_path / ".config.json.new").write_text('{"seed"')
    with locked_workdir(tmp_path, Config(model=FCN())):
        assert json.loads((tmp_path / "config.json").read_text()) == json.loads(
            json.dumps(dataclasses.asdict(Config(model=FCN())))
        )


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(ValueError, match="is not empty and holds no run"),
        locked_workdir(tmp_path, Config(model=FCN())),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("saved", ["summary.json", "checkpoints/20"])
def test_another_config_is_taken_until_something_is_saved(tmp_path, saved):
    first, second = Config(seed=1, model=FCN()), Config(seed=2, model=FCN())
    for config in (first, second):
        with locked_workdir(tmp_path / "run", config):
            assert read_config(tmp_path / "run") == config
    (tmp_path / "run" / saved).mkdir(parents=True)
    with pytest.raises(ValueError, match="another config"), locked_workdir(tmp_path / "run", first):
        pass
    second.data.max_bad_fraction = 0.5
    with locked_workdir(tmp_path / "run", second):
        assert read_config(tmp_path / "run") == second


def test_two_at_once_are_refused(tmp_path):
    with (
        locked_workdir(tmp_path, Config(model=FCN())),
        pytest.raises(ValueError, match="is in use by process"),
        locked_workdir(tmp_path, Config(model=FCN())),
    ):
        pass


HOLD = """
import sys, time
from pathlib import Path
from fcn_jax.config import Config
from fcn_jax.nets.families import FCN
from fcn_jax.train.workdir import locked_workdir
with locked_workdir(Path(sys.argv[1]), Config(model=FCN())):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_dead_run_is_taken_over(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match=f"in use by process {process.pid}"),
            locked_workdir(tmp_path, Config(model=FCN())),
        ):
            pass
        process.kill()
    with locked_workdir(tmp_path, Config(model=FCN())):
        assert (tmp_path / ".lock").read_text() != str(process.pid)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seed": 1}', '{"seed": "one"}'])
def test_a_damaged_config_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json (is damaged|cannot be used)"):
        read_config(tmp_path)
