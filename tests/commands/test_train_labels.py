"""A net of several labels, from its table to a prediction: every command says the same of it."""

import csv
import io
import json

import numpy as np
import pytest

from configs.mnist import get_config
from fcn_jax.cli import main
from fcn_jax.commands.train import train
from fcn_jax.config_fields import overridden
from fcn_jax.reports.run_files import read_run
from fcn_jax.reports.run_page import numbers_table
from tests.commands.made_labels import CLASSES, EXAMPLES, write_table


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a trained net, its summary and the folder of its pictures."""
    top = tmp_path_factory.mktemp("several")
    fields = {
        "data.source": write_table(top / "data"),
        "data.labels": "several",
        "data.train_split": "train",
        "data.validation_split": "validation",
        "data.test_split": "test",
        "model.num_classes": len(CLASSES),
        "model.channels": (8, 8, 8),
        "schedule.examples_per_step": 24,
        "train.epochs": 12,
        "train.evaluate_every_epochs": 6,
        "checkpoint.best": "mean_average_precision",
        "machine.cache_dir": str(top / "cache"),
    }
    return top / "run", train(overridden(get_config("tiny"), fields), top / "run"), top / "data"


def lines(capsys, *argv: str) -> list[dict]:
    assert main(["fcn_jax", *argv]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_net_learns_and_its_run_says_so(run):
    workdir, summary, _ = run
    assert summary["mean_average_precision"] > 0.8
    assert summary["best_mean_average_precision"] > 0.8
    files = read_run(workdir)
    assert [row.mean_average_precision is not None for row in files.metrics.validations] == [True, True]
    assert "validation mean average precision" in {row[0] for row in numbers_table(files).rows}


def test_the_page_says_what_the_line_says(run, capsys, tmp_path):
    workdir, summary, _ = run
    (line,) = lines(capsys, "evaluate", f"--workdir={workdir}")
    (same,) = lines(capsys, "evaluate", f"--workdir={workdir}", f"--out={tmp_path / 'page'}")
    assert list(line) == [
        *("split", "step", "loss", "accuracy", "mean_average_precision", "micro_f1", "count", "bad"),
    ]
    for name in ("accuracy", "mean_average_precision", "micro_f1", "count"):
        assert line[name] == same[name] == summary[name]
    assert same["loss"] == pytest.approx(line["loss"], abs=1e-6)
    there = json.loads((tmp_path / "page/evaluation.json").read_text())
    assert there["mean_average_precision"] == np.mean([row["average_precision"] for row in there["by_class"]])
    page = (tmp_path / "page/index.html").read_text()
    assert f"<h1>Mean average precision on test: {100 * line['mean_average_precision']:.2f} %</h1>" in page
    rows = list(csv.DictReader(io.StringIO((tmp_path / "page/predictions.csv").read_text())))
    assert len(rows) == EXAMPLES["test"]
    assert np.mean([row["labels"] == row["predicted"] for row in rows]) == line["accuracy"]
    for row in rows:
        said = [name for name in CLASSES if float(row[f"probability_{name}"]) > 0.5]
        assert ";".join(said) == row["predicted"]


def test_a_copy_with_other_labels_is_found(run, capsys, tmp_path):
    """The made pictures are much alike, so most have a near-duplicate; the copy is the nearest."""
    lines(capsys, "evaluate", f"--workdir={run[0]}", f"--out={tmp_path}", "--near_duplicates")
    first = json.loads((tmp_path / "evaluation.json").read_text())["near_duplicates"][0]
    assert first["correlation"] == 1
    assert first["name"].endswith("/160.png")
    assert first["in_train"].endswith("/0.png")
    assert not set(first["label"].split("; ")) & set(first["label_in_train"].split("; "))
    assert "have another label in train" in (tmp_path / "index.html").read_text()


def test_an_artifact_predicts_the_same_labels(run, capsys, tmp_path):
    workdir, _, data = run
    files = [str(data / f"{number}.png") for number in range(4)]
    assert main(["fcn_jax", "export", f"--workdir={workdir}", f"--out={tmp_path / 'net'}"]) == 0
    capsys.readouterr()
    ours = lines(capsys, "predict", f"--workdir={workdir}", *files)
    theirs = lines(capsys, "predict", f"--artifact={tmp_path / 'net'}", *files)
    for one, other in zip(ours, theirs, strict=True):
        assert "label" not in one
        assert [found["label"] for found in one["labels"]] == [found["label"] for found in other["labels"]]
        expected = {name: 1 / (1 + np.exp(-logit)) for name, logit in zip(CLASSES, other["logits"], strict=True)}
        assert {found["label"] for found in one["labels"]} == {name for name, p in expected.items() if p > 0.5}
        for found in other["top5"]:
            assert found["probability"] == pytest.approx(expected[found["label"]], abs=1e-5)
    assert main(["fcn_jax", "predict", f"--workdir={workdir}", "--format=csv", *files]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["labels"] for row in table] == [";".join(f["label"] for f in one["labels"]) for one in ours]


def test_a_class_map_has_the_probability_of_its_class(run, capsys, tmp_path):
    workdir, _, data = run
    (one,) = lines(capsys, "predict", f"--workdir={workdir}", str(data / "0.png"))
    (found,) = lines(capsys, "cam", f"--workdir={workdir}", f"--out={tmp_path / 'maps'}", str(data / "0.png"))
    assert found["label"] == one["top5"][0]["label"]
    assert found["probability"] == pytest.approx(one["top5"][0]["probability"], abs=1e-5)
