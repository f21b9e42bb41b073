"""What several processes check of each other before they train or evaluate as one, and what they tell on the way.

They take the same steps because they compute them from the same config and the same sizes. Where those differ, blocks
of different shapes would meet, and nobody would answer; so it is said before.
"""

import dataclasses
import hashlib
import time
from pathlib import Path

import jax

from fcn_jax.cluster import gather, together
from fcn_jax.config import Config
from fcn_jax.config_fields import flatten, from_dict
from fcn_jax.data.bad_examples import BadExamples
from fcn_jax.data.dataset import Dataset
from fcn_jax.train.setup import Setup, prepare

SECONDS_TO_APPEAR = 60.0
"""Until what one host has made is seen by the others; NFS remembers for so long that nothing was there."""


def prepare_together(config: Config, *, abstract: bool) -> Setup:
    """`prepare` in every process; what one of them refuses ends all.

    Raises:
        ValueError: as `prepare`; or their configs or training data differ.
    """
    configs = gather(dataclasses.asdict(config))
    with together():
        _check_same_config(from_dict(Config, configs[0]), config)
        setup = prepare(config, abstract=abstract)
    if jax.process_count() == 1:
        return setup
    found = gather(fingerprint(setup.train.dataset))
    with together():
        for number, other in enumerate(found):
            if other != found[0]:
                raise ValueError(
                    f"process {number} has other training data ({other}) than process 0 ({found[0]}): give all hosts "
                    f"the same files as {config.data.source}"
                )
    return setup


def _check_same_config(first: Config, own: Config) -> None:
    """All but `machine`, which may differ from host to host."""
    theirs, ours = flatten(first), flatten(own)
    changed = [
        f"{name}: {theirs[name]} -> {value}"
        for name, value in ours.items()
        if value != theirs[name] and not name.startswith("machine.")
    ]
    if changed:
        raise ValueError(
            f"its config differs from that of process 0 ({'; '.join(changed)}): start all processes with the same flags"
        )


def fingerprint(dataset: Dataset) -> str:
    """Of what decides the schedule: the number of examples and their sizes."""
    digest = hashlib.sha256(dataset.source.sizes.tobytes() + dataset.labels.tobytes()).hexdigest()
    return f"{len(dataset):,} examples, {digest[:12]}"


def check_shared(path: Path) -> None:
    """
    Raises:
        ValueError: some process does not see what another has.
    """
    exists = any(gather(path.exists()))
    give_up = time.monotonic() + SECONDS_TO_APPEAR
    with together():
        while exists and not path.exists():
            if time.monotonic() > give_up:
                raise ValueError(
                    f"there is no {path}, which another process has: --workdir must lie on a file system that all "
                    "hosts share"
                )
            time.sleep(0.1)


def share(bad: BadExamples) -> None:
    """Let every process know of the bad examples that any has met since the last time."""
    for reasons in gather(bad.take_new()):
        for name, reason in reasons.items():
            bad.add(name, reason)
