"""Step plans in micro-steps: the same rows and little filler, in few shapes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.core.step_plan import BlockShape, Program, StepPlan, common_units, in_micro_steps
from tests.core.scheduled import cases


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
