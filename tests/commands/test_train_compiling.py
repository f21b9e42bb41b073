"""Runs that begin before all their programs are compiled: the same result, no step too early, errors in time."""

import json
import threading
from pathlib import Path

import jax
import pytest

from configs.mnist import get_config
from fcn_jax.commands import train as command
from fcn_jax.commands.train import train
from fcn_jax.config import Config, UserError
from fcn_jax.system.stopping import Stopped, StopRequest
from fcn_jax.system.watchdog import Watchdog
from fcn_jax.train import compile_in_threads
from fcn_jax.train.checkpoint import restore_latest
from fcn_jax.train.compile import Job, jobs_of
from fcn_jax.train.compile_in_threads import program_of
from fcn_jax.train.log import read_metrics
from fcn_jax.train.setup import prepare

SECONDS = 120
FIRST_STEP = "the device, in step 1"


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def config(cache) -> Config:
    """A config of two training programs: an epoch takes both in its first steps."""
    config = get_config("tiny")
    config.model.channels, config.model.group_size = (4, 4), 2
    config.schedule.num_programs, config.schedule.examples_per_step = 2, 56  # Programs of other rows.
    config.machine.cache_dir = str(cache)
    return config


@pytest.fixture
def events(monkeypatch) -> list[str]:
    """What the run waits for, as it tells the watchdog, and every program once it is compiled."""
    found, waits_for, compile_job = [], Watchdog.waits_for, compile_in_threads.compile_job

    def tell(watchdog, what):
        found.append(what)
        waits_for(watchdog, what)

    def compiled(job, **options):
        program = compile_job(job, **options)
        found.append(f"{job.name} is compiled")
        return program

    monkeypatch.setattr(Watchdog, "waits_for", tell)
    monkeypatch.setattr(compile_in_threads, "compile_job", compiled)
    return found


@pytest.fixture
def beside(monkeypatch) -> None:
    """Compile as on a GPU: the run goes on meanwhile."""
    monkeypatch.setattr(command, "compiles_beside", lambda setup: True)


def before_compiling(monkeypatch, wait) -> None:
    """Call `wait(job)` before a job is compiled."""
    compile_job = compile_in_threads.compile_job

    def compile_later(job: Job, **options):
        wait(job)
        return compile_job(job, **options)

    monkeypatch.setattr(compile_in_threads, "compile_job", compile_later)


def first_program(config: Config) -> str:
    setup = prepare(config, abstract=True)
    return jobs_of(setup, splits=()).train[0][program_of(setup, 0)].name


def test_on_a_cpu_every_program_is_compiled_before_the_first_step(config, events, tmp_path):
    train(config, tmp_path / "run")
    compiled = [number for number, event in enumerate(events) if event.endswith("is compiled")]
    assert len(compiled) == len(json.loads((tmp_path / "run" / "compile.json").read_text()))
    assert max(compiled) < events.index(FIRST_STEP)


def test_a_step_waits_for_its_own_program_only(config, events, beside, tmp_path, monkeypatch, cache):
    stepped, first = threading.Event(), {}
    waits_for = Watchdog.waits_for

    def tell(watchdog, what):
        waits_for(watchdog, what)
        if what == FIRST_STEP:
            stepped.set()

    def wait(job):
        if "name" not in first:
            first["name"] = job.name
        elif job.name != first["name"]:
            assert stepped.wait(SECONDS), f"the first step waited for {job.name}"

    monkeypatch.setattr(Watchdog, "waits_for", tell)
    before_compiling(monkeypatch, wait)
    summary = train(config, tmp_path / "beside")
    assert first["name"] == first_program(config)
    (other,) = {"train program 1", "train program 2"} - {first["name"]}
    at = events.index
    assert at(f"{first['name']} is compiled") < at(FIRST_STEP) < at(f"{other} is compiled")
    assert at(f"{other} to be compiled") < at(f"{other} is compiled")
    rows = json.loads((tmp_path / "beside" / "compile.json").read_text())
    assert [row["program"] for row in rows[:2]] == ["train program 1", "train program 2"]
    assert summary["compile_count"] == len(rows)
    assert summary["seconds_to_first_step"] < summary["wall_seconds"]

    monkeypatch.undo()
    train(config, tmp_path / "before")
    logged = [
        [(row["step"], row["kind"], row["loss"]) for row in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("beside", "before")
    ]
    assert logged[0] == logged[1]


def test_a_program_that_does_not_fit_ends_the_run_before_it_is_needed(config, beside, tmp_path, monkeypatch):
    """The last program fails; the search for what fits compiles too, and that is no unplanned compilation."""
    config.train.epochs, config.train.log_every_steps, config.train.evaluate_every_epochs = 1000, 1, 0

    compile_job = compile_in_threads.compile_job

    def compile_or_fail(job, *, is_trial):
        if job.name.startswith("evaluate") and not is_trial:
            raise jax.errors.JaxRuntimeError(f"{job.name}: RESOURCE_EXHAUSTED: Out of memory on this device.\nMore.")
        return compile_job(job, is_trial=is_trial)

    monkeypatch.setattr(compile_in_threads, "compile_job", compile_or_fail)
    with pytest.raises(UserError, match=r"evaluate 20×\d+: Out of memory on this device, though .* run it again"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "compile.json").exists()


def test_a_request_to_stop_is_heard_while_a_step_waits(config, beside, tmp_path, monkeypatch):
    stop, go_on, first = StopRequest(), threading.Event(), []

    def wait(job):
        first.append(job.name)
        if job.name != first[0]:
            go_on.wait(SECONDS)

    waits_for = Watchdog.waits_for

    def tell(watchdog, what):
        waits_for(watchdog, what)
        if what.endswith("to be compiled") and first[0] not in what:
            stop.arrive()

    with monkeypatch.context() as patch:
        before_compiling(patch, wait)
        patch.setattr(Watchdog, "waits_for", tell)
        try:
            with pytest.raises(Stopped) as stopped:
                train(config, tmp_path / "run", stop=stop)
        finally:
            go_on.set()
            for thread in threading.enumerate():
                if thread.name.startswith("job "):  # What has begun is compiled to its end.
                    thread.join(SECONDS)
    steps = int(str(stopped.value).split()[3])
    assert steps >= 1
    setup = prepare(config, abstract=True)
    assert int(restore_latest(tmp_path / "run", setup.state).step) == steps
    train(config, tmp_path / "run")
    train(config, tmp_path / "undisturbed")
    losses = [
        {row["step"]: row["loss"] for row in read_metrics(tmp_path / name / "metrics.jsonl") if row["kind"] == "test"}
        for name in ("run", "undisturbed")
    ]
    assert losses[0] == losses[1]
