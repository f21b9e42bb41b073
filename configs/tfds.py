"""Any TFDS data set that can be read by random access, at native sizes: NAME[/CONFIG][:VERSION].

python -m fcn_jax train --config=configs/tfds.py:imagenette/320px-v2 --workdir=runs/imagenette
python -m fcn_jax train --config=configs/tfds.py:imagenette/320px-v2,tiny --workdir=runs/tiny     (to see it work)

The first run prepares the data set in TFDS_DATA_DIR or ~/tensorflow_datasets, if it is not prepared yet. A split that
the data set lacks is taken from its train split. Flags such as `--config.data.validation_split='train[90%:]'` choose
another part.
"""

import contextlib
import io
import os
from typing import Any

import tensorflow_datasets as tfds

from configs import folder
from fcn_jax.config import Config
from fcn_jax.data.splits import SPELLINGS

TINY = {"train": 512, "validation": 128, "test": 128}


def get_config(argument: str = "") -> Config:
    name, _, size = argument.partition(",")
    if not name or size not in ("", "tiny"):
        raise ValueError(f"configs/tfds.py takes NAME or NAME,tiny as its argument, not {argument!r}")
    config = folder.photographs()
    config.data.source = f"tfds:{name}"
    num_classes, counts = describe(name)
    config.model.num_classes = max(2, num_classes)
    if size == "tiny":
        folder.shrink(config)
    splits = tiny_splits(counts) if size == "tiny" else whole_splits(counts)
    config.data.train_split, config.data.validation_split, config.data.test_split = splits
    return config


def whole_splits(counts: dict[str, int]) -> tuple[str, str, str]:
    """Return the train, validation and test splits; without a test split, an official validation split is the test."""
    names = official_names(counts)
    if not counts or {"validation", "test"} <= names.keys():
        return names.get("train", "train"), names.get("validation", "validation"), names.get("test", "test")
    train, other = names.get("train", "train"), names.get("test") or names.get("validation")
    if other:
        return f"{train}[:90%]", f"{train}[90%:]", other
    return f"{train}[:80%]", f"{train}[80%:90%]", f"{train}[90%:]"


def tiny_splits(counts: dict[str, int]) -> tuple[str, str, str]:
    """Return the same splits with at most 512, 128 and 128 examples."""
    names = official_names(counts)
    if not counts or {"validation", "test"} <= names.keys():
        train, validation, test = (
            f"{names.get(split, split)}[:{min(most, counts.get(names.get(split, split), most))}]"
            for split, most in TINY.items()
        )
        return train, validation, test
    train, other = names.get("train", "train"), names.get("test") or names.get("validation")
    count = counts.get(train, 0)
    first, second = min(512, count * 8 // 10), min(640, count * 9 // 10)
    last = f"{other}[:{min(128, counts[other])}]" if other else f"{train}[{second}:{min(768, count)}]"
    return f"{train}[:{first}]", f"{train}[{first}:{second}]", last


def official_names(counts: dict[str, int]) -> dict[str, str]:
    """Return {split: the name that the data set gives it}, in any usual spelling, for the splits that it has."""
    spelled = {name.lower(): name for name in counts}
    found = {split: [spelled[name] for name in names if name in spelled] for split, names in SPELLINGS.items()}
    return {split: names[0] for split, names in found.items() if names}


def describe(name: str) -> tuple[int, dict[str, int]]:
    """Return the number of classes and, if the data set is prepared, the number of examples of every split.

    Return 0 and no splits on any error; the data source reports it later.
    """
    with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
        info: Any = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR")).info
        labels = [feature for feature in info.features.values() if isinstance(feature, tfds.features.ClassLabel)]
        return labels[0].num_classes or 0, {split: part.num_examples for split, part in info.splits.items()}
    return 0, {}
