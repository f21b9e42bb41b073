"""What a run remembers of its data, so that it goes on with the same or not at all.

Of every split the number of examples, and digests of their sizes, labels and names, in their order: all that the
schedule rests on. What stands in the files is not read.
"""

import hashlib

import numpy as np

from fcn_jax.data.dataset import Dataset


def fingerprint(dataset: Dataset) -> dict[str, int | str]:
    """Of one split."""
    source = dataset.source
    names = hashlib.sha256()
    for index in range(len(source)):
        names.update(source.name(index).encode(errors="surrogateescape") + b"\0")
    return {
        "examples": len(source),
        "sizes": _digest(source.sizes),
        "labels": _digest(source.labels),
        "names": names.hexdigest(),
        "classes": hashlib.sha256("\0".join(source.label_names).encode()).hexdigest(),
    }


def changed_data(before: dict[str, dict[str, int | str]], after: dict[str, dict[str, int | str]]) -> list[str]:
    """What changed in every split, for people."""
    changes = []
    for split, now in after.items():
        then = before[split]
        if then["examples"] != now["examples"]:
            changes.append(f"{split} had {then['examples']:,} examples, now {now['examples']:,}")
        else:
            others = [what for what in now if then[what] != now[what]]
            changes += [f"{split} has other {', '.join(others)} of its {now['examples']:,} examples"] if others else []
    return changes


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, np.int64).data).hexdigest()
