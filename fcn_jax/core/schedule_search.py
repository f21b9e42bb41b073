"""The joint search: buckets, programs and rows are chosen together, so that the whole run takes the least time.

More buckets pad less, and more programs divide the rows of a bucket more finely. But every block of every program has
to be compiled, and costs some time in each step. So no number of buckets is best by itself.
Every plan of `bucket_search` is combined with every number of programs. The canvases of the best few are then moved,
one at a time, to where their rows are best used.
What always holds: the choice is a pure function of the sizes, the config and the costs; it never takes longer, by
these costs, than a plan of `plan_buckets` with any allowed number of buckets and programs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fcn_jax.config import ScheduleConfig
from fcn_jax.core import bucket_search
from fcn_jax.core.bucket_search import Canvas, Grid, SizeCounts
from fcn_jax.core.buckets import BucketPlan, plan_buckets, plan_of, size_counts
from fcn_jax.core.step_plan import training_step_plan

MOST_BUCKETS = 32
"""The most buckets tried. Each is also a program of evaluation. Beyond 32, more programs fill better."""
MOST_PROGRAMS = 8
"""The most programs tried."""
RUNS_PER_COMPILATION = 3
"""The number of runs that share what is compiled: the cache of programs serves other seeds, resumes and evaluations."""
MOVED = 3
"""The number of choices whose canvases are moved: those that take least time before that."""
MOST_VARIATION = 0.25
"""The most by which the mix of any program may differ from the data's, as a total variation distance. Shuffled steps of
64 examples differ as much from data in 24 buckets, and people train with such steps."""
MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1), (1, 1), (-1, -1), (2, 0), (0, 2), (-2, 0), (0, -2))
"""The moves of a canvas that are tried, in lines of the grid: (height, width)."""


@dataclass(frozen=True)
class Costs:
    """What a run costs, in seconds."""

    position: float
    """One position of a training step, forward and backward."""
    compile_block: float
    """Compiling one block of a training program."""
    compile_evaluation: float
    """Compiling the evaluation program of one bucket."""
    block_step: float
    """Starting the work of one block in one step, whatever its size."""


@dataclass(frozen=True)
class Choice:
    """Buckets and programs, and what they cost."""

    canvases: tuple[Canvas, ...]
    num_programs: int
    blocks: int
    """Blocks of all programs together."""
    variation: float
    """Largest distance of a program's mix from the data's."""
    compiling: float
    """Seconds of compiling."""
    computing: float
    """Seconds of computing in all epochs."""

    @property
    def seconds(self) -> float:
        """Seconds that count in the comparison of choices."""
        return self.computing + self.compiling / RUNS_PER_COMPILATION

    def __str__(self) -> str:
        programs = f" in {self.num_programs} programs" * (self.num_programs > 1)
        return f"{len(self.canvases)} buckets{programs} ({self.blocks} blocks)"


REFERENCE = Costs(position=2e-7, compile_block=0.5, compile_evaluation=0.25, block_step=2e-4)
"""The costs of the default net on two CPU cores."""


def choose_schedule(
    sizes: np.ndarray,
    config: ScheduleConfig,
    *,
    num_examples: int,
    epochs: int,
    counts: np.ndarray | None = None,
) -> tuple[BucketPlan, int, str]:
    """Choose the buckets and the number of programs of a stage, where the config leaves them open, by its costs.

    Args:
        sizes: [n, r] true sizes, of one epoch or of several.
        counts: [n] how often each size occurs; None: once.

    Returns:
        The plan, the number of programs, and two lines for people that say what was chosen and why, or no line.
    """
    rank = np.shape(sizes)[-1]
    if not config.leaves_open:
        plan = plan_buckets(sizes, config.max_buckets, multiple_of=config.multiple_of, counts=counts)
        return plan, max(1, config.num_programs), ""
    table = size_counts(sizes, multiple_of=config.multiple_of, counts=counts)
    costs = Costs(*config.costs) if config.costs else REFERENCE
    search = Search(table, costs, config, num_examples=num_examples, epochs=epochs)
    best, faster = search.best()
    plan = plan_of(canvas[-rank:] for canvas in best.canvases)
    return plan, best.num_programs, "" if config.max_buckets else describe_choice(best, faster, config.max_blocks)


def describe_choice(best: Choice, faster: Choice | None, max_blocks: int) -> str:
    """Return two lines for people: what was chosen and why, and what the next choice that computes less would cost."""
    chosen = (
        f"chose {best}: about {_time(best.computing)} of computing and {_time(best.compiling)} of compiling, "
        f"the least together if {RUNS_PER_COMPILATION} runs share what is compiled"
    )
    if faster is None:
        return f"{chosen}\nno other choice computes less"
    excluded = ""
    if faster.blocks > max_blocks:
        excluded = f"; schedule.max_blocks={max_blocks} excludes it"
    elif faster.variation > MOST_VARIATION:
        excluded = "; it is excluded, since a program of it mixes sizes too differently from the data"
    return (
        f"{chosen}\nthe next, {faster}, would compute {_time(best.computing - faster.computing)} less and compile "
        f"{_time(max(0.0, faster.compiling - best.compiling))} longer{excluded}"
    )


def _time(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 7200 else f"{seconds:,.1f} s"


class Search:
    """The choices for one stage of training.

    Args:
        sizes: the counted sizes of the examples, of one epoch or of several.
        num_examples: examples of an epoch.
        epochs: epochs of the stage.
        config: the kind and the size of steps, and the numbers of buckets and programs where they are given.
    """

    def __init__(self, sizes: SizeCounts, costs: Costs, config: ScheduleConfig, *, num_examples: int, epochs: int):
        self.sizes, self.costs, self.config, self.epochs = sizes, costs, config, epochs
        self._samples = float(sizes.count.sum()) / num_examples
        """How often each example is counted: once, or more often where sizes are random. Then canvases stay where many
        epochs need them, since those moved to fit the mean of some epochs would fit no other epoch well."""

    def best(self) -> tuple[Choice, Choice | None]:
        """Return the choice of least time, and the one of least time among those that compute less than it."""
        planned = self._planned()
        allowed = [choice for choice in planned if self._is_allowed(choice)] or planned[:1]
        if not self.config.max_buckets and self._samples == 1:
            allowed += [self._move_canvases(choice) for choice in sorted(allowed, key=_seconds)[:MOVED]]
        best = min(allowed, key=_seconds)
        faster = [choice for choice in (*allowed, *planned) if choice.computing < best.computing]
        return best, min(faster, key=_seconds, default=None)

    def _is_allowed(self, choice: Choice) -> bool:
        return choice.blocks <= self.config.max_blocks and choice.variation <= MOST_VARIATION

    def _planned(self) -> list[Choice]:
        """Return a choice for every plan and every number of programs that the config leaves open."""
        plans = list(bucket_search.plans(self.sizes, self.config.max_buckets or MOST_BUCKETS))
        programs = range(1, MOST_PROGRAMS + 1) if self.config.kind == "stratified" else [1]
        if self.config.num_programs:
            programs = [self.config.num_programs]
        choices = []
        for plan in plans[-1:] if self.config.max_buckets else plans:
            grid = self.sizes.grid(*(np.unique(side) for side in zip(*plan, strict=True)))
            choices += [self._choice(grid, plan, number) for number in programs]
        return choices

    def _choice(self, grid: Grid, canvases: Sequence[tuple[int, ...]], num_programs: int) -> Choice:
        """Return the choice of some canvases, whose sides are lines of the grid. Canvases without rows are left out."""
        plan, config = plan_of(canvases), self.config
        demand = np.ceil(_demand(grid, plan) / self._samples).astype(np.int64)
        step_plan = training_step_plan(plan, demand, config, num_programs=num_programs)
        used = [shape for shape, rows in zip(plan.shapes[:-1], step_plan.capacity, strict=False) if rows]
        if len(used) < len(plan.shapes) - 1:
            return self._choice(grid, [*used, plan.shapes[-1]], num_programs)
        blocks = [len(program.blocks) for program in step_plan.programs]
        compiled = len(plan.shapes) if config.programs == "bucket" else sum(blocks)
        block_steps = sum(number * program.steps for number, program in zip(blocks, step_plan.programs, strict=True))
        positions = int(step_plan.capacity @ plan.areas)
        return Choice(
            tuple((height, width) for height, width in plan.shapes),
            len(step_plan.programs) if config.kind == "stratified" else 1,
            compiled,
            step_plan.variation if config.kind == "stratified" else 0.0,
            compiling=compiled * self.costs.compile_block + len(plan.shapes) * self.costs.compile_evaluation,
            computing=self.epochs * (positions * self.costs.position + block_steps * self.costs.block_step),
        )

    def _move_canvases(self, choice: Choice) -> Choice:
        """Return the choice with its canvases moved, one at a time, until no move saves time; the largest stays."""
        lines = [
            np.union1d(line, side) for line, side in zip(self.sizes.lines(), np.transpose(choice.canvases), strict=True)
        ]
        grid = self.sizes.grid(*lines)
        improved = True
        while improved:
            improved = False
            for canvas in choice.canvases[:-1]:
                if canvas not in choice.canvases:
                    continue
                others = [other for other in choice.canvases if other != canvas]
                moved = [self._choice(grid, [*others, to], choice.num_programs) for to in _near(canvas, lines)]
                best = min([choice, *filter(self._is_allowed, moved)], key=_seconds)
                improved, choice = improved or best is not choice, best
        return choice


def _near(canvas: Canvas, lines: Sequence[np.ndarray]) -> Iterator[Canvas]:
    """Yield the canvases to which one may be moved."""
    place = [int(np.searchsorted(line, side)) for line, side in zip(lines, canvas, strict=True)]
    for move in MOVES:
        row, column = (index + step for index, step in zip(place, move, strict=True))
        if 0 <= row < len(lines[0]) and 0 <= column < len(lines[1]):
            yield int(lines[0][row]), int(lines[1][column])


def _demand(grid: Grid, plan: BucketPlan) -> np.ndarray:
    """Return how many of the counted sizes each bucket of the plan holds, [k], as `BucketPlan.assign` has it."""
    owner = np.zeros(grid.count.shape, np.intp)
    for index, box in sorted(grid.boxes(plan.shapes)[1], reverse=True):
        owner[box] = index
    return np.bincount(owner.ravel(), grid.count.ravel(), minlength=len(plan.shapes))


def _seconds(choice: Choice) -> float:
    return choice.seconds
