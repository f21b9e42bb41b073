"""The evaluate command: the page says what the JSON line says, of every example once, at any scale."""

import csv
import json

import jax
import numpy as np
import pytest

from fcn_jax.cli import main
from fcn_jax.config import Config, UserError
from fcn_jax.inference import evaluation
from fcn_jax.inference.opened_run import part_of_own
from tests.experiments.test_report import Reader
from tests.inference.made import LABEL_NAMES, make_workdir, small_config, write_picture

SIZES = [(12, 12), (9, 17), (3, 30), (11, 12), (20, 9), (9, 18), (14, 14), (8, 10), (16, 11), (13, 19)]
SPEAKERS = tuple(f"speaker_{number}" for number in range(1, 10))
TRUNCATED = "test/ant/00.jpg"


def folder_config(folder, **data) -> Config:
    config = small_config()
    config.data.source, config.data.max_bad_fraction = f"folder:{folder}", 0.1
    config.schedule.examples_per_step = config.evaluate.examples_per_step = 16
    config.schedule.max_buckets = 2
    for name, value in data.items():
        setattr(config.data, name, value)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a net that nobody trained, and its images: in test 60 good ones, a truncated one and no image."""
    folder = tmp_path_factory.mktemp("images")
    for split in ("train", "validation", "test"):
        for shift, name in enumerate(LABEL_NAMES):
            for number in range(10 if split == "test" else 2):
                write_picture(folder / split / name / f"{number:02}.png", SIZES[(number + shift) % len(SIZES)])
    write_picture(folder / TRUNCATED, (16, 16))
    (folder / TRUNCATED).write_bytes((folder / TRUNCATED).read_bytes()[:-60])
    (folder / "test/bee/none.png").write_bytes(b"no picture")
    workdir = tmp_path_factory.mktemp("runs") / "small"
    make_workdir(workdir, folder_config(folder))
    return workdir, folder


def evaluate(capsys, *flags) -> list[dict]:
    assert main(["fcn_jax", "evaluate", *flags]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module")
def at_three_scales(run, tmp_path_factory):
    """Run the command at several scales; return what it writes and prints."""
    out = tmp_path_factory.mktemp("evaluated") / "made" / "here"
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("builtins.print", lambda line, **_: printed.append(json.loads(line)))
        assert main(["fcn_jax", "evaluate", f"--workdir={run[0]}", "--scale=2,1,1.5,2", f"--out={out}"]) == 0
    return out, printed


def test_page_and_files_say_what_the_line_says(run, at_three_scales, capsys):
    assert main(["fcn_jax", "evaluate", f"--workdir={run[0]}"]) == 0
    said = capsys.readouterr()
    (line,) = map(json.loads, said.out.splitlines())
    assert f"1 of 62 examples of test could not be read: {run[1] / TRUNCATED}: " in said.err
    assert list(line) == ["split", "step", "loss", "accuracy", "count", "bad"]
    assert (line["split"], line["step"], line["count"], line["bad"]) == ("test", 0, 60, 2)
    assert 0 < line["accuracy"] < 1
    out, printed = at_three_scales
    assert [(row["scale"], row["bad"]) for row in printed] == [(2, 2), (1, 2), (1.5, 2)]
    there = json.loads((out / "evaluation.json").read_text())
    for found in (printed[1], there, there["scales"][1]):
        assert (found["accuracy"], found["count"], found["scale"]) == (line["accuracy"], line["count"], 1)
        assert found["loss"] == pytest.approx(line["loss"], abs=1e-6)
    page = (out / "index.html").read_text()
    assert f"<h1>Accuracy on test: {100 * line['accuracy']:.2f} %</h1>" in page


def test_every_scale_is_evaluated_as_the_config_would(run, at_three_scales, capsys):
    found = evaluate(capsys, f"--workdir={run[0]}", "--scale=1.5")
    assert found[0]["loss"] == pytest.approx(at_three_scales[1][2]["loss"], abs=1e-6)
    losses = {round(row["loss"], 4) for row in at_three_scales[1]}
    assert len(losses) == 3


def test_every_example_that_can_be_read_stands_once_a_scale(run, at_three_scales):
    out, printed = at_three_scales
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["scale", "index", "name", "height", "width", "label", "predicted", "probability"]
    good = sorted(str(path) for path in (run[1] / "test").rglob("[0-9]*.png"))
    for scale, line in zip(("2", "1", "1.5"), printed, strict=True):
        mine = [row for row in rows if row["scale"] == scale]
        assert [row["name"] for row in mine] == good
        assert np.mean([row["label"] == row["predicted"] for row in mine]) == line["accuracy"]
    first = next(row for row in rows if row["name"].endswith("ant/02.png"))
    assert (first["height"], first["width"], first["label"]) == ("3", "30", "ant")


def test_the_json_adds_up(at_three_scales):
    found = json.loads((at_three_scales[0] / "evaluation.json").read_text())
    hits = round(found["accuracy"] * found["count"])
    for bins in ("by_side", "by_aspect", "calibration"):
        assert sum(one["count"] for one in found[bins]) == found["count"]
        assert round(sum(one["count"] * one["accuracy"] for one in found[bins])) == hits
    classes = found["by_class"]
    assert {row["label"] for row in classes} == set(LABEL_NAMES)
    assert sum(row["count"] for row in classes) == sum(row["predicted"] for row in classes) == found["count"]
    assert round(sum(row["count"] * row["recall"] for row in classes)) == hits
    assert sum(one["count"] for one in found["confusions"]) == found["count"] - hits
    mistakes = found["worst_mistakes"]
    assert len(mistakes) == min(24, found["count"] - hits)
    assert all(one["label"] != one["predicted"] for one in mistakes)
    probabilities = [one["probability"] for one in mistakes]
    assert probabilities == sorted(probabilities, reverse=True)
    low, high = found["accuracy_interval"]
    assert low < found["accuracy"] < high


def test_bad_examples_are_named(run, at_three_scales):
    bad = json.loads((at_three_scales[0] / "evaluation.json").read_text())["bad_examples"]
    assert [one["name"] for one in bad] == [str(run[1] / "test/bee/none.png"), str(run[1] / TRUNCATED)]
    page = (at_three_scales[0] / "index.html").read_text()
    for one in bad:
        assert one["name"] in page
        assert one["reason"] in page


def test_the_page_stands_alone_and_its_pictures_have_words(at_three_scales):
    page = (at_three_scales[0] / "index.html").read_text()
    images = Reader(page).images
    assert len(images) == len(["scale", "side", "aspect", "reliability", "coverage", "confusions"]) + 24
    for image in images:
        assert image["src"].startswith("data:image/png;base64,")
        assert sum(letter.isdigit() for letter in image["alt"]) > 4
    assert not any(word in page for word in ("http:", "https:", "<script", "<link", "url("))
    assert "--scale=2,1,1.5,2" in page
    assert "The rest of this page is about test scale 1." in page


def test_signals_are_evaluated_by_length(tmp_path, capsys):
    config = small_config(data_channels=12, num_classes=9)
    config.data.source = "japanese_vowels"
    config.data.train_split, config.data.test_split = "train[:32]", "test[:60]"
    config.schedule.examples_per_step = config.evaluate.examples_per_step = 32
    make_workdir(tmp_path / "run", config, buckets=((29,),), label_names=SPEAKERS)
    out = tmp_path / "out"
    (line,) = evaluate(capsys, f"--workdir={tmp_path / 'run'}", "--split=test", f"--out={out}")
    assert list(line) == ["split", "step", "loss", "accuracy", "count", "bad"]
    found = json.loads((out / "evaluation.json").read_text())
    assert (found["accuracy"], found["count"]) == (line["accuracy"], 60)
    assert sum(one["count"] for one in found["by_length"]) == 60
    assert (out / "predictions.csv").read_text().startswith("scale,index,name,length,label,")
    assert "Signal of " in (out / "index.html").read_text()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--scale=abc"], "--scale=abc: 'abc' is no number"),
        (["--scale=1,"], "'' is no number"),
        (["--scale=1,0"], "config.evaluate.scale is 0.0, but it must be between 0.01 and 100"),
        (["--scale=nan"], "config.evaluate.scale is nan"),
        (["--split=nosuch"], "'nosuch'"),
        (["--split=nosuch", "--out=new"], "'nosuch'"),
        (["--out=taken"], "taken is a file, but it must be a folder"),
        (["--out=taken/below"], "taken is a file, but it must be a folder"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(run, tmp_path, monkeypatch, capsys, flags, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    assert main(["fcn_jax", "evaluate", f"--workdir={run[0]}", *flags]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_part_is_a_part_of_the_split_as_the_config_defines_it(run, capsys):
    workdir, _ = run
    text = (workdir / "config.json").read_text()
    changed = json.loads(text)
    changed["data"]["validation_split"] = "test[10:40]"
    (of_test,) = evaluate(capsys, f"--workdir={workdir}", "--split=test[12:20]")
    try:
        (workdir / "config.json").write_text(json.dumps(changed))
        for part in ("validation[2:10]", "val[2:10]"):
            (found,) = evaluate(capsys, f"--workdir={workdir}", f"--split={part}")
            assert {**found, "split": ""} == {**of_test, "split": ""}
    finally:
        (workdir / "config.json").write_text(text)


@pytest.mark.parametrize(
    ("own", "asked", "part"),
    [
        ("test", "test[:9]", "test[:9]"),
        ("train[10:30]", "validation[:9]", "train[10:19]"),
        ("train[10:30]", "validation[15:40]", "train[25:30]"),
        ("train[10:]", "validation[5:]", "train[15:]"),
        ("train+test", "validation[5:8]", "train+test[5:8]"),
    ],
)
def test_parts_of_parts(own, asked, part):
    assert part_of_own(own, asked) == part


def test_a_split_in_percent_has_no_parts():
    with pytest.raises(UserError, match=r"takes train\[90%:\] for it, which has no parts: evaluate all of it"):
        part_of_own("train[90%:]", "validation[:9]")


def test_logits_that_are_not_finite_are_no_bad_examples(tmp_path, run, capsys):
    config = folder_config(run[1], std=(1e-12,), mean=(1e30,))
    make_workdir(tmp_path / "wild", config)
    assert main(["fcn_jax", "evaluate", f"--workdir={tmp_path / 'wild'}", f"--out={tmp_path / 'out'}"]) == 2
    assert "are not finite, though it can be read" in capsys.readouterr().err
    assert main(["fcn_jax", "evaluate", f"--workdir={tmp_path / 'wild'}"]) == 2
    assert "the logits of some examples are not finite; --out=DIR names one" in capsys.readouterr().err
    path = next(run[1].rglob("*.png"))
    for command in ("predict", "cam"):
        out = [f"--out={tmp_path / 'maps'}"] * (command == "cam")
        assert main(["fcn_jax", command, f"--workdir={tmp_path / 'wild'}", *out, str(path)]) == 1
        assert json.loads(capsys.readouterr().out)["error"] == "its logits are not finite: look at its values"


@pytest.mark.parametrize("out", [False, True])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes."), "Out of memory"),
        (MemoryError("Unable to allocate 5. GiB for an array"), "Unable to allocate"),
    ],
)
def test_too_little_memory_is_one_line(run, tmp_path, capsys, monkeypatch, error, reason, out):
    monkeypatch.setattr(evaluation, "split_logits" if out else "evaluate", failing(error))
    assert main(["fcn_jax", "evaluate", f"--workdir={run[0]}", "--scale=2", *[f"--out={tmp_path}"] * out]) == 2
    said = capsys.readouterr().err
    assert f"steps of 16 examples at scale 2 need more memory than there is ({reason}" in said.replace("\n", "")
    assert not (tmp_path / "index.html").exists()


def test_any_other_error_of_the_device_stays_what_it_is(run, monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate", failing(jax.errors.JaxRuntimeError("INTERNAL: it is lost")))
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        main(["fcn_jax", "evaluate", f"--workdir={run[0]}"])


def failing(error: Exception):
    """Return a function that raises an error, whatever it is given."""

    def fail(*_, **__):
        raise error

    return fail
