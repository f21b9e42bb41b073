"""The stages of a run: every example once in every epoch of every stage, though sizes change; settled before step 0."""

from bisect import bisect_right
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_jax.config import Config, ScheduleConfig, TrainConfig
from fcn_jax.config_data import AugmentConfig
from fcn_jax.core.buckets import BucketPlan, plan_buckets
from fcn_jax.core.schedule import FILLER
from fcn_jax.core.stages import (
    Stages,
    covering,
    evaluation_stages,
    padded,
    scale_of_epochs,
    training_stages,
    used,
)
from fcn_jax.data.sources import open_source
from fcn_jax.data.transforms import Views, widened_sizes
from fcn_jax.nets.families import FCN

AUGMENTS = st.builds(
    lambda low, high, aspect, crop: AugmentConfig(scale=(low, max(low, high)), aspect=aspect, crop=crop),
    st.floats(0.3, 1.2),
    st.floats(0.5, 2),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 0.3]),
)
SCHEDULES = st.builds(
    lambda kind, buckets, multiple, rows, units, num_programs, budget: ScheduleConfig(
        kind=kind,
        max_buckets=buckets,
        multiple_of=multiple,
        examples_per_step=rows * units,
        rows_multiple_of=rows,
        num_programs=num_programs,
        positions_per_step=budget if kind == "bucketed" else 0,
    ),
    st.sampled_from(["stratified", "bucketed"]),
    st.integers(1, 5),
    st.sampled_from([1, 4]),
    st.sampled_from([1, 2, 8]),
    st.integers(1, 6),
    st.integers(1, 3),
    st.sampled_from([0, 0, 500, 20_000]),
)


class Case(NamedTuple):
    views: Views
    stages: list[range]
    config: ScheduleConfig
    seed: int

    def all_stages(self) -> Stages:
        return training_stages(self.views, self.stages, self.config, seed=self.seed)


