"""The library's face: every name is there, planning needs no JAX, and the programs of docs/library.md run."""

import re
import subprocess
import sys

import numpy as np
import pytest

import fcn_jax
from tests.processes import ROOT

PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.S)
SIZES = np.array([[4, 6], [5, 5], [9, 3], [8, 8], [2, 2]])


@pytest.mark.parametrize("name", fcn_jax.__all__)
def test_every_name_is_there(name):
    assert getattr(fcn_jax, name).__name__ == name
    assert name in dir(fcn_jax)


def test_no_other_name_is_there():
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = fcn_jax.nosuch


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_of_the_page_run(program):
    assert len(program.splitlines()) < 40
    exec(compile(program, "docs/library.md", "exec"), {"__name__": "library"})


def test_there_are_two_programs():
    assert len(PROGRAMS) == 2


def test_planning_and_scheduling_need_no_jax():
    program = """if True:
        import sys, numpy, fcn_jax
        sizes = numpy.array([[3, 4], [5, 6]])
        plan = fcn_jax.plan_buckets(sizes, 2)
        bucket = plan.assign(sizes)
        step_plan = fcn_jax.stratified_step_plan(plan, numpy.bincount(bucket), examples_per_step=2)
        fcn_jax.Schedule(plan, step_plan, bucket, num_examples=2, seed=0).step(0, 0)
        sys.exit("jax" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def make_schedule(sizes=SIZES):
    plan = fcn_jax.plan_buckets(sizes, max_buckets=2)
    bucket = plan.assign(sizes)
    step_plan = fcn_jax.bucketed_step_plan(plan, np.bincount(bucket, minlength=2), examples_per_step=3)
    return fcn_jax.Schedule(plan, step_plan, bucket, num_examples=len(sizes), seed=1)


class Made:
    """Example i holds the value i + 1; its label is i."""

    def __init__(self, sizes=SIZES):
        self.sizes = sizes

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        return np.full((*self.sizes[index], 2), index + 1, np.float32), index


def test_blocks_hold_the_examples_and_zeros_around_them():
    steps = list(fcn_jax.load_blocks(Made(), make_schedule(), epoch=0))
    rows = [(b, row) for step in steps for b in step for row in range(len(b.index))]
    examples = [(b, row) for b, row in rows if b.weight[row]]
    assert sorted(int(b.label[row]) for b, row in examples) == [0, 1, 2, 3, 4]
    for block, row in examples:
        index = block.index[row]
        assert block.image.dtype == np.float32
        assert (block.image[row] != 0).sum() == 2 * SIZES[index].prod()
        assert tuple(block.size[row]) == tuple(SIZES[index])
        assert block.image[row, : block.size[row, 0], : block.size[row, 1]].min() == index + 1
    for block, row in rows:
        if not block.weight[row]:
            assert (block.index[row], block.size[row].sum(), np.abs(block.image[row]).sum()) == (-1, 0, 0)


def test_an_epoch_goes_on_where_it_stopped():
    whole = list(fcn_jax.load_blocks(Made(), make_schedule(), epoch=3))
    rest = list(fcn_jax.load_blocks(Made(), make_schedule(), epoch=3, start=1))
    assert [b.index.tolist() for step in whole[1:] for b in step] == [b.index.tolist() for step in rest for b in step]


def test_an_example_larger_than_its_canvas_is_refused():
    with pytest.raises(fcn_jax.UserError, match=r"example \d is .*, larger than its canvas"):
        list(fcn_jax.load_blocks(Made(SIZES + 1), make_schedule(), epoch=0))


def test_a_source_of_another_length_is_refused():
    with pytest.raises(fcn_jax.UserError, match="the source has 6 examples, but the schedule was made for 5"):
        next(fcn_jax.load_blocks(Made(np.concatenate([SIZES, SIZES[:1]])), make_schedule(), epoch=0))


def test_steps_are_compiled_for_every_program():
    import jax

    schedule = make_schedule()
    step = jax.jit(lambda total, blocks: total + sum(block.image.sum() for block in blocks))
    compiled = fcn_jax.compile_steps(
        step, np.zeros((), np.float32), plan=schedule.plan, step_plan=schedule.step_plan, channels=2
    )
    assert len(compiled) == len(schedule.step_plan.programs)
