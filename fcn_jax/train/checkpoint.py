"""Checkpoints: the state and its position in the schedule, saved by Orbax.

A save copies the state, and a thread writes the copy while training goes on; the next save and the end of the run wait
for it. With several processes it is written before the next step, since they have to agree on it. So a kill loses at
most the steps since the last save that was written. The position
holds what the run has cost so far and a checksum of state and position: Orbax notices a file that is cut off, but not
a flipped bit in an array. Restoring needs an abstract target, so a checkpoint of another model fails with a one-line
error. Nothing is unpickled. A damaged checkpoint is renamed, and the one before it is restored.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import textwrap
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from fcn_jax.config import CheckpointConfig, UserError
from fcn_jax.core.step import TrainState, Variables
from fcn_jax.system.console import say
from fcn_jax.system.disk import MAKE_ROOM
from fcn_jax.system.processes import gather, is_first, together


class CheckpointManager(ocp.CheckpointManager):
    """Orbax's manager, but it never checks whether the run has to stop: the training loop does that."""

    def reached_preemption(self, step: int) -> bool:
        """Return False, so that only the training loop asks JAX.

        JAX makes the processes agree on one count at which to stop. Orbax counts steps, and the loop counts its checks.
        If JAX chose a step of Orbax, the loop might already be past that count and would never stop.
        """
        del step
        return False


@cache
def silence_orbax() -> None:
    """Silence what Orbax and TensorStore log about a failed checkpoint; `Checkpoints` reports it in one line.

    Each of their threads logs its own traceback. The work that they abandon ends later, when nothing waits for it:
    asyncio then logs unfinished tasks, and Python prints the exceptions that it ignores.
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


CHECKPOINTS, BEST = "checkpoints", "best"
"""Folders of a workdir: the newest states, and the best one."""
ORBAX, CLOSED = "orbax", "Event loop is closed"
CHECKSUM = "sha256"


class Restored(NamedTuple):
    """A checkpoint that was restored and is whole."""

    step: int
    """Number of updates done."""
    state: TrainState
    position: dict[str, Any]


class Checkpoints:
    """The checkpoints of a workdir; use it as a context manager.

    Args:
        directory: `checkpoints/` of the workdir.
        keep: how many of the newest to keep. None: they are only read, perhaps while another process writes them.

    Raises:
        UserError: the metadata of a checkpoint is damaged.
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
        except Exception as error:  # Orbax reads the metadata of each checkpoint, and raises many kinds of errors.
            raise UserError(
                f"{directory} cannot be read ({_first_line(error)}): delete the checkpoint in it whose "
                "_CHECKPOINT_METADATA is damaged"
            ) from error
        self.directory, self._only_reads = directory, keep is None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._last_save = time.monotonic()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        try:
            self.wait()
        except UserError as error:
            if kind is None:
                raise
            say(str(error))
        finally:
            self._thread.shutdown()
            self._manager.close()

    @property
    def latest(self) -> int | None:
        """Number of updates done at the newest checkpoint that is written; None if there is none."""
        return self._manager.latest_step()

    def are_due(self, step: int, config: CheckpointConfig, *, together: bool) -> bool:
        """Return whether to save after a step; the clock of process 0 counts the minutes.

        Args:
            together: whether all processes wait for each other here anyway, so that they can agree on the time.
        """
        if config.every_steps and step % config.every_steps == 0:
            return True
        are_over = time.monotonic() - self._last_save >= 60 * config.every_minutes
        return bool(config.every_minutes) and together and gather(are_over)[0]

    def save(self, step: int, state: TrainState, position: dict[str, Any]) -> None:
        """Save a checkpoint: on return, the state is copied, and may be changed; `wait` returns when it is written.

        Raises:
            UserError: this checkpoint, or the one before it, cannot be written; those before are kept.
        """
        self.wait()
        self._last_save = time.monotonic()
        if jax.process_count() > 1:
            self._write(step, state, position)
        else:
            copied = jax.tree.map(lambda leaf: np.array(leaf, copy=True), state)
            self._writing = self._thread.submit(self._write, step, copied, position)

    def wait(self) -> None:
        """Wait until the last checkpoint is written.

        Raises:
            UserError: it cannot be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, step: int, state: TrainState, position: dict[str, Any]) -> None:
        position = {**position, CHECKSUM: checksum(state, position)}
        try:
            self._manager.save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position))
            )
        except Exception as error:  # Orbax and TensorStore raise many kinds of errors.
            path = self.directory / str(step)
            raise UserError(
                f"checkpoint {path} cannot be saved ({_first_line(error)}), but those before it are kept: {MAKE_ROOM}"
            ) from error

    def restore_newest(self, target: TrainState, *, strict: bool = False) -> Restored | None:
        """Restore the newest checkpoint that is whole; return None if there is no checkpoint.

        Args:
            target: a state of the same shapes; the restored state gets its shardings.
            strict: fail if the newest checkpoint is damaged.

        Raises:
            UserError: every checkpoint (with `strict`: the newest) is damaged or belongs to another model.
        """
        self.wait()
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
        raise UserError(f"checkpoint {self.directory / str(newest)} cannot be restored ({damaged[newest]}): {remedy}")

    @property
    def steps(self) -> list[int]:
        """The numbers of updates of all checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def delete_all(self) -> None:
        """Delete all checkpoints."""
        for step in self.steps:
            self._manager.delete(step)

    def restore(self, step: int, target: TrainState) -> Restored:
        """Restore the checkpoint of one step.

        Raises:
            UserError: it is damaged or belongs to another model.
        """
        try:
            return self._restore(step, target)
        except _DamagedError as error:
            raise UserError(
                f"checkpoint {self.directory / str(step)} cannot be restored ({error}): choose another --checkpoint"
            ) from error

    def _restore(self, step: int, target: TrainState) -> Restored:
        """Restore one checkpoint and verify its checksum.

        Raises:
            _DamagedError: the checkpoint is damaged or belongs to another model.
        """
        try:
            state, position = self._read(step, target)
        except Exception as error:  # Orbax and TensorStore raise many kinds of errors.
            if target.average is None:
                raise _DamagedError(_first_line(error)) from error
            try:  # Older checkpoints hold an average of the parameters alone.
                state, position = self._read(step, target._replace(average=target.average.params))
            except Exception:
                raise _DamagedError(_first_line(error)) from error
        if position.pop(CHECKSUM, None) != checksum(state, position):
            raise _DamagedError("its checksum differs from the one that was saved")
        if state.average is not None and not isinstance(state.average, Variables):
            if state.stats:
                say(f"checkpoint {step} holds no average of BatchNorm's statistics: its running ones are used instead")
            state = state._replace(average=Variables(state.average, jax.tree.map(jnp.copy, state.stats)))
        return Restored(step, state, position)

    def _read(self, step: int, target: TrainState) -> tuple[TrainState, dict[str, Any]]:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore())
        )
        return restored["state"], dict(restored["position"])

    def _set_aside(self, step: int) -> Path:
        """Rename a damaged checkpoint, unless this process only reads; return its path."""
        path = self.directory / str(step)
        if self._only_reads:
            return path
        aside = self.directory / f"damaged-{step}"
        with together():
            if is_first():
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
        self._manager.reload()
        return aside


