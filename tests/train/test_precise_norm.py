"""Statistics estimated after training: those of all true positions, by hand, and what a run does with them."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs.mnist import get_config
from fcn_jax.commands.evaluate import evaluate_run
from fcn_jax.commands.train import train
from fcn_jax.config import Config
from fcn_jax.core.block import Block
from fcn_jax.core.convolution import convolve_direct
from fcn_jax.core.geometry import Window
from fcn_jax.core.norms import EPSILON, Moments, batch_norms
from fcn_jax.core.step import Variables, split_model
from fcn_jax.nets.model import make_model
from fcn_jax.train import passes
from fcn_jax.train.compile_in_threads import compile_programs
from fcn_jax.train.passes import pool, with_precise_statistics
from fcn_jax.train.setup import Setup, prepare
from tests.commands.test_train import final_state


def small(**changes) -> Config:
    config = get_config("tiny")
    config.model.channels = (4, 3)
    config.train.precise_batch_norm = True
    for path, value in changes.items():
        section, name = path.split("__")
        setattr(getattr(config, section), name, value)
    return config


def in_float64(setup: Setup) -> Setup:
    """The same with other statistics and, as evaluated parameters, an average that is not the parameters."""
    graphdef, params, stats = split_model(make_model(setup.config, rank=2, dtype=jnp.float64))
    average = jax.tree.map(lambda leaf: leaf + 0.1, Variables(params, stats))
    stats = jax.tree.map(lambda leaf: leaf + 3, stats)
    state = setup.state._replace(params=params, stats=stats, average=average)
    return replace(setup, graphdef=graphdef, state=jax.device_put(state, setup.state.step.sharding))


def by_hand(model, steps: list[tuple[Block, ...]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(mean, variance) of every layer, from every image alone without its padding."""
    convolutions, norms = list(model.net.layers)[::2], batch_norms(model)
    positions = [[] for _ in norms]
    for blocks in steps:
        maps = [
            block.image[row, :height, :width] / 255
            for block in jax.device_get(blocks)
            for row, (height, width) in enumerate(block.size)
            if height
        ]
        for convolution, norm, found in zip(convolutions, norms, positions, strict=True):
            kernel, window = convolution.kernel[...], Window(4, 2, padding=1)
            maps = [np.asarray(convolve_direct(jnp.asarray(x)[None], kernel, window))[0] for x in maps]
            step = np.concatenate([x.reshape(-1, x.shape[-1]) for x in maps])
            factor = np.asarray(norm.scale[...]) / np.sqrt(step.var(0) + EPSILON)
            maps = [np.maximum((x - step.mean(0)) * factor + np.asarray(norm.bias[...]), 0) for x in maps]
            found.append(step)
    return [(np.concatenate(steps).mean(0), np.concatenate(steps).var(0)) for steps in positions]


@pytest.mark.parametrize("kind", ["stratified", "bucketed"])
def test_statistics_are_those_of_all_true_positions(float64, kind):
    """26 rows a step, one of them filler; whatever the schedule, steps are stratified."""
    config = small(
        data__train_split="train[:51]", schedule__kind=kind, evaluate__examples_per_step=32, train__ema_decay=0.5
    )
    setup = in_float64(prepare(config))
    stages = setup.calibration.stages
    assert all(len(program.blocks) >= 2 for program in stages[0].schedule.step_plan.programs)
    assert stages.filler_share > 0
    steps = [step.blocks for step in setup.loader(setup.calibration).steps(0, stages.total_steps)]
    assert sorted(int(i) for blocks in steps for block in blocks for i in block.index if i >= 0) == [*range(51)]
    state = with_precise_statistics(setup, compile_programs(setup, splits=()), setup.state)
    assert state.stats is setup.state.stats
    net = nnx.merge(setup.graphdef, *state.evaluated)
    expected, layers = by_hand(net, steps), batch_norms(net)
    for layer, (mean, var) in zip(layers, expected, strict=True):
        np.testing.assert_allclose(layer.mean[...], mean, rtol=0, atol=1e-10)
        np.testing.assert_allclose(layer.var[...], var, rtol=0, atol=1e-10)


