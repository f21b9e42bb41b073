"""Checkpoints: the state and its position in the schedule, saved by Orbax in the background.

A position is (epoch, step) and what the run has cost so far. Restoring needs an abstract target, so a checkpoint of
another model fails with a line, and nothing is unpickled.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from fcn_jax.train.state import TrainState


class Checkpoints:
    """The checkpoints of a workdir; use it as a context manager, so that the last save is finished.

    Args:
        directory: `checkpoints/` of the workdir.
        keep: how many of the newest to keep.
    """

    def __init__(self, directory: Path, *, keep: int):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(directory.resolve(), options=options)
        self._directory = directory

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """Updates done at the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, position: dict[str, Any]) -> None:
        """Save in the background. The state is copied first: on CPU Orbax may look at buffers that the next step is
        donated."""
        copy = jax.tree.map(jnp.copy, state)
        self._manager.save(
            step, args=ocp.args.Composite(state=ocp.args.StandardSave(copy), position=ocp.args.JsonSave(position))
        )

    def restore(self, step: int, target: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """State and position at a step.

        Args:
            target: a state of the same shapes; the restored one has its shardings.

        Raises:
            ValueError: the checkpoint is damaged or of another model.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore()),
            )
        except Exception as error:  # Orbax and TensorStore raise many kinds.
            reason = str(error).strip().split("\n")[0]
            raise ValueError(
                f"checkpoint {self._directory / str(step)} cannot be restored ({type(error).__name__}: {reason}): "
                "delete that folder to go on from the one before it"
            ) from error
        return restored["state"], restored["position"]


def has_checkpoint(workdir: Path) -> bool:
    """Whether a run in that workdir would go on where it stopped."""
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        return False
    with Checkpoints(directory, keep=1) as checkpoints:
        return checkpoints.latest is not None


def restore_latest(workdir: Path, target: TrainState) -> TrainState:
    """The newest checkpoint of a run.

    Args:
        target: a state of the same shapes; the restored one has its shardings.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        raise ValueError(f"--workdir={workdir} holds no checkpoint: there is no {directory}; train it first")
    with Checkpoints(directory, keep=1) as checkpoints:
        if checkpoints.latest is None:
            raise ValueError(f"{directory} holds no whole checkpoint: train this workdir first")
        return checkpoints.restore(checkpoints.latest, target)[0]
