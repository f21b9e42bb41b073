"""Programs that do not fit are refused, with the largest step that does."""

import math
from dataclasses import replace

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.mnist import get_config
from fcn_jax.cli import main
from fcn_jax.config_fields import overridden
from fcn_jax.system import targets
from fcn_jax.system.targets import present_target
from fcn_jax.train.compile import CompiledProgram
from fcn_jax.train.out_of_memory import TOLERANCE, Part, compile_fitting, largest_fitting, parts_of, try_compiling
from fcn_jax.train.setup import Setup, prepare


def small(**changes):
    config = get_config("tiny")
    config.model.channels, config.schedule.max_buckets, config.machine.cache_dir = (4, 4), 2, ""
    return overridden(config, {path.replace("__", "."): value for path, value in changes.items()})


@given(units=st.integers(1, 3000), unit=st.integers(1, 64), limit=st.integers(0, 10**6))
def test_a_step_close_to_the_largest_is_found_in_few_tries(units, unit, limit):
    tried = []

    def fits(number):
        tried.append(number)
        return number <= limit

    found, largest = largest_fitting(units * unit, unit, fits) // unit, min(limit // unit, units - 1)
    assert found <= largest <= found / (1 - TOLERANCE)
    assert len(tried) <= math.log2(units / max(1, largest)) + math.log2(1 / TOLERANCE) + 2


@pytest.fixture(scope="module")
def setup() -> Setup:
    """A setup with a step of 512 examples."""
    return prepare(small(schedule__examples_per_step=512), abstract=True)


def made_up(setup: Setup) -> list[CompiledProgram]:
    """A program that needs 1 MiB for each example of a step; nothing is compiled."""
    peak_mib = float(setup.config.schedule.examples_per_step)
    return [CompiledProgram("train", "", seconds=0.0, peak_mib=peak_mib, gflop=0.0, run=made_up)]


def compile_made_up(setup: Setup, memory_mib: float) -> list[CompiledProgram]:
    part = Part("schedule.examples_per_step", 8, made_up, made_up)
    memory = replace(present_target(), memory_mib=memory_mib)
    return compile_fitting(part, setup, memory, lambda config: replace(setup, config=config))


@pytest.mark.parametrize(("memory", "largest"), [(100.0, 96), (511.0, 504), (8.0, 8)])
def test_a_step_that_is_too_large_is_refused_with_the_largest(setup, memory, largest):
    said = (
        rf"examples_per_step is 512, .* of {memory:.0f} MiB a device\): set .*examples_per_step={largest}, the largest"
    )
    with pytest.raises(ValueError, match=said):
        compile_made_up(setup, memory)


def test_a_step_that_fits_is_compiled(setup):
    (program,) = compile_made_up(setup, 512.0)
    assert program.peak_mib == 512


def test_where_nothing_fits_it_says_what_else_to_do(setup):
    with pytest.raises(ValueError, match="nor does 8, the smallest: take a smaller"):
        compile_made_up(setup, 7.0)


def need_a_mib_an_example(setup: Setup) -> list[CompiledProgram]:
    """A program that needs 1 MiB for each example of a micro-step, and 2 MiB besides."""
    config = setup.config
    peak_mib = 2 + config.schedule.examples_per_step / config.train.accumulate
    return [CompiledProgram("train", "", seconds=0.0, peak_mib=peak_mib, gflop=0.0, run=made_up)]


@pytest.mark.parametrize(
    ("memory", "advice"),
    [
        (130.0, r"set --config.schedule.examples_per_step=128, .*; or set --config.train.accumulate=4, which"),
        (129.0, r"set --config.schedule.examples_per_step=120, .*; or set --config.train.accumulate=5, which"),
        (8.0, r"\): set --config.train.accumulate=128, which computes a step in parts that fit$"),
        (2.0, "nor does 8, the smallest: take a smaller"),
    ],
)
def test_a_step_that_is_too_large_may_be_computed_in_parts(setup, memory, advice):
    part = Part("schedule.examples_per_step", 8, need_a_mib_an_example, need_a_mib_an_example, accumulates=True)
    with pytest.raises(ValueError, match=advice):
        compile_fitting(
            part, setup, replace(present_target(), memory_mib=memory), lambda config: replace(setup, config=config)
        )


def test_parts_are_advised_where_the_norm_allows_them():
    advised = [
        parts_of(prepare(small(model__group_size=2, **fields), abstract=True))[0].accumulates
        for fields in ({"model__norm": "batch"}, {"model__norm": "group"}, {"train__statistics": "micro_step"})
    ]
    assert advised == [False, True, True]


@pytest.mark.parametrize("programs", ["step", "bucket"])
def test_the_largest_micro_step_stands_for_all(programs):
    fields = {"model__norm": "group", "model__group_size": 2, "schedule__programs": programs}
    training, _ = parts_of(prepare(small(**fields, train__accumulate=2), abstract=True))
    every, some = training.compile, training.compile_largest
    setup = prepare(small(**fields, train__accumulate=2), abstract=True)
    peaks = [max(program.peak_mib for program in compile_(setup)) for compile_ in (every, some)]
    assert peaks[0] <= peaks[1] < 1.3 * peaks[0]
    assert len(some(setup)) == 3


def test_the_largest_program_stands_for_all():
    enough_for_both_buckets = {"data__test_split": "test[:512]", "train__precise_batch_norm": True}
    setup = prepare(small(schedule__kind="bucketed", **enough_for_both_buckets), abstract=True)
    training, evaluation = parts_of(setup)
    every, (largest,) = training.compile(setup), training.compile_largest(setup)
    assert len(every) == 2
    assert largest.peak_mib == max(program.peak_mib for program in every)
    every, some = evaluation.compile(setup), evaluation.compile_largest(setup)
    assert {program.name for program in some} < {program.name for program in every}
    assert max(program.peak_mib for program in some) == max(program.peak_mib for program in every)


def test_a_budget_of_positions_is_what_decides():
    setup = prepare(small(schedule__kind="bucketed", schedule__positions_per_step=40_000), abstract=True)
    training, evaluation = parts_of(setup)
    assert (training.field, training.unit) == ("schedule.positions_per_step", 20 * 20)
    assert evaluation.field == "evaluate.examples_per_step"


def test_what_xla_refuses_to_compile_does_not_fit():
    def refused(message):
        raise jax.errors.JaxRuntimeError(message)

    message = "RESOURCE_EXHAUSTED: Ran out of memory on HBM (34.00G) exceeds available HBM (15.75G).\nMore."
    found = try_compiling(lambda: refused(message), present_target())
    assert found == ([], "Ran out of memory on HBM (34.00G) exceeds available HBM (15.75G)")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        try_compiling(lambda: refused("INTERNAL: broken"), present_target())


def test_the_command_refuses_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(targets, "device_memory_mib", lambda: 1e-3)
    flags = ["--config.model.channels=(4,4)", "--config.schedule.examples_per_step=8", f"--out={tmp_path / 'out'}"]
    assert main(["fcn_jax", "compile", "--config=configs/mnist.py:tiny", *flags]) == 2
    printed = capsys.readouterr()
    assert "config.schedule.examples_per_step is 8, but a step of that does not fit cpu (train needs" in printed.err
    assert printed.out == ""
    assert not (tmp_path / "out").exists()
