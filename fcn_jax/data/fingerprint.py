"""Fingerprints of splits, by which a run knows its data again."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fcn_jax.data.source import Source


def fingerprint(source: Source) -> dict[str, int | str]:
    """Identify the data of a split, so that a run resumes only with the same data.

    Returns:
        The number of examples; digests, in their order, of their sizes, labels, weights, names below the root of the
        data set and contents; and a digest of the classes.
    """
    names = hashlib.sha256()
    for index in range(len(source)):
        names.update(source.key(index) + b"\0")
    return {
        "examples": len(source),
        "sizes": _digest(source.sizes),
        "labels": _digest(source.labels),
        "weights": "" if source.loss_weights is None else _digest(source.loss_weights),
        "names": names.hexdigest(),
        "contents": source.contents(),
        "full_contents": source.full_contents,
        "classes": hashlib.sha256("\0".join(source.label_names).encode(errors="surrogateescape")).hexdigest(),
    }


COMPARED = ("sizes", "labels", "weights", "names", "contents", "classes")


def changed_data(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Compare the fingerprints of splits; return the changes as readable sentences."""
    changes = []
    for split, now in after.items():
        then = before[split]
        if then["examples"] != now["examples"]:
            changes.append(f"{split} had {then['examples']:,} examples, now {now['examples']:,}")
        else:
            others = [what for what in COMPARED if then.get(what, "") != now.get(what, "")]
            if then["full_contents"] != now["full_contents"] and then["full_contents"] and now["full_contents"]:
                others.append("full contents")
            changes += [f"{split} has other {', '.join(others)} of its {now['examples']:,} examples"] if others else []
    return changes


def _digest(values: np.ndarray) -> str:
    kind = np.int64 if values.dtype.kind == "i" else np.float64
    return hashlib.sha256(np.ascontiguousarray(values, kind).data).hexdigest()
