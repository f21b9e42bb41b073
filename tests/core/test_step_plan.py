"""The laws of a step_plan: a row for every example, filler within its bound, moving up only where it is cheaper."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_jax.core.buckets import BucketPlan, plan_of
from fcn_jax.core.step_plan import (
    BlockShape,
    Program,
    bucketed_step_plan,
    fewest_units,
    move_up,
    next_covering,
    stratified_step_plan,
)
from tests.core.scheduled import cases


@given(cases(kinds=["bucketed"]))
def test_bucketed_programs_hold_one_bucket_each(case):
    blocks = [program.blocks for program in case.step_plan().programs]
    assert all(len(block) == 1 for block in blocks)
    assert len({block[0].bucket for block in blocks}) == len(blocks)


@given(cases(kinds=["stratified"]))
def test_programs_share_the_steps_and_the_rows_of_every_bucket_equally(case):
    step_plan = case.step_plan()
    fewest = -(-len(case.bucket) // case.examples_per_step)
    assert len(step_plan.programs) == min(case.num_programs, fewest)
    assert len({program.steps for program in step_plan.programs}) == 1
    assert fewest <= step_plan.steps_per_epoch < fewest + len(step_plan.programs)
    units = step_plan.rows // case.rows_multiple_of
    assert (units * case.rows_multiple_of == step_plan.rows).all()
    assert (units.max(axis=0) - units.min(axis=0) <= 1).all()
    assert np.ptp(units.sum(axis=1)) <= 1
    assert all(program.blocks for program in step_plan.programs)


def test_a_rare_large_bucket_stands_in_few_steps():
    plan, demand = BucketPlan(((8, 8), (64, 64))), np.array([8000, 5])
    shares = [
        stratified_step_plan(plan, demand, examples_per_step=8, rows_multiple_of=1, num_programs=programs).capacity[1]
        / stratified_step_plan(plan, demand, examples_per_step=8).steps_per_epoch
        for programs in (1, 2, 4, 8)
    ]
    assert shares == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8], rel=0.01)


@st.composite
def forests(draw):
    """Buckets with a tree of overflow, and examples of each."""
    shapes = draw(st.sets(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4))
    plan = plan_of({*shapes, tuple(map(max, zip(*shapes, strict=True)))})
    return plan, np.array([draw(st.integers(0, 12)) for _ in plan.shapes]), draw(st.integers(1, 5))


@settings(max_examples=200)
@given(forests())
def test_no_other_units_hold_all_examples_with_fewer_positions(case):
    plan, demand, unit = case
    above = next_covering(plan)
    units = fewest_units(demand, plan.areas, above, unit=unit)
    assert move_up(demand, unit * units, above)[-1] <= unit * units[-1]
    most = -(-int(demand.sum()) // unit)
    others = np.array(list(product(range(most + 1), repeat=len(demand))))
    fits = move_up(demand, unit * others, above)[:, -1] <= unit * others[:, -1]
    assert units @ plan.areas == (others[fits] @ plan.areas).min()


@given(st.integers(20, 60), st.integers(0, 1000))
def test_many_buckets_are_searched_in_no_time_and_hold_everything(number, seed):
    rng = np.random.default_rng(seed)
    plan = plan_of([*map(tuple, rng.integers(1, 60, (number, 2)).tolist()), (60, 60)])
    demand = rng.integers(0, 400, len(plan.shapes))
    units = fewest_units(demand, plan.areas, next_covering(plan), unit=97)
    assert move_up(demand, 97 * units, next_covering(plan))[-1] <= 97 * units[-1]


@given(cases(kinds=["stratified"]), st.integers(0, 1000))
def test_every_epoch_fits_where_sizes_change(case, seed):
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(case.shapes)), 4)
    demand = np.stack(
        [
            np.bincount(np.random.default_rng(seed).choice(len(row), len(case.bucket), p=row), minlength=len(row))
            for row in shares
        ]
    )
    step_plan = stratified_step_plan(
        case.plan,
        demand,
        examples_per_step=case.examples_per_step,
        rows_multiple_of=case.rows_multiple_of,
        num_programs=case.num_programs,
    )
    held = move_up(demand, step_plan.capacity, next_covering(case.plan))
    assert (held <= step_plan.capacity).all()


@given(cases(kinds=["bucketed"]))
def test_the_filler_of_a_bucket_is_less_than_a_unit_a_step(case):
    step_plan = case.step_plan()
    filler = step_plan.rows_per_epoch - len(case.bucket)
    assert 0 <= filler < step_plan.steps_per_epoch * case.rows_multiple_of


@given(cases())
def test_overflow_moves_to_the_smallest_larger_bucket_that_covers(case):
    shapes = case.shapes
    for bucket, above in enumerate(next_covering(case.plan).tolist()):
        covering = [
            other
            for other in range(bucket + 1, len(shapes))
            if all(a <= b for a, b in zip(shapes[bucket], shapes[other], strict=True))
        ]
        assert above == (covering[0] if covering else -1)
        assert (above == -1) == (bucket == len(shapes) - 1)


@given(cases(), st.data())
def test_moving_up_loses_nobody_and_moves_no_more_than_it_must(case, data):
    k = len(case.shapes)
    capacity = np.array(data.draw(st.lists(st.integers(0, 100), min_size=k, max_size=k)))
    demand = case.demand
    held = move_up(demand, capacity, next_covering(case.plan))
    assert held.sum() == demand.sum()
    assert (held[:-1] <= capacity[:-1]).all()
    for bucket in range(k - 1):
        assert held[bucket] >= min(demand[bucket], capacity[bucket])
    assert demand.tolist() == case.demand.tolist()


@given(cases(kinds=["stratified"]))
def test_no_unit_of_rows_could_move_to_a_smaller_bucket(case):
    """Every such exchange leaves an example without a row, or it is the row that keeps a program from being empty."""
    step_plan, above = case.step_plan(), next_covering(case.plan)
    for program, rows in zip(step_plan.programs, step_plan.rows, strict=True):
        unit = case.rows_multiple_of * program.steps
        for larger in np.flatnonzero(rows):
            for smaller in range(larger):
                if case.plan.areas[smaller] < case.plan.areas[larger]:
                    capacity = step_plan.capacity.copy()
                    capacity[smaller] += unit
                    capacity[larger] -= unit
                    assert move_up(case.demand, capacity, above)[-1] > capacity[-1]


@given(cases(kinds=["bucketed"]))
def test_moving_up_never_adds_a_step(case):
    alone = -(-case.demand // case.examples_per_step)
    assert case.step_plan().steps_per_epoch <= alone.sum()


def test_moving_up_costs_no_more_than_filler():
    plan = BucketPlan(((64,), (400,)))
    step_plan = bucketed_step_plan(plan, np.array([513, 0]), examples_per_step=512, rows_multiple_of=8)
    assert (step_plan.capacity * plan.areas).sum() <= 2 * 512 * 64


def test_a_bucket_of_few_examples_moves_up_where_that_is_cheaper():
    plan = BucketPlan(((4,), (5,), (100,)))
    step_plan = bucketed_step_plan(plan, np.array([9, 15, 1]), examples_per_step=8, rows_multiple_of=8)
    assert step_plan.programs == (
        Program((BlockShape(0, 8),), 1),
        Program((BlockShape(1, 8),), 2),
        Program((BlockShape(2, 8),), 1),
    )


def test_a_stratified_step_mirrors_the_data():
    plan = BucketPlan(((4, 4), (8, 8)))
    step_plan = stratified_step_plan(plan, np.array([3000, 1000]), examples_per_step=64, rows_multiple_of=8)
    assert [block.rows for block in step_plan.programs[0].blocks] == [48, 16]


def test_programs_let_a_rare_bucket_stand_in_some_steps_only():
    plan = BucketPlan(((4, 4), (8, 8)))
    demand = np.array([6000, 400])
    every = stratified_step_plan(plan, demand, examples_per_step=16, rows_multiple_of=8)
    in_turns = stratified_step_plan(plan, demand, examples_per_step=16, rows_multiple_of=8, num_programs=4)
    assert [len(program.blocks) for program in every.programs] == [2]
    assert sorted(len(program.blocks) for program in in_turns.programs) == [1, 1, 1, 2]
    assert (in_turns.capacity * plan.areas).sum() < (every.capacity * plan.areas).sum()


@pytest.mark.parametrize("make_layout", [stratified_step_plan, bucketed_step_plan])
@pytest.mark.parametrize("field", ["examples_per_step", "rows_multiple_of"])
def test_a_step_without_rows_is_refused(make_layout, field):
    with pytest.raises(ValueError, match=rf"{field} is 0, but it must be at least 1"):
        make_layout(BucketPlan(((4,),)), np.array([9]), **{"examples_per_step": 4, field: 0})
