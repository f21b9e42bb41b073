"""A table of sizes makes the same plan and programs as the data that it was made of."""

import json
from functools import partial

import jax
import numpy as np
import pytest

from configs.mnist import get_config
from fcn_jax.cli import main
from fcn_jax.config_fields import overridden
from fcn_jax.train.setup import prepare


def write_table(path, sizes):
    distinct, counts = np.unique(sizes, axis=0, return_counts=True)
    rows = "".join(f"{height},{width},{count}\n" for (height, width), count in zip(distinct, counts, strict=True))
    path.write_text(f"height,width,count\n{rows}")
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule.kind": "bucketed", "data.resize": "longest:16"},
        {"train.stage_scales": (0.7, 1.0), "evaluate.scale": 1.2, "schedule.num_programs": 2},
    ],
)
def test_it_makes_what_the_data_would(changes, tmp_path):
    config = overridden(get_config("tiny"), {"data.test_split": "train[:64]", **changes})
    known = prepare(config, abstract=True)
    table = write_table(tmp_path / "sizes.csv", known.train.dataset.source.sizes)
    made = prepare(overridden(config, {"data.source": f"sizes:{table}"}), abstract=True)
    for ours, theirs in ((made.train, known.train), (made.calibration, known.calibration)):
        for stage, expected in zip(ours.stages, theirs.stages, strict=True):
            assert stage.plan == expected.plan
            assert stage.schedule.step_plan.programs == expected.schedule.step_plan.programs
    assert made.total_steps == known.total_steps
    assert made.test.stages[0].plan == known.test.stages[0].plan
    assert made.test.stages[0].true_positions > known.test.stages[0].true_positions
    same = partial(jax.tree.map, lambda x: (x.shape, x.dtype))
    assert same(made.state) == same(known.state)


def test_the_command_needs_no_data(tmp_path, capsys):
    table = write_table(tmp_path / "sizes.csv", np.array([(20, 12), (16, 20), (9, 9)] * 40))
    flags = ["--config.data.source=folder:nosuch", "--config.model.channels=(4,4)", "--config.machine.cache_dir="]
    out = tmp_path / "out"
    assert (
        main(["fcn_jax", "compile", "--config=configs/mnist.py:tiny", f"--sizes={table}", *flags, f"--out={out}"]) == 0
    )
    assert "it fits" in capsys.readouterr().out
    rows = json.loads((out / "compile.json").read_text())
    assert rows[0]["program"] == "train"
    assert all(row["target"] == "cpu" and row["estimated_seconds"] is None for row in rows)


def test_nothing_trains_on_it(tmp_path, capsys):
    table = write_table(tmp_path / "sizes.csv", np.array([(20, 12)] * 200))
    flags = [f"--config.data.source=sizes:{table}", "--config.model.channels=(4,4)", f"--workdir={tmp_path / 'run'}"]
    assert main(["fcn_jax", "train", "--config=configs/mnist.py:tiny", *flags]) == 2
    assert "a table of sizes has nothing to read" in capsys.readouterr().err


def test_more_examples_than_memory_holds_are_refused(tmp_path, capsys):
    (tmp_path / "sizes.csv").write_text("height,width,count\n9,9,2000000000\n")
    assert main(["fcn_jax", "compile", "--config=configs/mnist.py", f"--sizes={tmp_path / 'sizes.csv'}"]) == 2
    assert "at most 100,000,000" in capsys.readouterr().err


def test_a_plan_of_too_many_examples_is_refused(tmp_path, capsys):
    table = tmp_path / "huge.csv"
    table.write_text("height,width,count\n20,20,2000000000\n20,30,1000000000\n")
    assert main(["fcn_jax", "plan", f"--sizes={table}"]) == 2
    assert "stands for 3,000,000,000 examples, but at most 100,000,000 can be planned" in capsys.readouterr().err
