"""Prediction: the same as of each image alone, in order, without waiting for all; errors stand in their places."""

import csv
import io
import json
import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from fcn_jax.cli import main
from fcn_jax.data.image_formats import NO_IMAGE
from fcn_jax.inference import inputs, programs
from fcn_jax.inference import predict as predict_module
from fcn_jax.inference.classifier import answer_of, classifier_of_workdir, restore_trained
from fcn_jax.inference.predict import predict
from fcn_jax.system.machine import peak_mib
from tests.inference.made import LABEL_NAMES, make_workdir, small_config, write_picture
from tests.processes import run_together

SMALLEST = 4
SIZES = [(12, 12), (9, 17), (3, 30), (11, 12), (40, 9), (9, 18)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "small"
    return workdir, make_workdir(workdir, small_config())


@pytest.fixture
def lonely_then_many(tmp_path):
    """A file of a size of its own, then 90 of another."""
    write_picture(tmp_path / "000.png", (30, 30))
    for number in range(1, 91):
        write_picture(tmp_path / f"{number:03}.png", (12, 10))
    return sorted(map(str, tmp_path.iterdir()))


def test_every_answer_is_that_of_the_image_alone(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(programs.POSITIONS, jax.default_backend(), 2000)
    workdir, model = trained
    pixels = [write_picture(tmp_path / f"{number}.png", size) for number, size in enumerate(SIZES)]
    paths = [str(tmp_path / f"{number}.png") for number in range(len(SIZES))]
    outcomes = [outcome for known in predict(classifier_of_workdir(workdir), paths) for outcome in known]
    assert [outcome.path for outcome in outcomes] == paths
    assert [outcome.size for outcome in outcomes] == SIZES
    answer_alone = jax.jit(lambda image, size: answer_of(model, image, size))
    for outcome, image in zip(outcomes, pixels, strict=True):
        missing = [max(0, SMALLEST - side) for side in image.shape[:2]]
        alone = np.pad(image, [*((gap // 2, gap - gap // 2) for gap in missing), (0, 0)])[None]
        answer = answer_alone(alone, np.array([alone.shape[1:3]], np.int32))
        np.testing.assert_allclose(outcome.logits, answer.logits[0], rtol=0, atol=2e-6)
        np.testing.assert_allclose(outcome.probabilities, jax.nn.softmax(answer.logits[0]), rtol=0, atol=2e-6)
        assert outcome.ranking == np.argsort(-answer.logits[0]).tolist()


def test_answers_come_when_a_batch_is_full_or_the_oldest_has_waited(trained, lonely_then_many, monkeypatch):
    monkeypatch.setattr(predict_module, "WINDOW", 40)
    monkeypatch.setattr(inputs, "CHUNK_FILES", 10)
    monkeypatch.setitem(programs.POSITIONS, jax.default_backend(), 16 * 144)
    known = [len(outcomes) for outcomes in predict(classifier_of_workdir(trained[0]), lonely_then_many)]
    assert sum(known) == 91
    assert known[:3] == [0, 0, 0]
    assert known[3] == 1 + 32


def test_errors_stand_in_their_places(trained, tmp_path, capsys):
    write_picture(tmp_path / "0.png", (10, 12), mode="RGB")
    (tmp_path / "1.png").write_bytes(b"no picture")
    write_picture(tmp_path / "2.png", (11, 12))
    assert main(["fcn_jax", "predict", str(tmp_path), f"--workdir={trained[0]}"]) == 1
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert [row["path"] for row in rows] == [str(tmp_path / f"{number}.png") for number in range(3)]
    assert rows[1] == {"path": str(tmp_path / "1.png"), "error": NO_IMAGE}
    assert (rows[0]["height"], rows[0]["width"]) == (10, 12)
    best = rows[0]["top5"]
    assert {"label": rows[0]["label"], "probability": rows[0]["probability"]} == best[0]
    assert [one["probability"] for one in best] == sorted((one["probability"] for one in best), reverse=True)
    assert len(best) == 5
    assert rows[0]["label"] == LABEL_NAMES[int(np.argmax(rows[0]["logits"]))]
    assert "1 of 3 files could not be predicted" in printed.err


def test_csv_has_a_column_for_every_logit(trained, tmp_path, capsys, monkeypatch):
    write_picture(tmp_path / "0.png", (10, 12))
    lines = f"{tmp_path}/0.png\n{tmp_path}/nosuch.png\n".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert main(["fcn_jax", "predict", "-", f"--workdir={trained[0]}", "--format=csv"]) == 1
    good, bad = csv.DictReader(io.StringIO(capsys.readouterr().out))
    logits = [float(good[f"logit_{name}"]) for name in LABEL_NAMES]
    assert good["label"] == LABEL_NAMES[int(np.argmax(logits))]
    assert float(good["probability"]) > float(good["probability_2"]) > float(good["probability_5"])
    assert (good["height"], good["width"], good["error"]) == ("10", "12", "")
    assert (bad["error"], bad["label"], bad["logit_fox"]) == ("No such file or directory", "", "")


def test_what_needs_more_memory_than_there_is_is_refused_by_name(trained, tmp_path, monkeypatch):
    write_picture(tmp_path / "small.png", (12, 12))
    write_picture(tmp_path / "large.png", (500, 500))
    monkeypatch.setitem(programs.POSITIONS, jax.default_backend(), 144)
    monkeypatch.setattr(programs, "device_memory_mib", lambda: 1.0)
    paths = [str(tmp_path / name) for name in ("large.png", "small.png", "large.png")]
    outcomes = [outcome for known in predict(classifier_of_workdir(trained[0]), paths) for outcome in known]
    assert [bool(outcome.error) for outcome in outcomes] == [True, False, True]
    assert "MiB of memory, and the device has 1" in outcomes[0].error


def test_a_batch_has_as_many_rows_as_fit(trained, monkeypatch):
    classifier, canvas = classifier_of_workdir(trained[0]), (24, 24)
    needed = {}
    for rows in (1, 64):
        monkeypatch.setitem(programs.POSITIONS, jax.default_backend(), rows * 24 * 24)
        monkeypatch.setattr(
            programs, "peak_mib", lambda executable, rows=rows: needed.setdefault(rows, peak_mib(executable))
        )
        assert programs.CanvasPrograms(classifier)[canvas].rows == rows
    monkeypatch.setattr(programs, "peak_mib", peak_mib)
    monkeypatch.setattr(programs, "device_memory_mib", lambda: (needed[1] + needed[64]) / 2)
    assert 1 < programs.CanvasPrograms(classifier)[canvas].rows < 64


def test_rows_fill_a_processors_cache_or_an_accelerator():
    assert programs.rows_of((224, 224), most=256, platform="cpu") == 1
    assert programs.rows_of((224, 224), most=256, platform="gpu") == 167
    assert programs.rows_of((20, 20), most=256, platform="tpu") == 256
    assert programs.rows_of((20, 20), most=1, platform="tpu") == 1


def test_signals_have_a_length(tmp_path, capsys):
    make_workdir(tmp_path / "run", small_config(data_channels=3, name="lstm"), buckets=((9,), (20,)))
    values = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", values, 100, subtype="FLOAT")
    assert main(["fcn_jax", "predict", f"--workdir={tmp_path / 'run'}", str(tmp_path / "a.wav")]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["length"] == 11
    assert "height" not in row


def test_a_net_of_one_size_refuses_others_a_file_at_a_time(tmp_path, capsys):
    config = small_config(name="mlp", input_side=12)
    config.data.min_side = 0
    make_workdir(tmp_path / "run", config, buckets=((12, 12),))
    write_picture(tmp_path / "0.png", (12, 12))
    write_picture(tmp_path / "1.png", (12, 13))
    assert main(["fcn_jax", "predict", f"--workdir={tmp_path / 'run'}", f"{tmp_path}/0.png", f"{tmp_path}/1.png"]) == 1
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert len(good["logits"]) == len(LABEL_NAMES)
    assert bad["error"] == "it is 12×13 to the net, which takes sides of 12 only"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("labels.json", None, "labels.json cannot be used"),
        ("labels.json", '["a"]', "does not name the classes"),
        ("plan.json", "{", "plan.json cannot be used"),
        ("checkpoints", None, "holds no checkpoint"),
    ],
)
def test_a_workdir_that_lacks_something_is_a_mistake(trained, tmp_path, name, text, said):
    workdir = tmp_path / "lacking"
    workdir.mkdir()
    for entry in trained[0].iterdir():
        if entry.name != name:
            (workdir / entry.name).symlink_to(entry)
    if text is not None:
        (workdir / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        restore_trained(workdir)


def test_names_of_files_and_classes_may_be_any_bytes(tmp_path, capsys):
    """Such names come from archives of other systems; no output and no picture dies of them."""
    workdir, names = tmp_path / "run", ["caf\udce9 $x_{$\n\x1b[31m", *LABEL_NAMES[1:]]
    make_workdir(workdir, small_config(), label_names=tuple(names))
    path = tmp_path / "files" / "\udcff\n$a_{$.png"
    write_picture(tmp_path / "files" / "whole.png", (10, 12))
    os.rename(tmp_path / "files" / "whole.png", path)
    command = [str(path.parent), f"--workdir={workdir}"]
    assert main(["fcn_jax", "predict", *command]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["path"] == str(path)
    assert {one["label"] for one in row["top5"]} <= set(names)
    assert main(["fcn_jax", "predict", *command, "--format=csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["path"] == f"{path.parent}/\\udcff\\n$a_{{$.png"
    assert "logit_caf\\udce9 $x_{$\\n\\x1b[31m" in row
    assert main(["fcn_jax", "cam", *command, f"--out={tmp_path / 'maps'}", f"--label={names[0]}"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["map_of"] == names[0]
    assert Path(row["picture"]).is_file()


ON_DEVICES = """
import jax, numpy as np
from configs.mnist import get_config
from fcn_jax.inference import programs
from fcn_jax.inference.classifier import Classifier, Ladder, answer_of
from fcn_jax.inference.inputs import recipe_of
from fcn_jax.core.step import split_model
from fcn_jax.nets.model import make_model
from flax import nnx
config = get_config("tiny")
graphdef, *variables = split_model(make_model(config, rank=2))
recipe = recipe_of(config, rank=2, smallest_side=8, largest_side=None)
function = lambda variables, image, size: answer_of(nnx.merge(graphdef, *variables), image, size)
classifier = Classifier(recipe, ("a",) * 10, Ladder(recipe, ()), tuple(variables), function, 1)
program = programs.CanvasPrograms(classifier, most_rows=2)[(20, 24)]
rng = np.random.default_rng(0)
image = rng.integers(0, 256, (program.rows, 20, 24, 1), np.uint8)
size = rng.integers(10, 21, (program.rows, 2), np.int32)
found = program.run(image, size)
assert program.rows == 2 * len(jax.devices()) == 6
assert len(found.logits.sharding.device_set) == 3
expected = jax.jit(function)(tuple(variables), image, size)
np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
"""


def test_all_devices_share_the_rows_of_a_batch():
    (done,) = run_together([[sys.executable, "-c", ON_DEVICES]], devices=3)
    assert done.returncode == 0, done.stderr
