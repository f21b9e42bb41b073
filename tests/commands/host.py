"""One of several processes; test_hosts.py starts them all: they do what is asked together, and each says what it saw.

    python -m tests.commands.host HOST:PORT NUM_PROCESSES PROCESS_ID FOLDER

FOLDER holds `whole` and `stopped`, workdirs of one process, and `pictures`; workdirs and answers are added to it.
"""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from fcn_jax.commands.evaluate import evaluate_run
from fcn_jax.commands.predict import predict_paths
from fcn_jax.commands.train import train
from fcn_jax.config import Config
from fcn_jax.data.bad_examples import BadExamples, share
from fcn_jax.data.loader import Step
from fcn_jax.system.processes import is_first, join_cluster
from fcn_jax.train.checkpoint import restore_latest
from fcn_jax.train.passes import split_logits
from fcn_jax.train.setup import prepare
from fcn_jax.train.workdir import locked_workdir, read_config
from tests.commands.compare_devices import compare_both
from tests.commands.stopped import recorded, train_until

STOP = 5
"""Steps before a run is stopped; the checkpoint before it is at 4, in the middle of an epoch of 8 and a bit."""


def own_rows(steps: list[Step]) -> list[list[list[int]]]:
    """The examples that this process read, by step and block."""
    return [[np.concatenate([piece.data for piece in block.index.addressable_shards]).tolist() for block in step.blocks]
            for step in steps]  # fmt: skip


def refusal(act) -> str:
    """Return what ends this process, if all goes wrong as it should."""
    try:
        act()
    except ValueError as error:
        return f"says: {error}"
    except SystemExit as error:
        return f"ends with {error.code}"
    return "goes on"


def refusals(folder: Path, config: Config, process_id: int) -> dict[str, str]:
    other = read_config(folder / "whole")
    other.train.learning_rate = 0.5 if process_id else other.train.learning_rate
    bad = BadExamples("train", 10, max_fraction=0.1)
    bad.add(f"example {process_id}", "it is torn")
    share(bad)
    with contextlib.ExitStack() as stack:
        if is_first():
            stack.enter_context(locked_workdir(folder / "busy", config))
        return {
            "in use": refusal(lambda: train(config, folder / "busy")),
            "other flags": refusal(lambda: train(other, folder / "other")),
            "no such split": refusal(lambda: list(evaluate_run(folder / "whole", split="nonsense"))),
            "bad examples": refusal(bad.check),
        }


def logits(folder: Path) -> list[list[float]]:
    setup = prepare(read_config(folder / "whole"), abstract=True)
    return split_logits(setup, restore_latest(folder / "whole", setup.state), setup.test, title="test").tolist()


def predictions(folder: Path) -> str:
    """Return the text on standard output; three files lie between two exchanges."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr("fcn_jax.inference.predict.SHARED_WINDOW", 3)
        predict_paths([str(folder / "pictures")], workdir=folder / "whole", artifact=None, form="json")
    return out.getvalue()


def main(coordinator: str, num_processes: int, process_id: int, folder: Path) -> dict[str, Any]:
    join_cluster(coordinator, num_processes, process_id)
    config = read_config(folder / "whole")
    seen = train_until(config, folder / "begun", steps=STOP)
    with pytest.MonkeyPatch.context() as patch, recorded() as rest:
        patch.setattr("fcn_jax.commands.train.compiles_beside", lambda setup: True)  # As on a GPU.
        summary = train(config, folder / "stopped")
    return {
        "devices": len(jax.devices()),
        "compared": compare_both(),
        "begun": own_rows(seen),
        "resumed": own_rows(rest),
        "summary": summary,
        "evaluated": next(evaluate_run(folder / "whole", split="test")),
        "logits": logits(folder),
        "predicted": predictions(folder),
        "refused": refusals(folder, config, process_id),
    }


if __name__ == "__main__":
    coordinator, num_processes, process_id, folder = sys.argv[1:]
    found = main(coordinator, int(num_processes), int(process_id), Path(folder))
    (Path(folder) / f"{process_id}.json").write_text(json.dumps(found))
