"""Checkpoints: the state and its position in the schedule, saved by Orbax.

A save is finished before the next step begins, so that no kill costs more than one interval. A position is the step
and what the run has cost so far, with a checksum of it all: Orbax notices a file that is cut off, but no flipped bit
of an array. Restoring needs an abstract target, so a checkpoint of another model fails with a line, and nothing is
unpickled. A damaged checkpoint is set aside, and the one before it restored.
"""

import hashlib
import json
import logging
import shutil
import sys
import textwrap
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from fcn_jax.config import UserError
from fcn_jax.core.step import TrainState
from fcn_jax.system.console import say
from fcn_jax.system.disk import MAKE_ROOM
from fcn_jax.system.processes import is_first, together


class CheckpointManager(ocp.CheckpointManager):
    """Leaves it to the loop to ask whether the run has to stop."""

    def reached_preemption(self, step: int) -> bool:
        """Never: JAX has processes agree on the next count, whosever it is, and the loop counts otherwise.

        A count of Orbax's, which are steps, would be past for the loop, which then would never stop.
        """
        del step
        return False


@cache
def silence_orbax() -> None:
    """Silence, from now on, what Orbax and TensorStore say of a checkpoint that fails: `Checkpoints` says it in a line.

    Each of their threads logs a traceback of its own. What they began and abandoned ends later, when nobody waits for
    it: then asyncio logs tasks, and Python says which exceptions it ignores.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_is_of_others)
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)
    show = sys.unraisablehook

    def show_others(unraisable: Any) -> None:
        coroutine = getattr(unraisable.object, "cr_code", None)
        if str(unraisable.exc_value) != CLOSED and not (coroutine and ORBAX in coroutine.co_filename):
            show(unraisable)

    sys.unraisablehook = show_others


def _is_of_others(record: logging.LogRecord) -> bool:
    return ORBAX not in record.pathname and ORBAX not in record.getMessage()


ORBAX, CLOSED = "orbax", "Event loop is closed"
CHECKSUM = "sha256"


class Restored(NamedTuple):
    """A whole checkpoint."""

    step: int
    """Updates done."""
    state: TrainState
    position: dict[str, Any]


class Checkpoints:
    """The checkpoints of a workdir; use it as a context manager.

    Args:
        directory: `checkpoints/` of the workdir.
        keep: how many of the newest to keep; None: they are only read, perhaps beside the run that writes them.

    Raises:
        UserError: what one of them says of itself is damaged.
    """

    def __init__(self, directory: Path, *, keep: int | None):
        silence_orbax()
        if keep is None:
            options = ocp.CheckpointManagerOptions(create=False)
        else:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=False
            )
        try:
            self._manager = CheckpointManager(directory.resolve(), options=options)
        except Exception as error:  # Orbax reads what each checkpoint says of itself, and raises many kinds.
            raise UserError(
                f"{directory} cannot be read ({_first_line(error)}): delete the checkpoint in it whose "
                "_CHECKPOINT_METADATA is damaged"
            ) from error
        self._directory, self._only_reads = directory, keep is None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """Updates done at the newest checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, position: dict[str, Any]) -> None:
        """
        Raises:
            UserError: the disk does not take it; the checkpoints before are kept.
        """
        position = {**position, CHECKSUM: checksum(state, position)}
        try:
            self._manager.save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position))
            )
        except Exception as error:  # Orbax and TensorStore raise many kinds.
            path = self._directory / str(step)
            raise UserError(
                f"checkpoint {path} cannot be saved ({_first_line(error)}), but those before it are kept: {MAKE_ROOM}"
            ) from error

    def restore_newest(self, target: TrainState, *, strict: bool = False) -> Restored | None:
        """The newest checkpoint that is whole; None where there is none at all.

        Args:
            target: a state of the same shapes; the restored one has its shardings.
            strict: the newest has to be whole.

        Raises:
            UserError: none is whole, or of this model.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._restore(step, target)
            except _DamagedError as error:
                damaged[step] = str(error)
                if strict:
                    break
                continue
            for number, reason in damaged.items():
                say(f"{self._set_aside(number)} is damaged ({reason}): the checkpoint of step {step} is used instead")
            return restored
        if not damaged:
            return None
        newest = max(damaged)
        remedy = (
            "leave out --strict to use the one before it"
            if strict
            else f"none of the {len(damaged)} checkpoints can: start again in another workdir, or delete this folder"
        )
        raise UserError(f"checkpoint {self._directory / str(newest)} cannot be restored ({damaged[newest]}): {remedy}")

    def _restore(self, step: int, target: TrainState) -> Restored:
        """
        Raises:
            _DamagedError: it is damaged or of another model.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore()),
            )
            state, position = restored["state"], dict(restored["position"])
        except Exception as error:  # Orbax and TensorStore raise many kinds.
            raise _DamagedError(_first_line(error)) from error
        if position.pop(CHECKSUM, None) != checksum(state, position):
            raise _DamagedError("its checksum is another than when it was saved")
        return Restored(step, state, position)

    def _set_aside(self, step: int) -> Path:
        """Rename a damaged checkpoint, unless another process may be writing; returns where it is now."""
        path = self._directory / str(step)
        if self._only_reads:
            return path
        aside = self._directory / f"damaged-{step}"
        with together():
            if is_first():
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
        self._manager.reload()
        return aside


class _DamagedError(Exception):
    """A checkpoint cannot be restored; the message is the reason."""


def checksum(state: TrainState, position: dict[str, Any]) -> str:
    """SHA-256 of every array of a state, under its path, and of the position."""
    digest = hashlib.sha256(json.dumps(position, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    """Return the first line of an error, which may name a whole storage layout."""
    return textwrap.shorten(f"{type(error).__name__}: {error}".split("\n")[0], 160)


def has_checkpoint(workdir: Path) -> bool:
    """Return whether a run in that workdir would go on where it stopped."""
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        return False
    with Checkpoints(directory, keep=None) as checkpoints:
        return checkpoints.latest is not None


def restore_latest(workdir: Path, target: TrainState, *, strict: bool = False) -> TrainState:
    """The newest whole checkpoint of a run; nothing in the workdir is changed.

    Args:
        target: a state of the same shapes; the restored one has its shardings.
        strict: the newest of all has to be whole.

    Raises:
        UserError: there is none, or it is damaged.
    """
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        raise UserError(f"--workdir={workdir} holds no checkpoint: there is no {directory}; train it first")
    with Checkpoints(directory, keep=None) as checkpoints:
        restored = checkpoints.restore_newest(target, strict=strict)
    if restored is None:
        raise UserError(f"{directory} holds no whole checkpoint: train this workdir first")
    return restored.state
