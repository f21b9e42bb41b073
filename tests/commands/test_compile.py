"""Targets: what is one, what each chip can do, and programs compiled for one that is not here."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fcn_jax.commands import compile
from fcn_jax.commands.compile import CHIPS, config_for_tpu, parse_target, tpu_target
from fcn_jax.config import Config

ROOT = Path(__file__).parents[2]


def test_targets_are_read():
    assert parse_target("tpu:v5e:4x4") == ("v5e", (4, 4))
    assert parse_target("tpu:v6e:16x16") == ("v6e", (16, 16))
    assert parse_target("tpu:v5p:2x2x4") == ("v5p", (2, 2, 4))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu:h100:8", "it must be tpu:CHIP:SHAPE"),
        ("tpu:v9:4x4", "one of the chips v5e, v5p, v6e"),
        ("tpu:v5e", "it must be tpu:CHIP:SHAPE"),
        ("tpu:v5e:4x0", "it must be tpu:CHIP:SHAPE"),
        ("tpu:v5e:4x4x4", "v5e has 2 axes"),
        ("tpu:v5p:4x4", "v5p has 3 axes"),
        ("tpu:v6e:16x32", "at most 256 chips"),
    ],
)
def test_what_is_no_target_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        parse_target(text)


def test_without_libtpu_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(compile.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install -r requirements-tpu.txt"):
        tpu_target("tpu:v5e:4x4")
    assert (ROOT / "requirements-tpu.txt").exists()


@pytest.mark.parametrize(("flops", "moved", "seconds"), [(197e12, 1.0, 1.0), (1.0, 819e9, 1.0), (394e12, 819e9, 2.0)])
def test_the_estimate_is_the_longer_of_computing_and_moving(flops, moved, seconds):
    executable = SimpleNamespace(cost_analysis=lambda: {"flops": flops, "bytes accessed": moved})
    assert CHIPS["v5e"].estimated_seconds(executable) == pytest.approx(seconds)


def test_a_tpu_computes_convolutions_directly():
    config = Config()
    assert config_for_tpu(config).model.convolution == "direct"
    assert config.model.convolution == "auto"
    config.model.convolution = "patches"
    assert config_for_tpu(config).model.convolution == "patches"


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs requirements-tpu.txt")
def test_programs_compile_for_tpus_that_are_not_here(tmp_path):
    command = [
        *(sys.executable, "-m", "fcn_jax", "compile", "--target=tpu:v5e:2x2", f"--out={tmp_path / 'out'}"),
        *("--config=configs/mnist.py:tiny", "--config.model.channels=(4,4)"),
        f"--config.machine.cache_dir={tmp_path / 'cache'}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    assert "it fits" in done.stdout
    rows = json.loads((tmp_path / "out" / "compile.json").read_text())
    assert {(row["target"], row["devices"], row["memory_mib"]) for row in rows} == {("tpu:v5e:2x2", 4, 16128.0)}
    assert all(0 < row["estimated_seconds"] < 1e-3 for row in rows)
    assert not (tmp_path / "cache").exists()
