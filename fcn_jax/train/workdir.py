"""The workdir of a run: it holds one config, one running process uses it, and files are written whole or not at all."""

import dataclasses
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import differences, overridden
from fcn_jax.data.classes import first_names
from fcn_jax.data.fingerprint import changed_data, fingerprint
from fcn_jax.data.meaning import Meaning
from fcn_jax.data.source import Source
from fcn_jax.data.splits import TAKEN_OUT
from fcn_jax.nets.families import config_from_json
from fcn_jax.system.console import say
from fcn_jax.system.disk import make_folder, parse_json, reading, write_json, writing
from fcn_jax.train.checkpoint import Restored
from fcn_jax.train.setup import Setup, Split

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
        opened = (workdir / ".lock").open("a+", encoding="utf-8")
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
        values = parse_json(path.read_text(encoding="utf-8"))
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


def with_kept_choices(config: Config, workdir: Path) -> Config:
    """Return the config of a run that goes on, with what the run chose when it began, where the config leaves it open.

    These are the costs that chose its buckets, the type that its layers compute in, the ways of its
    convolutions, and the weights of its classes.
    """
    kept = read_config(workdir)
    choices: dict[str, Any] = {} if config.schedule.costs else {"schedule.costs": kept.schedule.costs}
    if config.model.dtype == "auto":
        choices["model.dtype"] = kept.model.dtype
    if config.train.balanced and not config.train.class_weights:
        choices["train.class_weights"] = kept.train.class_weights
    if config.model.leaves_ways_open:
        choices["model.convolution_ways"] = kept.model.convolution_ways
    return overridden(config, choices)


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


def read_labels(workdir: Path) -> tuple[str, ...]:
    """Return the classes of the run in a workdir, in the order of the logits.

    Raises:
        UserError: the file of the classes is missing or damaged.
    """
    path = workdir / LABELS
    try:
        names = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be used ({error}): {BRING_BACK}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} is not a list of names: {BRING_BACK}")
    return tuple(names)


BRING_BACK = "bring the file back as the train command wrote it, a JSON list of the classes in the order of the logits"


def meaning_in(restored: Restored, checkpoints: Path) -> Meaning:
    """Return the meaning of the net that a checkpoint holds.

    Raises:
        UserError: an older version wrote the checkpoint.
    """
    try:
        return Meaning.from_json(restored.position.get("meaning"))
    except UserError as error:
        raise UserError(
            f"checkpoint {checkpoints / str(restored.step)} cannot be used ({error}): an older version wrote it; train "
            "again in another workdir"
        ) from error


def read_meaning(workdir: Path, restored: Restored) -> Meaning:
    """Return the meaning of the net of a checkpoint, and check that the file of the classes agrees with it.

    Raises:
        UserError: it does not agree, or an older version wrote the checkpoint.
    """
    meaning = meaning_in(restored, workdir / "checkpoints")
    if read_labels(workdir) != meaning.label_names:
        raise UserError(
            f"{workdir / LABELS} does not name the classes that the checkpoint was saved with, "
            f"{first_names(meaning.label_names)}: {BRING_BACK}"
        )
    return meaning


FINGERPRINTS = "data.json"
"""Name of the file in a workdir that holds the fingerprints of the splits."""


def unreadable_when_begun(workdir: Path) -> frozenset[str]:
    """Return the names of the files that could not be read when the run in a workdir began.

    They stay left out, so that the run can go on although they can be read again.

    Raises:
        UserError: the file of fingerprints is damaged.
    """
    with _using(workdir / FINGERPRINTS) as begun:
        return frozenset(name for split in begun.values() for name in split[UNREADABLE])


UNREADABLE = "unreadable"


@contextmanager
def _using(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the fingerprints that a file holds; any error of form inside means that the file is damaged."""
    try:
        yield parse_json(path.read_text(encoding="utf-8")) if path.exists() else {}
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}): delete it if you are sure that the data is what the "
            "run began with"
        ) from error


def keep_same_data(setup: Setup, workdir: Path, *, resumes: bool) -> None:
    """Write the fingerprints of the data of a new run; compare them if the run goes on.

    Raises:
        UserError: the data changed since the run began, or the file of fingerprints is damaged.
    """
    splits = {"train": setup.train, "validation": setup.validation, "test": setup.test}
    found = {name: _fingerprint(split) for name, split in splits.items()}
    path = workdir / FINGERPRINTS
    if not (resumes and path.exists()):
        if resumes:
            say(f"there is no {path}: the data is taken as it is, whether or not the run began with it")
        write_json(path, found)
        return
    with _using(path) as begun:
        changes = changed_data(begun, found)
    if changes:
        raise UserError(
            f"the data of {setup.config.data.source} changed since the run in {workdir} began ({'; '.join(changes)}): "
            "bring back the data that it began with, or start again in another workdir"
        )


def _fingerprint(split: Split) -> dict[str, Any]:
    source = split.dataset.source
    return {**fingerprint(split.dataset.source), "origin": source.origin, UNREADABLE: list(source.unreadable)}


def changes_since_begun(split: Split, name: str, workdir: Path) -> list[str]:
    """Return what differs in a split from the data that the run in a workdir began with, as readable sentences.

    Args:
        name: train, validation or test.

    Raises:
        UserError: the split was given and is now taken out of train, or the other way round.
    """
    with _using(workdir / FINGERPRINTS) as begun:
        if name not in begun:
            return []
        then, now = begun[name]["origin"], split.dataset.source.origin
        if (TAKEN_OUT in then) != (TAKEN_OUT in now):
            raise UserError(
                f"{name} was {then} when the run in {workdir} began, and now it would be {now}: these may be examples "
                "that the net was trained on; bring back the data that the run began with"
            )
        return changed_data({name: begun[name]}, {name: _fingerprint(split)})


def warning_of_training_data(train: Source, data: str, workdir: Path) -> str:
    """Return a warning if examples are all those that the run in a workdir was trained on; empty if they are not.

    Args:
        train: the training split of other data.
        data: name of that data.

    Raises:
        UserError: the file of fingerprints is damaged.
    """
    with _using(workdir / FINGERPRINTS) as begun:
        if not begun or not train.contents() or begun["train"]["contents"] != train.contents():
            return ""
        remedy = "--split=test takes those that it was not trained on"
        if TAKEN_OUT not in begun["test"]["origin"]:
            remedy = "give it examples that it does not know"
        return f"WARNING: {data} holds the {len(train):,} examples that the net was trained on: {remedy}"