def test_images_are_seen_as_evaluation_sees_them():
    config = small(evaluate__scale=1.5, train__stage_scales=(0.5, 1.0))
    config.data.augment.scale = (0.5, 0.6)
    setup = prepare(config)
    views = setup.calibration.dataset.views
    assert (views.sizes(0) == np.maximum(np.rint(setup.train.dataset.source.sizes * 1.5), 4)).all()
    canvas = tuple(views.sizes(0)[0].tolist())
    evaluated = setup.split(config.data.train_split)
    seen, expected = (split.dataset.block(np.array([0]), canvas, epoch=0) for split in (setup.calibration, evaluated))
    np.testing.assert_array_equal(seen.image, expected.image)


def test_moments_of_parts_pool_to_those_of_the_whole():
    x = np.random.default_rng(0).standard_normal((90, 2)) * [1, 50] + [1000, 0]
    parts = [Moments(np.array(0.0), np.zeros(2), np.zeros(2))]
    parts += [Moments(np.array(len(part)), part.mean(0), part.var(0)) for part in np.split(x, [7, 7, 60]) if len(part)]
    pooled = parts[0]
    for part in [*parts[1:], parts[0]]:
        pooled = pool(pooled, part)
    for found, expected in zip(pooled, (90, x.mean(0), x.var(0)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precise")
    config = small(machine__cache_dir=str(folder / "cache"), train__ema_decay=0.5)
    return config, folder / "undisturbed", train(config, folder / "undisturbed")


def test_a_run_compiles_ahead_and_its_checkpoint_holds_what_it_evaluated(run):
    config, workdir, summary = run
    names = [program["program"] for program in json.loads((workdir / "compile.json").read_text())]
    assert names[:2] == ["train", "precise BatchNorm"]
    assert summary["compile_count"] == len(names)
    (found,) = evaluate_run(workdir, split="test")
    assert (found["accuracy"], found["count"]) == (summary["accuracy"], summary["count"])
    assert found["loss"] == pytest.approx(summary["loss"], abs=1e-6)
    setup = prepare(config)
    assert sum(leaf.size for leaf in jax.tree.leaves(setup.state.stats)) == 2 * (4 + 3)


def test_a_run_killed_while_it_estimates_ends_with_the_same_bits(run, tmp_path, monkeypatch):
    config, workdir, _ = run

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(passes, "pool", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "killed")
    assert not (tmp_path / "killed" / "summary.json").exists()
    train(config, tmp_path / "killed")
    for one, other in zip(final_state(workdir), final_state(tmp_path / "killed"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_it_a_run_ends_with_other_statistics_and_the_same_weights(run, tmp_path):
    config, workdir, _ = run
    train(replace(config, train=replace(config.train, precise_batch_norm=False)), tmp_path / "plain")
    same = [np.array_equal(*pair) for pair in zip(final_state(workdir), final_state(tmp_path / "plain"), strict=True)]
    assert same.count(False) == 2 * len(config.model.channels)


def test_few_rows_a_step_bring_no_canvas_for_the_widest_and_the_tallest_together(tmp_path):
    (tmp_path / "sizes.csv").write_text("height,width,count\n20,24,24\n40,9000,1\n9000,40,1\n")
    config = small(data__source=f"sizes:{tmp_path / 'sizes.csv'}", schedule__kind="bucketed")
    config.schedule.max_buckets, config.evaluate.examples_per_step = 6, 16
    (stage,) = prepare(config, abstract=True).calibration.stages
    blocks = [block for program in stage.schedule.step_plan.programs for block in program.blocks]
    assert {stage.plan.shapes[block.bucket] for block in blocks} == {(20, 24), (40, 9000), (9000, 40)}
