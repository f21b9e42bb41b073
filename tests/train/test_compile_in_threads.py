"""Compilation in threads: what comes first, nothing unplanned, the settings of the caller, one cache for all."""

import io
import threading
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from configs.mnist import get_config
from fcn_jax.core.step_plan import StepPlan
from fcn_jax.system import console, machine
from fcn_jax.system.machine import usable_cores
from fcn_jax.train import compile_in_threads
from fcn_jax.train.compile import Job, compile_job, jobs_of
from fcn_jax.train.compile_in_threads import (
    CompiledPrograms,
    compile_programs,
    compiles_beside,
    in_order_of_need,
    num_compile_threads,
    program_of,
)
from fcn_jax.train.compile_monitor import monitoring_compilation
from fcn_jax.train.setup import Setup, prepare

SECONDS = 120
KINDS = ("train stage 1", "evaluate", "train stage 2", "precise BatchNorm")


def small(**changes):
    config = get_config("tiny")
    config.model.channels, config.model.group_size, config.machine.cache_dir = (4, 4), 2, ""
    for path, value in changes.items():
        section, name = path.split("__")
        setattr(getattr(config, section), name, value)
    return config


@pytest.fixture(scope="module")
def setup() -> Setup:
    """Two training programs of three blocks, and evaluation programs of one."""
    return prepare(small(schedule__num_programs=2, schedule__max_buckets=3), abstract=True)


@pytest.fixture
def begun(monkeypatch) -> list[str]:
    """The names of the jobs in the order in which they begin, in one thread."""
    found = []

    def compile_told(job, **options):
        found.append(job.name)
        return compile_job(job, **options)

    monkeypatch.setattr(compile_in_threads, "compile_job", compile_told)
    monkeypatch.setattr(compile_in_threads, "usable_cores", lambda: 1)
    return found


def test_the_longest_begin_first_and_the_table_keeps_its_order(setup, begun):
    programs = compile_programs(setup, splits=(setup.validation,))
    jobs = jobs_of(setup, splits=(setup.validation,))
    assert begun == [job.name for job in sorted(jobs.all, key=lambda job: -job.work)]
    assert begun[-1].startswith("evaluate")
    assert [program.name for program in programs.all] == [job.name for job in jobs.all]
    assert programs.seconds >= max(program.seconds for program in programs.all)


def test_what_is_estimated_to_take_longer_does(setup):
    jobs = jobs_of(setup, splits=(setup.validation,))
    (train,), evaluate = jobs.train[0][0].jobs, next(iter(jobs.evaluate.values()))
    assert train.work > evaluate.work
    assert compile_job(train).seconds > compile_job(evaluate).seconds


def test_a_run_that_goes_on_gets_the_program_of_its_next_step_first(setup):
    jobs = jobs_of(setup, splits=(setup.validation, setup.test))
    for step in (0, 3, setup.train.stages.total_steps - 1):
        first, second, *rest = in_order_of_need(setup, jobs, step=step)
        assert (first,) == jobs.train[0][program_of(setup, step)].jobs
        assert second in {job for update in jobs.train[0] for job in update.jobs}
        assert set(rest) == set(jobs.evaluate.values())
    assert set(in_order_of_need(setup, jobs, step=setup.train.stages.total_steps)) == set(jobs.all)


def test_a_later_stage_waits_until_after_the_first_validation():
    two = {"train__epochs": 4, "train__stage_scales": (0.8, 1.0), "train__evaluate_every_epochs": 1}
    setup = prepare(small(**two, train__precise_batch_norm=True), abstract=True)
    jobs = jobs_of(setup, splits=(setup.validation,))
    order = in_order_of_need(setup, jobs, step=0)
    kinds = [next(kind for kind in KINDS if job.name.startswith(kind)) for job in order]
    assert list(dict.fromkeys(kinds)) == list(KINDS)
    resumed = in_order_of_need(setup, jobs, step=setup.train.stages.total_steps - 1)
    assert resumed[0] in {job for update in jobs.train[1] for job in update.jobs}


def test_micro_steps_that_stages_share_are_needed_by_the_first():
    """The parts of the next step come first, also if a later stage has them too."""
    stages = {"train__epochs": 4, "train__stage_scales": (1.0, 1.0), "train__evaluate_every_epochs": 1}
    setup = prepare(small(**stages, model__norm="group", train__accumulate=2), abstract=True)
    jobs = jobs_of(setup, splits=(setup.validation,))
    parts = jobs.train[0][0].jobs
    assert parts == jobs.train[1][0].jobs
    assert [job.name for job in dict.fromkeys(parts)] == ["train zeros", "train micro-step", "train update"]
    assert set(in_order_of_need(setup, jobs, step=0)[:3]) == set(parts)