class _DamagedError(Exception):
    """A checkpoint that cannot be restored; the message is the reason."""


def checksum(state: TrainState, position: dict[str, Any]) -> str:
    """Return the SHA-256 of the position and of every array of a state with its path, type and shape."""
    digest = hashlib.sha256(json.dumps(position, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = _whole(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _whole(array: Any) -> np.ndarray:
    """Return an array that may be shared among the devices of several processes; each of them calls this."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)


def _first_line(error: Exception) -> str:
    """Return the first line of an error, shortened: the whole message may list a storage layout."""
    return textwrap.shorten(f"{type(error).__name__}: {error}".split("\n")[0], 160)


def check_name(workdir: Path) -> None:
    """Check that Orbax can write below a workdir: it takes no path whose bytes are no UTF-8.

    Raises:
        UserError: it cannot.
    """
    path = os.fsencode(workdir.absolute())
    try:
        path.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path!r} is no UTF-8, so no checkpoint can be written there: choose another path") from error


def newest_step(workdir: Path, folder: str = CHECKPOINTS) -> int | None:
    """Return the step of the newest checkpoint of a workdir, from which a run would go on; None if it holds none."""
    if not (workdir / folder).is_dir():
        return None
    with Checkpoints(workdir / folder, keep=None) as checkpoints:
        return checkpoints.latest


def check_has_checkpoints(workdir: Path) -> None:
    """Check that a run has begun to save checkpoints.

    Raises:
        UserError: it has not.
    """
    directory = workdir / CHECKPOINTS
    if not directory.is_dir():
        raise UserError(f"--workdir={workdir} holds no checkpoint: there is no {directory}; train it first")


def restore_latest(workdir: Path, target: TrainState) -> TrainState:
    """Return the state of the newest whole checkpoint of a run: see `read_checkpoint`."""
    return read_checkpoint(workdir, target, CheckpointConfig(), which="last").state


def read_checkpoint(
    workdir: Path, target: TrainState, config: CheckpointConfig, *, which: str | None = None, strict: bool = False
) -> Restored:
    """Restore a checkpoint of a run that is whole, and change nothing in the workdir; say which, if there was a choice.

    Args:
        target: a state of the same shapes; the restored state gets its shardings.
        config: the rules by which the run saved.
        which: `last` (the newest whole one), `best`, or the number of a step. None: the best if the run kept one.
        strict: fail if the newest checkpoint is damaged.

    Raises:
        UserError: there is no such checkpoint, or it is not whole (with `strict`: the newest is damaged).
    """
    check_has_checkpoints(workdir)
    if which not in (None, "best", "last"):
        restored = _read_step(workdir, target, which)
        say(f"checkpoint: step {restored.step}, as --checkpoint says")
        return restored
    best = newest_step(workdir, BEST)
    if which == "best" and best is None:
        raise UserError(
            f"{workdir} holds no best checkpoint: a run keeps one only if config.checkpoint.best names a metric; use "
            "--checkpoint=last"
        )
    folder = CHECKPOINTS if which == "last" or best is None else BEST
    with Checkpoints(workdir / folder, keep=None) as checkpoints:
        restored = checkpoints.restore_newest(target, strict=strict)
    if restored is None:
        raise UserError(f"{workdir / folder} holds no whole checkpoint: train this workdir first")
    if folder == BEST:
        say(f"checkpoint: step {restored.step}, the best by validation {config.best} (--checkpoint=last: the last)")
    elif best is not None or config.best:
        say(f"checkpoint: step {restored.step}, the last" + ("; the run has no best one yet" if best is None else ""))
    return restored


def _read_step(workdir: Path, target: TrainState, which: str) -> Restored:
    steps: set[int] = set()
    for folder in (CHECKPOINTS, BEST):
        if (workdir / folder).is_dir():
            with Checkpoints(workdir / folder, keep=None) as checkpoints:
                if which in map(str, checkpoints.steps):
                    return checkpoints.restore(int(which), target)
                steps.update(checkpoints.steps)
    kept = ", ".join(map(str, sorted(steps)))
    raise UserError(f"--checkpoint={which} is none of best, last and the steps that {workdir} keeps: {kept or 'none'}")