@st.composite
def cases(draw) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    sizes = rng.integers(3, 60, (draw(st.integers(1, 120)), 2))
    ends = draw(st.sampled_from([[1], [3], [2, 5], [1, 2, 6]]))
    scales = draw(st.lists(st.sampled_from([0.5, 1.0, 1.5]), min_size=len(ends), max_size=len(ends)))
    views = Views(
        sizes,
        scale=lambda epoch: scales[bisect_right(ends, epoch)],
        augment=draw(st.one_of(st.none(), AUGMENTS)),
        smallest=8,
    )
    stages = [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    return Case(views, stages, draw(SCHEDULES), seed=draw(st.integers(0, 100)))


def blocks_of(stages: Stages, step: int):
    """(canvas, examples) of every block of a step."""
    position = stages.position(step)
    stage = stages[position.stage]
    program, rows = stage.schedule.step(position.epoch, position.step)
    for shape, examples in zip(stage.schedule.step_plan.programs[program].blocks, rows, strict=True):
        assert len(examples) == shape.rows
        yield stage.plan.shapes[shape.bucket], examples


@settings(max_examples=60)
@given(cases())
def test_every_example_stands_once_in_every_epoch_on_a_canvas_that_holds_it(case):
    views, stages = case.views, case.all_stages()
    seen = {}
    for step in range(stages.total_steps):
        epoch = stages.position(step).epoch
        for canvas, examples in blocks_of(stages, step):
            real = examples[examples != FILLER]
            assert (views.sizes(epoch)[real] <= canvas).all()
            seen.setdefault(epoch, []).extend(real.tolist())
    assert list(seen) == list(range(stages.num_epochs))
    assert all(sorted(examples) == list(range(len(views))) for examples in seen.values())


@settings(max_examples=60)
@given(cases(), st.sampled_from([1, 2, 3, 5, 8]))
def test_fill_and_filler_are_counted_over_the_whole_course(case, devices):
    views, stages = case.views, case.all_stages()
    true, own, computed, filler, rows = 0, 0, 0, 0, 0
    for epoch in range(stages.num_epochs):
        plan = next(stage.plan for stage in stages if epoch in stage.epochs)
        true += views.sizes(epoch).prod(1).sum()
        own += plan.areas[plan.assign(views.sizes(epoch))].sum()
    for step in range(stages.total_steps):
        for canvas, examples in blocks_of(stages, step):
            of_devices = -len(examples) % devices
            computed += (len(examples) + of_devices) * np.prod(canvas)
            filler += (examples == FILLER).sum() + of_devices
            rows += len(examples) + of_devices
    assert stages.plan_fill == pytest.approx(true / own, rel=1e-12)
    assert stages.fill_on(devices) == pytest.approx(true / computed, rel=1e-12)
    assert stages.filler_share_on(devices) == pytest.approx(filler / rows, abs=1e-12)
    if devices == 1:
        assert (stages.fill, stages.filler_share) == (stages.fill_on(1), stages.filler_share_on(1))


@given(cases())
def test_positions_count_up_and_epochs_are_told_from_steps(case):
    stages = case.all_stages()
    expected = [
        (number, epoch, step)
        for number, stage in enumerate(stages)
        for epoch in stage.epochs
        for step in range(stage.schedule.steps_per_epoch)
    ]
    assert [tuple(stages.position(step)) for step in range(stages.total_steps)] == expected
    ends = [step for step in range(1, stages.total_steps + 1) if stages.epochs_done(step).is_integer()]
    assert len(ends) == stages.num_epochs
    assert [stages.steps_of(float(epochs)) for epochs in range(1, stages.num_epochs + 1)] == ends
    assert stages.steps_of(stages.num_epochs + 3.0) == stages.total_steps
    assert stages.epochs_done(stages.total_steps) == stages.num_epochs


@given(cases())
def test_the_plan_covers_the_extremes_of_the_setting(case):
    views, stages = case.views, case.all_stages()
    for stage in stages:
        assert (np.array(stage.plan.shapes[-1]) >= views.largest(stage.epochs).max(0)).all() or not views.is_random
        for epoch in stage.epochs:
            stage.plan.assign(views.sizes(epoch))


@given(cases())
def test_a_budget_of_positions_bounds_a_step(case):
    stages, config = case.all_stages(), case.config
    for stage in stages:
        for program in stage.schedule.step_plan.programs:
            positions = sum(int(stage.plan.areas[block.bucket]) * block.rows for block in program.blocks)
            smallest = program.rows == config.rows_multiple_of
            assert not config.positions_per_step or smallest or positions <= config.positions_per_step
            assert all(block.rows % config.rows_multiple_of == 0 for block in program.blocks)


def test_rows_of_a_budget_are_as_many_as_fit_and_are_needed():
    views = Views(np.repeat([[10, 10], [40, 40]], 50, axis=0), smallest=1)
    config = ScheduleConfig(kind="bucketed", positions_per_step=6400, rows_multiple_of=4, max_buckets=2)
    (stage,) = training_stages(views, [range(1)], config, seed=0)
    assert [program.rows for program in stage.schedule.step_plan.programs] == [52, 4]


@pytest.mark.parametrize("multiple", [1, 3, 8, 24])
def test_rows_of_a_program_for_each_bucket_keep_their_multiple(multiple):
    views = Views(np.random.default_rng(0).integers(8, 40, (900, 2)), smallest=8)
    config = ScheduleConfig(programs="bucket", examples_per_step=320, rows_multiple_of=multiple, max_buckets=4)
    (stage,) = training_stages(views, [range(1)], config, seed=0)
    blocks = [block for program in stage.schedule.step_plan.programs for block in program.blocks]
    assert {block.rows % multiple for block in blocks} == {0}


def test_stages_share_the_epochs():
    def stages(**fields):
        return scale_of_epochs(TrainConfig(**fields))

    assert stages(epochs=16) == [(range(16), 1.0)]
    assert stages(epochs=10, stage_scales=(0.5, 1.0)) == [(range(5), 0.5), (range(5, 10), 1.0)]
    three = stages(epochs=12, stage_scales=(0.5, 0.75, 1.0), stage_shares=(6.0, 3.0, 3.0))
    assert three == [(range(6), 0.5), (range(6, 9), 0.75), (range(9, 12), 1.0)]
    with pytest.raises(ValueError, match=r"^config.train.epochs is 1, too few for 2 stages: stage 1 has none"):
        stages(epochs=1, stage_scales=(0.5, 1.0))


WIDE_AND_TALL = [[40, 9000], [9000, 40]]


def canvases_and_rows(stages: Stages) -> set[tuple[tuple[int, ...], int]]:
    """The (canvas, rows) of every block that is compiled."""
    return {
        (stage.plan.shapes[block.bucket], block.rows)
        for stage in stages
        for program in stage.schedule.step_plan.programs
        for block in program.blocks
    }


def test_sizes_that_the_plan_does_not_cover_get_buckets_of_their_own():
    plan, config = BucketPlan(((8, 8), (16, 16))), ScheduleConfig(multiple_of=4, rows_multiple_of=8)
    assert covering(plan, np.array([[16, 3]]), config) is plan
    assert covering(plan, np.array([[5, 21]]), config).shapes == ((8, 8), (8, 24), (16, 16))
    stages = evaluation_stages(np.array([[5, 21], [4, 4]]), plan, config, examples_per_step=8)
    examples = [row for step in range(stages.total_steps) for _, rows in blocks_of(stages, step) for row in rows]
    assert [example for example in examples if example != FILLER] == [0, 1]


@pytest.mark.parametrize("max_buckets", [0, 1, 6])
@pytest.mark.parametrize("kind", ["stratified", "bucketed"])
def test_a_wide_and_a_tall_size_do_not_share_a_canvas(kind, max_buckets):
    config = ScheduleConfig(kind=kind, max_buckets=max_buckets, examples_per_step=16, rows_multiple_of=8)
    sizes = np.array([[20, 24]] * 16 + WIDE_AND_TALL)
    stages = evaluation_stages(sizes, BucketPlan(((20, 24),)), config, examples_per_step=16)
    assert canvases_and_rows(stages) == {((20, 24), 16), ((40, 9000), 8), ((9000, 40), 8)}
    padded = evaluation_stages(sizes, BucketPlan(((20, 24),)), config, examples_per_step=16, padding=3)
    assert canvases_and_rows(padded) == {((23, 27), 16), ((43, 9003), 8), ((9003, 43), 8)}


def test_a_bucket_beyond_the_plan_computes_no_larger_steps_than_the_plan():
    sizes = np.array([[10, 10]] * 100 + [[20, 100]] * 100)
    stages = evaluation_stages(sizes, BucketPlan(((10, 10),)), ScheduleConfig(), examples_per_step=320)
    assert canvases_and_rows(stages) == {((10, 10), 128), ((20, 100), 16)}


@pytest.mark.parametrize("kind", ["stratified", "bucketed"])
@pytest.mark.parametrize("augment", [None, AugmentConfig(scale=(0.5, 2.0), aspect=0.3, crop=0.1)])
def test_training_compiles_no_canvas_for_the_widest_and_the_tallest_together(kind, augment):
    sizes = np.array([[20, 24]] * 200 + WIDE_AND_TALL)
    views = Views(sizes, augment=augment, smallest=1)
    config = ScheduleConfig(kind=kind, examples_per_step=64, rows_multiple_of=8)
    stages = training_stages(views, [range(30)], config, seed=0)
    largest = views.largest(range(30)).prod(1).max()
    assert max(np.prod(canvas) for canvas, _ in canvases_and_rows(stages)) <= 2 * largest
    if kind == "bucketed":
        assert all(rows == 8 for canvas, rows in canvases_and_rows(stages) if np.prod(canvas) > 100 * 20 * 24)


SIDES = st.one_of(st.integers(1, 40), st.integers(1, 400))


@st.composite
def evaluations(draw) -> tuple[np.ndarray, np.ndarray, ScheduleConfig, int]:
    """Sizes to train and to evaluate, the schedule's config and the padding of every side."""
    size = st.tuples(*[SIDES] * draw(st.integers(1, 2)))
    trained, sizes = (np.array(draw(st.lists(size, min_size=1, max_size=60))) for _ in range(2))
    return trained, sizes, draw(SCHEDULES), draw(st.sampled_from([0, 0, 7]))


@settings(max_examples=150)
@given(evaluations())
def test_evaluation_covers_every_example_uses_every_canvas_and_computes_little_more_than_is_true(case):
    trained, sizes, config, padding = case
    plan = used(plan_buckets(trained, config.max_buckets, multiple_of=config.multiple_of), trained)
    stages = evaluation_stages(sizes, plan, config, examples_per_step=config.examples_per_step, padding=padding)
    (stage,) = stages
    seen = []
    for step in range(stages.total_steps):
        for canvas, rows in blocks_of(stages, step):
            real = rows[rows != FILLER]
            assert (sizes[real] + padding <= canvas).all()
            seen.extend(real.tolist())
    assert sorted(seen) == list(range(len(sizes)))
    held = np.bincount(stage.plan.assign(sizes + padding), minlength=len(stage.plan.shapes))
    added = [shape not in padded(plan, padding).shapes for shape in stage.plan.shapes]
    assert held[added].all()
    missing = ~np.any([(sizes <= shape).all(1) for shape in plan.shapes], axis=0)
    most = plan.areas[plan.assign(sizes[~missing])].sum() if not missing.all() else 0
    if missing.any():
        alone = plan_buckets(sizes[missing], config.max_buckets, multiple_of=config.multiple_of)
        most += alone.areas[alone.assign(sizes[missing])].sum()
    if not padding:
        assert stage.own_positions <= most
    in_own_rows = np.where(held > 0, np.maximum(2 * held, config.rows_multiple_of), 0) @ stage.plan.areas
    assert stage.computed_positions <= in_own_rows


def test_padded_canvases_keep_every_example_in_its_bucket():
    plan = BucketPlan(((8, 8), (16, 4), (9, 16), (16, 16)))
    sizes = np.array([[16, 3], [7, 8], [16, 5], [9, 9]])
    config = ScheduleConfig(rows_multiple_of=1)
    plain, wide = (evaluation_stages(sizes, plan, config, examples_per_step=1, padding=padding) for padding in (0, 100))
    stood = [{rows.item(): canvas for step in range(4) for canvas, rows in blocks_of(c, step)} for c in (plain, wide)]
    assert stood[0] == {0: (16, 4), 1: (8, 8), 2: (16, 16), 3: (9, 16)}
    assert stood[1] == {example: (height + 100, width + 100) for example, (height, width) in stood[0].items()}


def test_mnist_is_nearly_full():
    sizes = widened_sizes(open_source(Config(model=FCN()), "train").sizes, 8)
    stages = training_stages(Views(sizes, smallest=8), [range(16)], ScheduleConfig(), seed=0)
    (stage,) = stages
    assert len(sizes) == 55_000
    assert len(stage.schedule.step_plan.programs) == 1
    assert stages.plan_fill >= 0.963
    assert stages.filler_share <= 0.01
    assert stages.fill >= 0.95
