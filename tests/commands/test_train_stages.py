"""Runs whose sizes change: stages compiled ahead, a resume over the end of a stage, a test-time scale."""

import json

import numpy as np
import pytest

from configs.mnist import get_config
from fcn_jax.commands.train import train
from fcn_jax.config import Config
from fcn_jax.train.log import read_metrics
from fcn_jax.train.setup import prepare
from tests.commands.stopped import train_until
from tests.commands.test_train import final_state


def staged(cache) -> Config:
    config = get_config("tiny")
    config.machine.cache_dir = str(cache)
    config.model.channels = (4, 8, 8)
    config.data.augment.scale, config.data.augment.crop = (0.8, 1.2), 0.1
    config.train.stage_scales, config.train.epochs = (0.5, 1.0), 3
    config.train.stage_shares = (1.0, 2.0)
    config.evaluate.scale = 1.25
    config.checkpoint.every_steps = 3
    return config


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(staged(cache), workdir)
    return workdir


def test_stages_are_planned_and_compiled_ahead(cache, undisturbed):
    stages = prepare(staged(cache)).train.stages
    assert [stage.epochs for stage in stages] == [range(1), range(1, 3)]
    small, large = (max(stage.plan.shapes[-1]) for stage in stages)
    assert small < large
    names = [program["program"] for program in json.loads((undisturbed / "compile.json").read_text())]
    assert names[:2] == ["train stage 1", "train stage 2"]
    assert json.loads((undisturbed / "plan.json").read_text())["buckets"][-1]["shape"] == list(
        stages[-1].plan.shapes[-1]
    )
    rows = read_metrics(undisturbed / "metrics.jsonl")
    assert max(row["step"] for row in rows) == stages.total_steps
    assert [row["epoch"] for row in rows if row["kind"] == "train"][-1] == 3


def test_evaluation_sees_its_own_scale(cache):
    setup = prepare(staged(cache))
    native = setup.test.dataset.source.sizes
    assert (setup.test.dataset.views.sizes(0) == np.maximum(np.rint(native * 1.25), 8)).all()
    assert setup.test.stages.plan_fill > 0.8


@pytest.mark.parametrize("stop", [7, 10])
def test_a_run_stopped_in_a_stage_ends_with_the_same_bits(cache, undisturbed, tmp_path, stop):
    """Steps 1 to 8 are the first stage; 7 resumes from 6 and goes over its end, 10 from 9."""
    seen = train_until(staged(cache), tmp_path / "stopped", steps=stop)
    assert seen[-1].stage == (stop >= 8)
    train(staged(cache), tmp_path / "stopped")
    for one, other in zip(final_state(undisturbed), final_state(tmp_path / "stopped"), strict=True):
        np.testing.assert_array_equal(one, other)
