"""The laws of a schedule: every example once an epoch, covered, balanced; a pure function of (plan, seed, epoch)."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fcn_jax.data.buckets import BucketPlan
from fcn_jax.data.layout import BlockShape, Layout, Program, bucketed_layout, move_up, next_covering, stratified_layout
from fcn_jax.data.schedule import FILLER, Schedule


def by_area(shape):
    return np.prod(shape), shape


@dataclass(frozen=True)
class Case:
    """A data set and how to schedule it; every example is as large as the canvas of its bucket."""

    shapes: tuple[tuple[int, ...], ...]
    bucket: np.ndarray
    kind: str
    examples_per_step: int
    rows_multiple_of: int
    turns: int
    seed: int

    @property
    def plan(self) -> BucketPlan:
        return BucketPlan(self.shapes)

    @property
    def demand(self) -> np.ndarray:
        return np.bincount(self.bucket, minlength=len(self.shapes))

    def layout(self) -> Layout:
        rows = {"examples_per_step": self.examples_per_step, "rows_multiple_of": self.rows_multiple_of}
        if self.kind == "bucketed":
            return bucketed_layout(self.plan, self.demand, **rows)
        return stratified_layout(self.plan, self.demand, turns=self.turns, **rows)

    def schedule(self, *, seed: int | None = None, shuffle: bool = True) -> Schedule:
        seed = self.seed if seed is None else seed
        return make_schedule(self.plan, self.layout(), self.bucket, seed=seed, shuffle=shuffle)


def make_schedule(plan: BucketPlan, layout: Layout, bucket: np.ndarray, *, seed: int, shuffle: bool = True) -> Schedule:
    """Of sizes that are the same in every epoch."""
    return Schedule(plan, layout, lambda _: bucket, num_examples=len(bucket), seed=seed, shuffle=shuffle)


def scattered(bucket: np.ndarray) -> np.ndarray:
    """In an order in which no bucket's examples stand together, the same every time."""
    return bucket[np.argsort(np.arange(len(bucket)) * 0.6180339887 % 1)]


@st.composite
def cases(draw, kinds=("stratified", "bucketed")):
    rank = draw(st.sampled_from([1, 2]))
    shape = st.tuples(*[st.integers(1, 30)] * rank)
    shapes = draw(st.sets(shape, min_size=1, max_size=7))
    shapes.add(tuple(max(sides) for sides in zip(*shapes, strict=True)))
    count = st.one_of(st.integers(0, 2), st.integers(0, 70), st.integers(100, 400))
    counts = draw(st.lists(count, min_size=len(shapes), max_size=len(shapes)))
    assume(sum(counts))
    kind = draw(st.sampled_from(kinds))
    rows_multiple_of = draw(st.sampled_from([1, 2, 3, 8]))
    return Case(
        shapes=tuple(sorted(shapes, key=by_area)),
        bucket=scattered(np.repeat(np.arange(len(shapes)), counts)),
        kind=kind,
        examples_per_step=rows_multiple_of * draw(st.integers(1, 8)),
        rows_multiple_of=rows_multiple_of,
        turns=draw(st.integers(1, 4)) if kind == "stratified" else 1,
        seed=draw(st.integers(0, 2**31 - 1)),
    )


EPOCHS = st.integers(0, 1000)
# Chains and an antichain; a bucket of 0 and of 1 examples; overflow that has to move up.
EXAMPLE = Case(
    shapes=((4, 4), (2, 9), (9, 2), (4, 9), (9, 9)),
    bucket=np.repeat([0, 1, 2, 3, 4, 0], [150, 41, 0, 77, 1, 150]),
    kind="stratified",
    examples_per_step=64,
    rows_multiple_of=8,
    turns=2,
    seed=11,
)


def steps_of(schedule: Schedule, epoch: int):
    return [schedule.step(epoch, step) for step in range(schedule.steps_per_epoch)]


