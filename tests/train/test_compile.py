"""Programs: as many as planned, known by name, and not one more."""

from copy import copy
from dataclasses import replace

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from configs.mnist import get_config
from fcn_jax.core.block import filler_block
from fcn_jax.core.schedule import Schedule
from fcn_jax.core.stages import Stages
from fcn_jax.core.step_plan import Program, StepPlan
from fcn_jax.train.compile import _evaluation_shapes
from fcn_jax.train.compile_in_threads import compile_programs
from fcn_jax.train.compile_monitor import monitoring_compilation
from fcn_jax.train.setup import Split, prepare


def small(**changes):
    config = get_config("tiny")
    config.model.channels, config.model.group_size = (4, 4, 4), 2
    for path, value in changes.items():
        section, name = path.split("__")
        setattr(getattr(config, section), name, value)
    return config


def test_stratified_training_is_one_program():
    setup = prepare(small())
    with monitoring_compilation() as monitor:
        programs = compile_programs(setup, splits=(setup.validation, setup.test))
        assert monitor.count == len(programs.all)
    assert [program.name for program in programs.train[0]] == ["train"]
    assert all(program.gflop > 0 and program.peak_mib > 0 and program.seconds > 0 for program in programs.all)


def test_bucketed_training_is_one_program_a_bucket():
    setup = prepare(small(schedule__kind="bucketed", schedule__max_buckets=3, model__norm="group"))
    shapes = setup.train.stages[0].plan.shapes
    with monitoring_compilation() as monitor:
        programs = compile_programs(setup, splits=())
        assert monitor.count == len(programs.train[0]) == len(shapes) == 3
    assert [program.name for program in programs.train[0]] == [f"train {height}×{width}" for height, width in shapes]


def test_every_turn_is_a_program():
    setup = prepare(small(schedule__num_programs=2, schedule__max_buckets=6))
    programs = compile_programs(setup, splits=())
    assert [program.name for program in programs.train[0]] == ["train program 1", "train program 2"]


def test_a_program_a_bucket_is_compiled_once_for_all_steps_and_stages():
    fields = {"schedule__programs": "bucket", "schedule__num_programs": 2, "schedule__max_buckets": 3}
    setup = prepare(small(**fields, model__norm="group", train__stage_scales=(1.0, 1.0)))
    buckets = len(setup.train.stages[0].plan.shapes)
    with monitoring_compilation() as monitor:
        programs = compile_programs(setup, splits=())
        assert monitor.count == len(programs.all) == buckets + 2
    shapes = [f"train micro-step {height}×{width}" for height, width in setup.train.stages[0].plan.shapes]
    assert sorted(program.name for program in programs.all) == sorted([*shapes, "train update", "train zeros"])
    stages = [[program.name for program in stage] for stage in programs.train]
    assert stages == [[f"train stage {stage}, program {number}" for number in (1, 2)] for stage in (1, 2)]
    with monitoring_compilation() as monitor:
        step = next(iter(setup.loader(setup.train).steps(0, 1)))
        programs.train[0][step.program].run(setup.state, step.blocks)
        assert monitor.count == 0


def test_parts_need_less_memory():
    whole, parts = (
        compile_programs(prepare(small(train__accumulate=number, model__norm="group"), abstract=True), splits=())
        for number in (1, 4)
    )
    train, update = whole.train[0][0].compiled(), parts.train[0][0].compiled()
    assert [program.name for program in update.parts] == [
        "train zeros",
        *["train micro-step"] * 4,
        "train update",
    ]
    assert update.peak_mib == max(program.peak_mib for program in parts.all) < 0.5 * train.peak_mib
    assert 0.9 * train.gflop < update.gflop < 1.3 * train.gflop


def test_another_shape_is_refused_and_another_compilation_an_error():
    setup = prepare(small())
    with monitoring_compilation() as monitor:
        programs = compile_programs(setup, splits=())
        monitor.seal(programs.jobs)
        with pytest.raises(TypeError):
            programs.train[0][0].run(setup.state, (filler_block(8, (20, 20), 1),))
        with pytest.raises(AssertionError, match="not planned"):
            compile_programs(setup, splits=())


def test_evaluation_covers_sizes_that_training_lacks():
    config = small(data__train_split="train[:8]", schedule__examples_per_step=8)
    setup = prepare(config)
    largest = setup.test.dataset.views.sizes(0).max(0)
    assert (np.array(setup.test.stages[0].plan.shapes[-1]) >= largest).all()


def test_the_step_gives_its_buffers_back():
    setup = prepare(small())
    programs = compile_programs(setup, splits=())
    step = next(iter(setup.loader(setup.train).steps(0, 1)))
    state, _ = programs.train[0][0].run(setup.state, step.blocks)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(setup.state.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_blocks_that_differ_only_in_filler_share_a_program():
    setup = prepare(small(), abstract=True)
    (stage,) = setup.test.stages
    programs = stage.schedule.step_plan.programs
    shapes = {(stage.plan.shapes[block.bucket], block.rows) for program in programs for block in program.blocks}
    fewer = [Program(tuple(replace(block, rows=block.rows - 3) for block in p.blocks), p.steps) for p in programs]
    schedule = replace_step_plan(stage.schedule, StepPlan(tuple(fewer), len(stage.plan.shapes)))
    less = Split(setup.test.dataset, Stages((replace(stage, schedule=schedule),)))
    on_four = replace(setup, mesh=Mesh(np.array(jax.devices()[:1] * 4), "rows"))
    assert len({*_evaluation_shapes(setup, setup.test), *_evaluation_shapes(setup, less)}) == 2 * len(shapes)
    assert _evaluation_shapes(on_four, less) == _evaluation_shapes(on_four, setup.test)


def replace_step_plan(schedule: Schedule, step_plan: StepPlan) -> Schedule:
    changed = copy(schedule)
    changed.step_plan = step_plan
    return changed
