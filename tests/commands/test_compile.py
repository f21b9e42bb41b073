"""`compile --target`: programs compiled for devices that are not here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fcn_jax.system.targets import CUDA_PLUGINS, is_installed

ROOT = Path(__file__).parents[2]


def compile_for(target: str, tmp_path, *flags: str, channels: int = 4) -> subprocess.CompletedProcess:
    command = [
        *(sys.executable, "-m", "fcn_jax", "compile", f"--target={target}", f"--out={tmp_path / 'out'}"),
        *("--config=configs/mnist.py:tiny", f"--config.model.channels=({channels},{channels})"),
        *(f"--config.machine.cache_dir={tmp_path / 'cache'}", *flags),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


TARGETS = [
    pytest.param(
        *("tpu:v5e:2x2", 4, 16128.0),
        marks=pytest.mark.skipif(not is_installed("libtpu"), reason="needs requirements-tpu.txt"),
    ),
    pytest.param(
        *("gpu:h100:8", 8, 60756.0),
        marks=pytest.mark.skipif(not any(map(is_installed, CUDA_PLUGINS)), reason="needs requirements-gpu.txt"),
    ),
]


@pytest.mark.parametrize(("target", "devices", "memory"), TARGETS)
def test_programs_compile_for_devices_that_are_not_here(tmp_path, target, devices, memory):
    done = compile_for(target, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "it fits" in done.stdout
    for column in ("GB moved", "launches", "collectives", "ms at peak"):
        assert column in done.stderr
    rows = json.loads((tmp_path / "out" / "compile.json").read_text())
    assert {(row["target"], row["devices"], row["memory_mib"]) for row in rows} == {(target, devices, memory)}
    assert all(0 < row["estimated_seconds"] < 1e-3 for row in rows)
    assert all(row["gflop"] > 0 and row["bytes"] > 0 and row["launches"] > 5 for row in rows)
    train = next(row for row in rows if row["program"].startswith("train"))
    assert train["collectives"] > 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("target", "devices", "memory"), TARGETS)
def test_what_does_not_fit_such_a_device_is_refused_with_the_step_that_does(tmp_path, target, devices, memory):
    sizes = tmp_path / "sizes.csv"
    sizes.write_text("height,width,count\n64,64,2000000\n")
    flags = ("--config.schedule.examples_per_step=1000000", "--config.data.train_split=train", f"--sizes={sizes}")
    done = compile_for(target, tmp_path, *flags, channels=64)
    assert done.returncode == 2
    assert "set --config.schedule.examples_per_step=" in done.stderr
    assert "Traceback" not in done.stderr
