"""A run that does not fit says which program, its bytes, and the largest step that fits."""

import re

import jax
import pytest

from configs.mnist import get_config
from fcn_jax.config import Config
from fcn_jax.train import out_of_memory
from fcn_jax.train.compile_in_threads import CompiledPrograms, compile_programs
from fcn_jax.train.out_of_memory import compile_all, fitting
from fcn_jax.train.setup import Setup, prepare


def small(examples_per_step: int = 64) -> Config:
    config = get_config("tiny")
    config.model.channels, config.schedule.examples_per_step = (4, 4, 4), examples_per_step
    return config


@pytest.fixture(scope="module")
def setup() -> Setup:
    return prepare(small(), abstract=True)


@pytest.fixture(scope="module")
def programs(setup) -> CompiledPrograms:
    return compile_programs(setup, splits=())


def peak_of(examples_per_step: int) -> float:
    (program,) = compile_programs(prepare(small(examples_per_step), abstract=True), splits=()).all
    return program.peak_mib


def test_what_is_too_large_for_the_device_is_refused_before_the_first_step(setup, programs, monkeypatch):
    (train,) = programs.all
    monkeypatch.setattr(out_of_memory, "device_memory_mib", lambda: 0.7 * train.peak_mib)
    with pytest.raises(ValueError, match=r"train needs [\d.,]+ MiB of") as refused:
        compile_all(setup)
    (largest,) = re.findall(r"set --config\.schedule\.examples_per_step=(\d+)", str(refused.value))
    assert peak_of(int(largest)) <= 0.7 * train.peak_mib < peak_of(int(largest) + 8)


def test_what_fails_while_it_runs_is_told_the_same_way(setup, programs):
    (train,) = programs.all
    with (
        pytest.raises(ValueError, match=r"train needs .* MiB.*set --config\.schedule\.examples_per_step=\d+"),
        fitting(train, setup),
    ):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.")


def test_any_other_error_stays_what_it_is(setup, programs):
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), fitting(programs.all[0], setup):
        raise jax.errors.JaxRuntimeError("INTERNAL: the device is lost")