def test_programs_with_the_same_blocks_are_compiled_once(setup):
    stage = setup.train.stages[0]
    first, second = stage.schedule.step_plan.programs
    stage.schedule.step_plan = StepPlan((first, second, replace(first, steps=first.steps + 1)), 3)
    try:
        jobs = jobs_of(setup, splits=())
    finally:
        stage.schedule.step_plan = StepPlan((first, second), 3)
    assert jobs.train[0][0] is jobs.train[0][2]
    assert [job.name for job in jobs.all] == ["train program 1", "train program 2"]


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8), (96, 16)])
def test_threads_by_cores(cores, threads):
    assert num_compile_threads(cores, platform="cpu") == threads
    assert num_compile_threads(cores, platform="gpu") == 1


def test_cores_are_those_that_this_process_may_use(monkeypatch, tmp_path):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    for text, cores in (("max 100000\n", 16), ("400000 100000\n", 4), ("50000 100000\n", 1), ("nonsense", 16)):
        (tmp_path / "cpu.max").write_text(text)
        monkeypatch.setattr(machine, "CPU_QUOTA", tmp_path / "cpu.max")
        assert usable_cores() == cores


def test_a_cpu_compiles_before_the_first_step(setup):
    assert not compiles_beside(setup)


def test_a_planned_compilation_may_come_after_the_seal_and_no_other(setup, monkeypatch):
    """While a thread compiles what is planned, this one compiles a step by itself."""
    jobs, go_on = jobs_of(setup, splits=(setup.validation,)), threading.Event()

    def compile_later(job, **options):
        go_on.wait(SECONDS)
        return compile_job(job, **options)

    monkeypatch.setattr(compile_in_threads, "compile_job", compile_later)
    with monitoring_compilation() as monitor:
        programs = CompiledPrograms(jobs, order=jobs.all, num_threads=2)
        monitor.seal(programs.jobs)

        def train_step(x):
            return x + 1

        with pytest.raises(AssertionError, match="jit\\(train_step\\) was compiled, but this was not planned"):
            jax.jit(train_step)(jnp.zeros(3))
        go_on.set()
        assert len(programs.all) == len(jobs.all)
        with pytest.raises(AssertionError, match="compilations of"):
            monitor.check_complete()


def test_all_that_is_planned_is_counted_once(setup):
    jobs = jobs_of(setup, splits=(setup.validation,))
    with monitoring_compilation() as monitor:
        programs = CompiledPrograms(jobs, order=jobs.all, num_threads=2)
        monitor.seal(programs.jobs)
        programs.wait()
        monitor.check_complete()
        compile_programs(setup, splits=(), is_trial=True)
        assert monitor.count == len(jobs.all)


class Broken:
    """A step that XLA refuses."""

    def lower(self, *_):
        raise jax.errors.JaxRuntimeError("INTERNAL: it is broken")


def test_an_error_in_one_thread_names_its_program_and_ends_all(setup, begun, monkeypatch):
    compile_told = compile_in_threads.compile_job

    def compile_or_fail(job: Job, **options):
        return compile_told(replace(job, step=Broken()) if job.name == "train program 2" else job, **options)

    monkeypatch.setattr(compile_in_threads, "compile_job", compile_or_fail)
    jobs = jobs_of(setup, splits=(setup.validation,))
    programs = CompiledPrograms(jobs, order=jobs.all)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"^train program 2: INTERNAL: it is broken"):
        programs.wait()
    assert programs.are_over
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"^train program 2: INTERNAL"):
        programs.pending[-1].compiled()
    assert begun == ["train program 1", "train program 2"]


def test_threads_compile_with_the_settings_of_the_caller(setup, monkeypatch):
    """JAX keeps the settings of its context managers for each thread by itself."""
    found = []

    def compile_told(job, **options):
        found.append((jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision))
        return compile_job(job, **options)

    monkeypatch.setattr(compile_in_threads, "compile_job", compile_told)
    compile_programs(setup, train=False, splits=(setup.validation,))
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        compile_programs(setup, train=False, splits=(setup.validation,))
    assert set(found[: len(found) // 2]) == {(False, None)}
    assert set(found[len(found) // 2 :]) == {(True, "highest")}


def test_the_table_on_a_terminal_fills_and_vanishes(setup, monkeypatch):
    terminal = console.Console(force_terminal=True, width=120, height=12, file=io.StringIO())
    monkeypatch.setattr(console, "console", terminal)
    work = [4.0, 1.0]
    with console.GrowingTable("compile", ("program", "seconds", "blocks"), total=2, work=sum(work)) as table:
        assert table.remaining() == "eta ?"
        table.add(("train", "4.0", "8 × 20×20"), work=work[0])
        assert table.as_table().row_count == 1
        assert table.remaining().startswith("eta 0 s")
        for number in range(30):
            table.add((f"evaluate {number}", "1.0", "8 × 20×20"), work=0.01)
        assert table.as_table().row_count == 12 - 4
