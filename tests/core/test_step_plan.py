"""The laws of a step_plan: a row for every example, filler within its bound, moving up only where it is cheaper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.step_plan import (
    BlockShape,
    Program,
    StepPlan,
    bucketed_step_plan,
    common_units,
    in_micro_steps,
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
def test_turns_halve_the_steps_from_program_to_program(case):
    steps = [program.steps for program in case.step_plan().programs]
    assert len(steps) == case.num_programs
    total = max(case.num_programs, -(-len(case.bucket) // case.examples_per_step))
    assert total <= sum(steps) <= total + case.num_programs
    for turn, number in enumerate(steps):
        assert number >= 1
        assert abs(number - total * 0.5 ** min(turn + 1, case.num_programs - 1)) <= 1


def test_a_rare_large_bucket_stands_in_few_steps():
    plan, demand = BucketPlan(((8, 8), (64, 64))), np.array([8000, 5])
    shares = [
        stratified_step_plan(plan, demand, examples_per_step=8, rows_multiple_of=8, num_programs=num_programs).capacity[
            1
        ]
        / 8005
        for num_programs in (1, 2, 4, 8)
    ]
    assert shares[0] == pytest.approx(1, abs=0.001)
    assert shares[1:] == pytest.approx([1 / 2, 1 / 8, 1 / 128], rel=0.1)


@given(cases())
def test_filler_is_less_than_one_turn_or_one_step_of_each_bucket(case):
    schedule = case.schedule()
    filler = schedule.step_plan.rows_per_epoch - len(case.bucket)
    if case.kind == "stratified":
        assert 0 <= filler < case.examples_per_step * case.num_programs
    else:
        assert 0 <= filler < case.examples_per_step * len(schedule.step_plan.programs)


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
    """The layout is a local optimum: every such exchange leaves an example without a row."""
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


def test_turns_let_a_rare_bucket_stand_in_some_steps_only():
    plan = BucketPlan(((4, 4), (8, 8)))
    demand = np.array([6000, 400])
    every = stratified_step_plan(plan, demand, examples_per_step=16, rows_multiple_of=8)
    in_turns = stratified_step_plan(plan, demand, examples_per_step=16, rows_multiple_of=8, num_programs=4)
    assert [len(program.blocks) for program in every.programs] == [2]
    assert sorted(len(program.blocks) for program in in_turns.programs) == [1, 1, 1, 2]
    assert (in_turns.capacity * plan.areas).sum() < (every.capacity * plan.areas).sum()


@pytest.mark.parametrize("make_layout", [stratified_step_plan, bucketed_step_plan])
@pytest.mark.parametrize(("examples_per_step", "rows"), [(1, 8), (8, 8), (12, 16)])
def test_any_number_of_examples_is_a_step(make_layout, examples_per_step, rows):
    plan = BucketPlan(((4,),))
    step_plan = make_layout(plan, np.array([99]), examples_per_step=examples_per_step, rows_multiple_of=8)
    assert {program.rows for program in step_plan.programs} == {rows}


@pytest.mark.parametrize("make_layout", [stratified_step_plan, bucketed_step_plan])
@pytest.mark.parametrize("examples_per_step", [0, -8])
def test_a_step_without_examples_is_refused(make_layout, examples_per_step):
    with pytest.raises(ValueError, match=rf"examples_per_step is {examples_per_step}, but it must be at least 1"):
        make_layout(BucketPlan(((4,),)), np.array([9]), examples_per_step=examples_per_step)


@given(cases(), st.integers(1, 9))
def test_parts_of_a_step_hold_its_rows_and_little_filler(case, accumulate):
    whole = case.step_plan()
    for before, after in zip(whole.programs, in_micro_steps(whole, accumulate=accumulate).programs, strict=True):
        assert after.steps == before.steps
        assert after.micro_steps <= accumulate
        assert len(set(after.groups)) == 1
        for block, part in zip(before.blocks, after.groups[0], strict=True):
            assert part == BlockShape(block.bucket, -(-block.rows // accumulate))
            assert part.rows * after.micro_steps >= block.rows
        pairs = zip(before.blocks, after.groups[0], strict=True)
        assert any(part.rows * (after.micro_steps - 1) < block.rows for block, part in pairs), "the last part is filler"
    assert in_micro_steps(whole) == whole


@given(cases(), st.integers(1, 5))
def test_a_program_a_bucket_serves_all_steps(case, accumulate):
    whole = case.step_plan()
    units = common_units(whole)
    alone = in_micro_steps(whole, units=units)
    assert (alone.rows == whole.rows).all()
    groups = {group for program in alone.programs for group in program.groups}
    assert groups == {(BlockShape(bucket, unit),) for bucket, unit in enumerate(units.tolist()) if unit}
    both = in_micro_steps(whole, accumulate=accumulate, units=units)
    assert {group for program in both.programs for group in program.groups} == {
        (BlockShape(block.bucket, -(-block.rows // accumulate)),) for (block,) in groups
    }
    assert (both.rows >= whole.rows).all()


def test_blocks_become_micro_steps():
    whole = StepPlan((Program((BlockShape(0, 7), BlockShape(1, 4)), 5),), 2)
    a, b = BlockShape(0, 4), BlockShape(1, 2)
    assert in_micro_steps(whole, accumulate=2).programs == (Program((a, b, a, b), 5, micro_steps=2),)
    a, b = BlockShape(0, 3), BlockShape(1, 4)
    assert in_micro_steps(whole, units=np.array([3, 4])).programs == (Program((a, a, a, b), 5, micro_steps=4),)
