"""The laws of a schedule: every example once an epoch, covered, balanced; a pure function of (plan, seed, epoch)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.schedule import FILLER
from fcn_jax.core.step_plan import BlockShape, Program, StepPlan, common_units, in_micro_steps, move_up, next_covering
from tests.core.scheduled import EPOCHS, EXAMPLE, Case, cases, flat, make_schedule, placements, steps_of


@settings(max_examples=150)
@given(cases(), EPOCHS)
def test_every_example_stands_exactly_once_an_epoch(case, epoch):
    rows = np.concatenate([rows for _, rows in placements(case.schedule(), epoch)])
    assert sorted(rows[rows != FILLER].tolist()) == list(range(len(case.bucket)))
    assert FILLER == -1


@settings(max_examples=100)
@given(cases(), EPOCHS)
def test_the_canvas_of_every_example_covers_it(case, epoch):
    shapes = np.array(case.shapes)
    for bucket, rows in placements(case.schedule(), epoch):
        sizes = shapes[case.bucket[rows[rows != FILLER]]]
        assert (sizes <= shapes[bucket]).all()


@given(cases(), EPOCHS)
def test_blocks_have_the_rows_that_were_compiled(case, epoch):
    schedule = case.schedule()
    step_plan = schedule.step_plan
    for program, blocks in steps_of(schedule, epoch):
        shapes = step_plan.programs[program].blocks
        assert [len(rows) for rows in blocks] == [shape.rows for shape in shapes]
        assert all(shape.rows > 0 and shape.rows % case.rows_multiple_of == 0 for shape in shapes)
        assert len({shape.bucket for shape in shapes}) == len(shapes)
        if case.kind == "bucketed":
            assert sum(len(rows) for rows in blocks) < case.examples_per_step + case.rows_multiple_of
    ran = np.bincount([program for program, _ in steps_of(schedule, epoch)], minlength=len(step_plan.programs))
    assert ran.tolist() == [program.steps for program in step_plan.programs]
    assert schedule.steps_per_epoch == sum(ran)
    assert len(case.bucket) <= schedule.steps_per_epoch * case.examples_per_step or case.kind == "bucketed"


@settings(max_examples=100)
@given(cases(), EPOCHS)
def test_filler_is_spread_evenly_over_the_steps(case, epoch):
    """The filler of blocks of the same bucket and rows differs by one at most."""
    schedule = case.schedule()
    filler_of_block, filler_of_step = {}, {}
    for bucket, rows in placements(schedule, epoch):
        filler_of_block.setdefault((bucket, len(rows)), []).append(int((rows == FILLER).sum()))
    for program, blocks in steps_of(schedule, epoch):
        filler_of_step.setdefault(program, []).append(sum(int((rows == FILLER).sum()) for rows in blocks))
    assert all(max(filler) - min(filler) <= 1 for filler in filler_of_block.values())
    for program, filler in filler_of_step.items():
        assert max(filler) - min(filler) <= len(schedule.step_plan.programs[program].blocks)


@given(cases(), st.lists(EPOCHS, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_a_step_is_a_pure_function_of_its_position(case, epochs, random):
    """A new schedule, asked in any order, gives what one gave that went through from the start."""
    schedule = case.schedule()
    gone_through = {
        (epoch, step): flat(schedule.step(epoch, step)) for epoch in epochs for step in range(schedule.steps_per_epoch)
    }
    positions = list(gone_through)
    random.shuffle(positions)
    anew = case.schedule()
    for position in positions[:12]:
        assert flat(anew.step(*position)) == gone_through[position]
    assert flat(case.schedule().step(*positions[0])) == gone_through[positions[0]]


def test_epochs_and_seeds_differ():
    for case in (EXAMPLE, Case(**{**vars(EXAMPLE), "kind": "bucketed", "num_programs": 1})):
        orders = {
            str([flat(step) for step in steps_of(case.schedule(seed=seed), epoch)])
            for seed in (0, 1, 2)
            for epoch in (0, 1, 2)
        }
        assert len(orders) == 9


def test_neighbours_change_with_the_epoch():
    """Examples of one step are not together again."""
    schedule = EXAMPLE.schedule()

    def together(epoch):
        return {frozenset(rows[rows != FILLER].tolist()) for _, rows in placements(schedule, epoch)}

    assert not {group for group in together(0) & together(1) if len(group) > 2}


def test_the_order_of_programs_is_shuffled_anew_every_epoch():
    schedule = EXAMPLE.schedule()
    orders = [tuple(program for program, _ in steps_of(schedule, epoch)) for epoch in range(6)]
    assert len(set(orders)) > 1
    assert any(list(order) != sorted(order) for order in orders)


def test_every_example_comes_to_every_step():
    """Over many epochs no example is tied to a place."""
    schedule = EXAMPLE.schedule()
    seen = np.zeros((schedule.steps_per_epoch, schedule.num_examples), bool)
    for epoch in range(100):
        for step, (_, blocks) in enumerate(steps_of(schedule, epoch)):
            rows = np.concatenate(blocks)
            seen[step, rows[rows != FILLER]] = True
    assert seen[:, EXAMPLE.bucket == 0].all()


@given(cases(), EPOCHS, st.sampled_from([1, 2, 4, 8, 16, 32, 64]))
def test_slices_of_hosts_are_disjoint_and_complete(case, epoch, hosts):
    """Host h takes the h-th part of the rows of every block; rows are a multiple of rows_multiple_of, so of hosts."""
    case = Case(**{**vars(case), "rows_multiple_of": 64, "examples_per_step": 64 * (1 + case.examples_per_step % 3)})
    seen = []
    for host in range(hosts):
        schedule = case.schedule()
        for _, blocks in steps_of(schedule, epoch):
            for rows in blocks:
                part, rest = divmod(len(rows), hosts)
                assert not rest
                seen += rows[host * part : (host + 1) * part].tolist()
    assert sorted(example for example in seen if example != FILLER) == list(range(len(case.bucket)))


@given(cases(), EPOCHS, st.integers(1, 5), st.booleans(), st.integers(1, 9))
def test_in_micro_steps_every_example_stands_exactly_once_an_epoch(case, epoch, accumulate, by_bucket, unit):
    """Also where a bucket has several blocks in a step."""
    units = np.minimum(unit, case.step_plan().rows.max(0)) if by_bucket else None
    step_plan = in_micro_steps(case.step_plan(), accumulate=accumulate, units=units)
    schedule = make_schedule(case.plan, step_plan, case.bucket, seed=case.seed)
    rows = np.concatenate([rows for _, rows in placements(schedule, epoch)])
    assert sorted(rows[rows != FILLER].tolist()) == list(range(len(case.bucket)))
    assert len(rows) == step_plan.rows_per_epoch
    for program, blocks in steps_of(schedule, epoch):
        assert [len(rows) for rows in blocks] == [block.rows for block in step_plan.programs[program].blocks]


def test_consecutive_slots_of_a_bucket_go_to_its_blocks():
    """Without shuffling, a step in micro-steps has the examples of the whole step, in their order."""
    case = Case(**{**vars(EXAMPLE), "kind": "bucketed", "num_programs": 1})
    whole, units = case.step_plan(), np.full(len(case.shapes), 8)
    assert (common_units(whole) % 8 == 0).all()
    parts = make_schedule(case.plan, in_micro_steps(whole, units=units), case.bucket, seed=0, shuffle=False)
    for (_, (rows,)), (_, blocks) in zip(steps_of(case.schedule(shuffle=False), 0), steps_of(parts, 0), strict=True):
        assert len(blocks) == len(rows) // 8
        assert np.concatenate(blocks).tolist() == rows.tolist()


@given(cases(), EPOCHS)
def test_without_shuffling_the_order_of_the_split_stays(case, epoch):
    schedule = case.schedule(shuffle=False)
    last_of_bucket, programs = {}, [program for program, _ in steps_of(schedule, epoch)]
    for bucket, rows in placements(schedule, epoch):
        for example in rows[rows != FILLER].tolist():
            assert last_of_bucket.get(bucket, -1) < example
            last_of_bucket[bucket] = example
    assert programs == sorted(programs)
    again = case.schedule(shuffle=False, seed=case.seed + 1)
    assert [flat(step) for step in steps_of(again, epoch + 1)] == [flat(step) for step in steps_of(schedule, epoch)]


@given(cases(), EPOCHS)
def test_no_bucket_holds_more_than_its_capacity(case, epoch):
    step_plan = case.step_plan()
    held, rows_of = np.zeros(len(case.shapes), int), np.zeros(len(case.shapes), int)
    for bucket, rows in placements(case.schedule(), epoch):
        held[bucket] += (rows != FILLER).sum()
        rows_of[bucket] += len(rows)
    assert step_plan.capacity.tolist() == rows_of.tolist()
    assert (held <= rows_of).all()
    assert held.tolist() == move_up(case.demand, step_plan.capacity, next_covering(case.plan)).tolist()


def test_a_layout_too_small_is_noticed_and_drops_nobody():
    step_plan = StepPlan((Program((BlockShape(0, 8), BlockShape(1, 8)), 2),), 2)
    plan = BucketPlan(((4,), (8,)))
    fits = make_schedule(plan, step_plan, np.repeat([0, 1], [20, 12]), seed=0)
    assert (np.concatenate([rows for _, rows in placements(fits, 0)]) != FILLER).all()
    too_many = make_schedule(plan, step_plan, np.repeat([0, 1], [20, 13]), seed=0)
    with pytest.raises(AssertionError, match="too small"):
        too_many.step(0, 0)
