"""The workdir of a run: it holds one config, one running process uses it, and files are written whole or not at all."""

import dataclasses
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import differences
from fcn_jax.data.dataset import changed_data, fingerprint
from fcn_jax.nets.families import config_from_json
from fcn_jax.system.disk import make_folder, parse_json, reading, write_json, writing
from fcn_jax.train.setup import Setup

LABELS = "labels.json"
"""Name of the file in a workdir that lists the classes, in the order of the logits."""


@contextmanager
def locked_workdir(workdir: Path, config: Config) -> Iterator[None]:
    """Lock a workdir for a run of `config`, and make it if needed; the lock ends with the process at the latest.

    A run that ended before it saved anything can be started again with another config.

    Raises:
        UserError: the workdir is in use, holds a run of another config, or holds other files.
    """
    _check_folder(workdir)
    if (workdir / "config.json").exists():
        has_saved = (workdir / "summary.json").exists() or any((workdir / "checkpoints").glob("[0-9]*"))
        changed = _differences(read_config(workdir), config) if has_saved else []
        if changed:
            raise UserError(
                f"--workdir={workdir} holds a run of another config ({'; '.join(changed)}): "
                "choose another workdir, or run with the same config"
            )
    elif workdir.exists() and any(not name.startswith(".") for name in _names_in(workdir)):
        raise UserError(f"--workdir={workdir} is not empty and holds no run: choose another workdir")
    make_folder(workdir)
    with writing(workdir / ".lock"):
        opened = (workdir / ".lock").open("a+")
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise UserError(
                f"--workdir={workdir} is in use by process {lock.read().strip() or 'unknown'}: wait for it, "
                "stop it, or choose another workdir"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        write_json(workdir / "config.json", dataclasses.asdict(config))
        yield


def read_config(workdir: Path) -> Config:
    """Return the config of the run in a workdir.

    Raises:
        UserError: there is no config, it is damaged, or this version cannot use it.
    """
    path = workdir / "config.json"
    _check_folder(workdir)
    try:
        values = parse_json(path.read_text())
    except FileNotFoundError:
        raise UserError(f"--workdir={workdir} holds no run: there is no {path}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error})") from error
    try:
        return config_from_json(values)
    except ValueError as error:
        raise UserError(
            f"{path} cannot be used: {error}; if another version of this code wrote it, check that out (git_commit in "
            "summary.json)"
        ) from error


def _differences(old: Config, new: Config) -> list[str]:
    """Return what differs, except for the number of bad examples that may stop a run: a run may go on with another."""
    same = replace(old, data=replace(old.data, max_bad_fraction=new.data.max_bad_fraction))
    return differences(same, new)


def _names_in(folder: Path) -> list[str]:
    with reading(folder):
        return os.listdir(folder)


def _check_folder(workdir: Path) -> None:
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file, but it must be a folder")


FINGERPRINTS = "data.json"
"""Name of the file in a workdir that holds the fingerprints of the splits."""


def keep_same_data(setup: Setup, workdir: Path, *, resumes: bool) -> None:
    """Write the fingerprints of the data of a new run; compare them if the run goes on.

    Raises:
        UserError: the data changed since the run began, or the file of fingerprints is damaged.
    """
    splits = {"train": setup.train, "validation": setup.validation, "test": setup.test}
    found = {name: fingerprint(split.dataset) for name, split in splits.items()}
    path = workdir / FINGERPRINTS
    if not (resumes and path.exists()):
        write_json(path, found)
        return
    try:
        changes = changed_data(parse_json(path.read_text()), found)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}): delete it if you are sure that the data is what the "
            "run began with"
        ) from error
    if changes:
        raise UserError(
            f"the data of {setup.config.data.source} changed since the run in {workdir} began ({'; '.join(changes)}): "
            "bring back the data that it began with, or start again in another workdir"
        )