def placements(schedule: Schedule, epoch: int):
    """(bucket, rows) of every block of an epoch, in order."""
    for program, blocks in steps_of(schedule, epoch):
        shapes = schedule.layout.programs[program].blocks
        for shape, rows in zip(shapes, blocks, strict=True):
            yield shape.bucket, rows


def flat(step):
    program, blocks = step
    return program, [rows.tolist() for rows in blocks]


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
    layout = schedule.layout
    for program, blocks in steps_of(schedule, epoch):
        shapes = layout.programs[program].blocks
        assert [len(rows) for rows in blocks] == [shape.rows for shape in shapes]
        assert all(shape.rows > 0 and shape.rows % case.rows_multiple_of == 0 for shape in shapes)
        assert len({shape.bucket for shape in shapes}) == len(shapes)
        assert sum(len(rows) for rows in blocks) == case.examples_per_step
    ran = np.bincount([program for program, _ in steps_of(schedule, epoch)], minlength=len(layout.programs))
    assert ran.tolist() == [program.steps for program in layout.programs]
    assert schedule.steps_per_epoch == sum(ran)


@given(cases(kinds=["bucketed"]))
def test_bucketed_programs_hold_one_bucket_each(case):
    blocks = [program.blocks for program in case.layout().programs]
    assert all(len(block) == 1 for block in blocks)
    assert len({block[0].bucket for block in blocks}) == len(blocks)


