"""The report that ends a run whose loss or parameters are not finite: the step, its blocks and its examples by name.

The schedule tells which examples a step held, so training records nothing for this report.
"""

from pathlib import Path

from fcn_jax.core.schedule import FILLER
from fcn_jax.system.disk import write_json
from fcn_jax.train.compile_in_threads import CompiledPrograms
from fcn_jax.train.log import NotFiniteError
from fcn_jax.train.setup import Split

EXAMPLES = "not_finite.json"
"""Name of the file in a workdir that lists the examples of the first such step."""
EXAMPLES_NAMED = 3
"""Number of examples that the error message itself names."""


def describe_not_finite(
    error: NotFiniteError, train: Split, programs: CompiledPrograms, workdir: Path, *, kept: int | None
) -> str:
    """Return the error message that ends the run, and write the names of all examples of the step to the workdir.

    Args:
        kept: step of the newest checkpoint; None if there is none.
    """
    stage, epoch, step_of_epoch = train.stages.position(error.step - 1)
    number, blocks = train.stages[stage].schedule.step(epoch, step_of_epoch)
    program, source = programs.train[stage][number], train.dataset.source
    names = [source.name(index) for rows in blocks for index in rows[rows != FILLER].tolist()]
    write_json(workdir / EXAMPLES, {"step": error.step, "examples": names})
    saved = "no checkpoint was saved" if kept is None else f"the checkpoint of step {kept} is kept"
    return (
        f"{error.what} at step {error.step} (step {step_of_epoch + 1} of epoch {epoch + 1}), program {program.name}, "
        f"blocks {program.blocks}; its {len(names)} examples ({', '.join(names[:EXAMPLES_NAMED])}, ...) are named in "
        f"{workdir / EXAMPLES}; {saved}: look at the data, or start again in another workdir "
        "with a lower --config.train.learning_rate"
    )
