"""The distance of the steps' mix of sizes from the data's is what its definition says."""

import numpy as np
import pytest
from hypothesis import given, settings

from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.schedule import FILLER
from fcn_jax.core.step_plan import bucketed_step_plan, stratified_step_plan
from fcn_jax.train.stratification import variation
from tests.core.scheduled import EPOCHS, cases, make_schedule, steps_of


@settings(max_examples=60)
@given(cases(), EPOCHS)
def test_it_is_half_the_sum_of_the_differences_of_shares(case, epoch):
    schedule = case.schedule()
    data = np.bincount(case.bucket, minlength=len(case.shapes)) / len(case.bucket)
    distances, programs = [], []
    for program, blocks in steps_of(schedule, epoch):
        rows = np.concatenate(blocks)
        own = np.bincount(case.bucket[rows[rows != FILLER]], minlength=len(case.shapes))
        distances.append(np.abs(own / max(1, own.sum()) - data).sum() / 2)
        programs.append(program)
    found = variation(schedule, epoch)
    assert found.mean == pytest.approx(np.mean(distances))
    means = [np.mean(np.array(distances)[np.array(programs) == program]) for program in set(programs)]
    assert found.largest_program == pytest.approx(max(means))


def test_shuffled_steps_are_as_far_as_samples_are():
    plan, bucket = BucketPlan(((4,), (8,))), np.repeat([0, 1], [3000, 3000])
    step_plan = stratified_step_plan(plan, np.bincount(bucket), examples_per_step=60)
    found = variation(make_schedule(plan, step_plan, bucket, seed=0), 0)
    assert found.mean == pytest.approx(0, abs=1e-9)
    assert found.shuffled == pytest.approx(np.sqrt(2 / np.pi) * np.sqrt(0.25 / 60), rel=0.15)


def test_steps_of_one_shape_are_as_far_as_the_other_shapes_are_common():
    plan, bucket = BucketPlan(((4,), (8,))), np.repeat([0, 1], [900, 100])
    step_plan = bucketed_step_plan(plan, np.bincount(bucket), examples_per_step=10)
    found = variation(make_schedule(plan, step_plan, bucket, seed=0), 0)
    assert found.mean == pytest.approx(0.9 * 0.1 + 0.1 * 0.9)
    assert found.largest_program == pytest.approx(0.9)