@given(cases(kinds=["stratified"]))
def test_turns_halve_the_steps_from_program_to_program(case):
    steps = [program.steps for program in case.layout().programs]
    assert len(steps) == case.turns
    total = max(case.turns, -(-len(case.bucket) // case.examples_per_step))
    assert total <= sum(steps) <= total + case.turns
    for turn, number in enumerate(steps):
        assert number >= 1
        assert abs(number - total * 0.5 ** min(turn + 1, case.turns - 1)) <= 1


def test_a_rare_large_bucket_stands_in_few_steps():
    plan, demand = BucketPlan(((8, 8), (64, 64))), np.array([8000, 5])
    shares = [
        stratified_layout(plan, demand, examples_per_step=8, rows_multiple_of=8, turns=turns).capacity[1] / 8005
        for turns in (1, 2, 4, 8)
    ]
    assert shares[0] == pytest.approx(1, abs=0.001)
    assert shares[1:] == pytest.approx([1 / 2, 1 / 8, 1 / 128], rel=0.1)


@settings(max_examples=100)
@given(cases(), EPOCHS)
def test_filler_is_spread_evenly_over_the_steps(case, epoch):
    """Of blocks of the same bucket and rows it differs by one at most, so of steps of one program by their blocks."""
    schedule = case.schedule()
    filler_of_block, filler_of_step = {}, {}
    for bucket, rows in placements(schedule, epoch):
        filler_of_block.setdefault((bucket, len(rows)), []).append(int((rows == FILLER).sum()))
    for program, blocks in steps_of(schedule, epoch):
        filler_of_step.setdefault(program, []).append(sum(int((rows == FILLER).sum()) for rows in blocks))
    assert all(max(filler) - min(filler) <= 1 for filler in filler_of_block.values())
    for program, filler in filler_of_step.items():
        assert max(filler) - min(filler) <= len(schedule.layout.programs[program].blocks)


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
    for case in (EXAMPLE, Case(**{**vars(EXAMPLE), "kind": "bucketed", "turns": 1})):
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


@given(cases())
def test_filler_is_less_than_one_turn_or_one_step_of_each_bucket(case):
    schedule = case.schedule()
    filler = schedule.layout.rows_per_epoch - len(case.bucket)
    if case.kind == "stratified":
        assert 0 <= filler < case.examples_per_step * case.turns
    else:
        assert 0 <= filler < case.examples_per_step * len(schedule.layout.programs)


@given(cases(), EPOCHS)
def test_no_bucket_holds_more_than_its_capacity(case, epoch):
    layout = case.layout()
    held, rows_of = np.zeros(len(case.shapes), int), np.zeros(len(case.shapes), int)
    for bucket, rows in placements(case.schedule(), epoch):
        held[bucket] += (rows != FILLER).sum()
        rows_of[bucket] += len(rows)
    assert layout.capacity.tolist() == rows_of.tolist()
    assert (held <= rows_of).all()
    assert held.tolist() == move_up(case.demand, layout.capacity, next_covering(case.plan)).tolist()


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
    layout, above = case.layout(), next_covering(case.plan)
    for program, rows in zip(layout.programs, layout.rows, strict=True):
        unit = case.rows_multiple_of * program.steps
        for larger in np.flatnonzero(rows):
            for smaller in range(larger):
                if case.plan.areas[smaller] < case.plan.areas[larger]:
                    capacity = layout.capacity.copy()
                    capacity[smaller] += unit
                    capacity[larger] -= unit
                    assert move_up(case.demand, capacity, above)[-1] > capacity[-1]


@given(cases(kinds=["bucketed"]))
def test_moving_up_never_adds_a_step(case):
    alone = -(-case.demand // case.examples_per_step)
    assert case.layout().steps_per_epoch <= alone.sum()


def test_moving_up_costs_no_more_than_filler():
    plan = BucketPlan(((64,), (400,)))
    layout = bucketed_layout(plan, np.array([513, 0]), examples_per_step=512, rows_multiple_of=8)
    assert (layout.capacity * plan.areas).sum() <= 2 * 512 * 64


def test_a_bucket_of_few_examples_moves_up_where_that_is_cheaper():
    plan = BucketPlan(((4,), (5,), (100,)))
    layout = bucketed_layout(plan, np.array([9, 15, 1]), examples_per_step=8, rows_multiple_of=8)
    assert layout.programs == (
        Program((BlockShape(0, 8),), 1),
        Program((BlockShape(1, 8),), 2),
        Program((BlockShape(2, 8),), 1),
    )


def test_a_stratified_step_mirrors_the_data():
    plan = BucketPlan(((4, 4), (8, 8)))
    layout = stratified_layout(plan, np.array([3000, 1000]), examples_per_step=64, rows_multiple_of=8)
    assert [block.rows for block in layout.programs[0].blocks] == [48, 16]


def test_turns_let_a_rare_bucket_stand_in_some_steps_only():
    plan = BucketPlan(((4, 4), (8, 8)))
    demand = np.array([6000, 400])
    every = stratified_layout(plan, demand, examples_per_step=16, rows_multiple_of=8)
    in_turns = stratified_layout(plan, demand, examples_per_step=16, rows_multiple_of=8, turns=4)
    assert [len(program.blocks) for program in every.programs] == [2]
    assert sorted(len(program.blocks) for program in in_turns.programs) == [1, 1, 1, 2]
    assert (in_turns.capacity * plan.areas).sum() < (every.capacity * plan.areas).sum()


@pytest.mark.parametrize("make_layout", [stratified_layout, bucketed_layout])
@pytest.mark.parametrize("examples_per_step", [0, 4, 12, -8])
def test_a_step_that_is_no_multiple_of_the_rows_is_refused(make_layout, examples_per_step):
    with pytest.raises(ValueError, match=rf"examples_per_step is {examples_per_step}, but .* which is 8"):
        make_layout(BucketPlan(((4,),)), np.array([9]), examples_per_step=examples_per_step, rows_multiple_of=8)


def test_a_layout_too_small_is_noticed_and_drops_nobody():
    layout = Layout((Program((BlockShape(0, 8), BlockShape(1, 8)), 2),), 2)
    plan = BucketPlan(((4,), (8,)))
    fits = make_schedule(plan, layout, np.repeat([0, 1], [20, 12]), seed=0)
    assert (np.concatenate([rows for _, rows in placements(fits, 0)]) != FILLER).all()
    too_many = make_schedule(plan, layout, np.repeat([0, 1], [20, 13]), seed=0)
    with pytest.raises(AssertionError, match="too small"):
        too_many.step(0, 0)
