"""The joint search: it keeps its bounds, is never worse than plain plans, and follows its costs."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_jax.config import ScheduleConfig
from fcn_jax.core.buckets import plan_buckets, plan_of
from fcn_jax.core.schedule_search import MOST_VARIATION, choose_schedule
from fcn_jax.core.step_plan import training_step_plan

COMPUTING_ALONE = (1e-6, 0.0, 0.0, 0.0)


def config(*, kind="stratified", costs=(2e-7, 0.5, 0.25, 2e-4), **fields) -> ScheduleConfig:
    return ScheduleConfig(**{"kind": kind, "max_buckets": 0, "examples_per_step": 16, "costs": costs, **fields})


def made(sizes, schedule: ScheduleConfig, *, epochs=10):
    """The plan and the step plan that are chosen."""
    plan, num_programs, _ = choose_schedule(sizes, schedule, num_examples=len(sizes), epochs=epochs)
    demand = np.bincount(plan.assign(sizes), minlength=len(plan.shapes))
    return plan, training_step_plan(plan, demand, schedule, num_programs=num_programs)


def positions(plan, step_plan) -> int:
    return int(step_plan.capacity @ plan.areas)


SIZES = st.builds(
    lambda seed, number, rank, spread: np.maximum(
        1, np.exp(np.random.default_rng(seed).normal(2.5, spread, (number, rank))).astype(int)
    ),
    st.integers(0, 10_000),
    st.integers(1, 300),
    st.sampled_from([1, 2]),
    st.sampled_from([0.1, 0.5, 0.9]),
)
KINDS = st.sampled_from(["stratified", "bucketed"])


CHOICES = given(SIZES, KINDS, st.sampled_from([1, 3, 8]), st.sampled_from([2, 8, 64]))


@settings(max_examples=12, deadline=None)
@CHOICES
def test_a_choice_covers_all_sizes_within_its_bounds(sizes, kind, rows, max_blocks):
    check_bounds(sizes, kind, rows, max_blocks)


@pytest.mark.full
@settings(max_examples=100, deadline=None)
@CHOICES
def test_many_choices_cover_all_sizes_within_their_bounds(sizes, kind, rows, max_blocks):
    check_bounds(sizes, kind, rows, max_blocks)


def check_bounds(sizes, kind, rows, max_blocks) -> None:
    schedule = config(kind=kind, rows_multiple_of=rows, max_blocks=max_blocks)
    plan, step_plan = made(sizes, schedule)
    assert (np.array(plan.shapes[-1]) == sizes.max(axis=0)).all()
    assert step_plan.capacity.sum() >= len(sizes)
    assert sum(len(program.blocks) for program in step_plan.programs) <= max_blocks
    assert kind == "bucketed" or step_plan.variation <= MOST_VARIATION
    assert (step_plan.capacity[:-1] > 0).all(), "only the canvas that covers everything may stay empty"


@settings(max_examples=10, deadline=None)
@given(SIZES, st.sampled_from([1, 4]))
def test_it_computes_no_more_than_any_plain_plan(sizes, rows):
    check_positions(sizes, rows)


@pytest.mark.full
@settings(max_examples=100, deadline=None)
@given(SIZES, st.sampled_from([1, 4]))
def test_it_computes_no_more_than_any_plain_plan_of_many_data_sets(sizes, rows):
    check_positions(sizes, rows)


def check_positions(sizes, rows) -> None:
    schedule = config(rows_multiple_of=rows, costs=COMPUTING_ALONE)
    best = positions(*made(sizes, schedule))
    for buckets in (1, 3, 8):
        plain = config(rows_multiple_of=rows, max_buckets=buckets, num_programs=1)
        assert best <= positions(*made(sizes, plain))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40), st.sampled_from([1, 2]))
def test_it_is_as_good_as_every_set_of_canvases_of_a_small_case(seed, number, num_programs):
    rng = np.random.default_rng(seed)
    sizes = rng.choice(np.array([[2, 3], [3, 2], [3, 5], [6, 6]]), number)
    schedule = config(num_programs=num_programs, costs=COMPUTING_ALONE)
    largest = tuple(sizes.max(axis=0).tolist())
    canvases = [(h, w) for h in np.unique(sizes[:, 0]).tolist() for w in np.unique(sizes[:, 1]).tolist()]
    least = np.inf
    for count in range(min(5, len(canvases))):
        for chosen in combinations(canvases, count):
            plan = plan_of([*chosen, largest])
            demand = np.bincount(plan.assign(sizes), minlength=len(plan.shapes))
            step_plan = training_step_plan(plan, demand, schedule, num_programs=num_programs)
            if step_plan.variation <= MOST_VARIATION:
                least = min(least, positions(plan, step_plan))
    assert positions(*made(sizes, schedule)) <= 1.02 * least


def lengths(number=400):
    return np.maximum(8, np.random.default_rng(0).lognormal(4, 0.6, (number, 1)).astype(int))


def test_costly_compilation_means_fewer_blocks_and_long_training_more():
    blocks = [
        sum(len(program.blocks) for program in made(lengths(), config(costs=costs), epochs=epochs)[1].programs)
        for costs, epochs in [
            ((2e-7, 5.0, 2.5, 0.0), 10),
            ((2e-7, 0.05, 0.02, 0.0), 10),
            ((2e-7, 0.05, 0.02, 0.0), 1000),
        ]
    ]
    assert blocks[0] < blocks[1] < blocks[2]


def test_blocks_that_cost_time_in_every_step_are_few():
    free, costly = (made(lengths(), config(costs=(2e-7, 0.0, 0.0, cost)))[1] for cost in (0.0, 1e-3))
    assert sum(len(p.blocks) for p in costly.programs) < sum(len(p.blocks) for p in free.programs)


def test_given_numbers_rule():
    sizes = lengths()
    plan, programs, note = choose_schedule(
        sizes, config(max_buckets=5, num_programs=3), num_examples=len(sizes), epochs=9
    )
    assert (plan, programs, note) == (plan_buckets(sizes, 5), 3, "")
    plan, programs, _ = choose_schedule(sizes, config(max_buckets=5), num_examples=len(sizes), epochs=9)
    assert plan == plan_buckets(sizes, 5)
    assert programs >= 1
    assert choose_schedule(sizes, config(num_programs=2), num_examples=len(sizes), epochs=99)[1] == 2


def test_two_lines_say_what_was_chosen_and_what_the_next_would_cost():
    sizes = lengths()
    _, _, note = choose_schedule(sizes, config(), num_examples=len(sizes), epochs=10)
    first, second = note.splitlines()
    assert first.startswith("chose ")
    assert "s of computing and" in first
    assert second.startswith("the next, ")
    assert "compile" in second


def test_counts_mean_the_same_as_repeated_sizes():
    distinct, counts = np.unique(lengths(), axis=0, return_counts=True)
    repeated = choose_schedule(np.repeat(distinct, counts, axis=0), config(), num_examples=400, epochs=10)
    assert choose_schedule(distinct, config(), num_examples=400, epochs=10, counts=counts) == repeated


def test_a_net_without_costs_in_its_config_takes_those_of_the_default_net():
    sizes = lengths()
    chosen = [
        choose_schedule(sizes, config(costs=c), num_examples=400, epochs=10)[0] for c in ((), (2e-7, 0.5, 0.25, 2e-4))
    ]
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_very_few_examples_are_planned_too(number):
    _, step_plan = made(lengths(number), config(examples_per_step=64))
    assert step_plan.capacity.sum() >= number
    assert step_plan.steps_per_epoch == 1
