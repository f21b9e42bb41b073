"""Programs that do not fit are refused, with the largest step that does."""

import math
from dataclasses import replace
from functools import partial

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.mnist import get_config
from fcn_jax.cli import main
from fcn_jax.config_fields import overridden
from fcn_jax.train.fitting import compile_fitting, largest_fitting, parts_of, try_compiling
from fcn_jax.train.setup import prepare
from fcn_jax.use import topology
from fcn_jax.use.topology import present_target


def small(**changes):
    config = get_config("tiny")
    config.model.channels, config.schedule.max_buckets, config.machine.cache_dir = (4, 4), 2, ""
    return overridden(config, {path.replace("__", "."): value for path, value in changes.items()})


prepare_small = partial(prepare, abstract=True)


@given(units=st.integers(1, 3000), unit=st.integers(1, 64), limit=st.integers(0, 10**6))
def test_bisection_finds_the_largest_in_few_tries(units, unit, limit):
    tried = []

    def fits(number):
        tried.append(number)
        return number <= limit

    asked = units * unit
    expected = min(limit // unit, units - 1) * unit
    assert largest_fitting(asked, unit, fits) == expected
    assert len(tried) <= math.ceil(math.log2(units)) if units > 1 else not tried


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (0, {}),
        (0, {"schedule__kind": "bucketed", "schedule__positions_per_step": 40_000}),
        (1, {"train__precise_batch_norm": True}),
    ],
    ids=["examples", "positions", "evaluation"],
)
def test_the_step_it_names_fits_and_the_next_does_not(number, changes):
    config = small(**changes)
    setup, here = prepare_small(config), present_target()
    part = parts_of(setup)[number]
    needed = max(program.peak_mib for program in part.compile(setup))
    scarce = replace(here, memory_mib=0.7 * needed)
    with pytest.raises(ValueError, match=f"set --config.{part.field}=") as caught:
        compile_fitting(part, setup, scarce, prepare_small)
    largest = int(str(caught.value).partition("=")[2].partition(",")[0])
    fitting_setup, next_setup = (
        prepare_small(overridden(config, {part.field: value})) for value in (largest, largest + part.unit)
    )
    assert compile_fitting(part, fitting_setup, scarce, prepare_small)
    assert try_compiling(lambda: part.compile(next_setup), scarce)[1]


def test_where_nothing_fits_it_says_what_else_to_do():
    setup = prepare_small(small(schedule__examples_per_step=16))
    with pytest.raises(ValueError, match="nor does 8, the smallest: take a smaller"):
        compile_fitting(parts_of(setup)[0], setup, replace(present_target(), memory_mib=0.0), prepare_small)


def test_what_xla_refuses_to_compile_does_not_fit():
    def refused(message):
        raise jax.errors.JaxRuntimeError(message)

    message = "RESOURCE_EXHAUSTED: Ran out of memory on HBM (34.00G) exceeds available HBM (15.75G).\nMore."
    found = try_compiling(lambda: refused(message), present_target())
    assert found == ([], "Ran out of memory on HBM (34.00G) exceeds available HBM (15.75G)")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        try_compiling(lambda: refused("INTERNAL: broken"), present_target())


def test_the_command_refuses_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(topology, "device_memory_mib", lambda: 1e-3)
    flags = ["--config.model.channels=(4,4)", "--config.schedule.examples_per_step=8", f"--out={tmp_path / 'out'}"]
    assert main(["fcn_jax", "compile", "--config=configs/mnist.py:tiny", *flags]) == 2
    printed = capsys.readouterr()
    assert "config.schedule.examples_per_step is 8, but a step of that does not fit cpu (train needs" in printed.err
    assert printed.out == ""
    assert not (tmp_path / "out").exists()
