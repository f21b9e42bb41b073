"""Answers from several views of an example, and temperatures: evaluate, predict and an artifact say the same."""

import csv
import json

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from fcn_jax.cli import main
from fcn_jax.config import UserError
from fcn_jax.data.dataset import open_dataset
from fcn_jax.inference.averaging import View, averaged, configs_of_views, views_of
from fcn_jax.inference.temperature import fit_temperature, write_temperature
from tests.inference.made import LABEL_NAMES, make_workdir, small_config, write_picture

SIZES = [(12, 12), (9, 17), (11, 12), (20, 9), (14, 14)]
AVERAGED = ("--average_scales=0.8,1", "--flip=both")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a net that nobody trained, and its images."""
    folder = tmp_path_factory.mktemp("images")
    for split in ("train", "validation", "test"):
        for shift, name in enumerate(LABEL_NAMES):
            for number in range(5 if split == "validation" else 2):
                write_picture(folder / split / name / f"{number:02}.png", SIZES[(number + shift) % len(SIZES)])
    config = small_config()
    config.data.source, config.machine.cache_dir = f"folder:{folder}", str(tmp_path_factory.mktemp("cache"))
    config.schedule.examples_per_step = config.evaluate.examples_per_step = 16
    config.schedule.max_buckets = 2
    workdir = tmp_path_factory.mktemp("runs") / "small"
    make_workdir(workdir, config)
    return workdir, folder


def lines(capsys, *arguments) -> list[dict]:
    assert main(["fcn_jax", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def probabilities_of(out) -> dict[str, float]:
    with (out / "predictions.csv").open() as table:
        return {row["name"]: float(row["probability"]) for row in csv.DictReader(table)}


def test_the_views_are_all_pairs_of_scale_and_side():
    assert views_of(2.0, (), "none") == (View(2.0, False),)
    assert views_of(1.0, (), "both") == (View(1.0, False), View(1.0, True))
    assert views_of(2.0, (0.5, 1.0), "mirrored") == (View(1.0, True), View(2.0, True))


def test_a_config_with_one_view_is_left_as_it_is():
    config = small_config()
    assert configs_of_views(config) == [config]
    config.evaluate.average_scales, config.evaluate.scale = (0.5,), 2.0
    (only,) = configs_of_views(config)
    assert (only.evaluate.scale, only.evaluate.average_scales) == (1.0, ())


def test_the_average_is_that_of_the_probabilities():
    logits = [np.array([[1.0, 2.0, -300.0], [0.0, 0.0, 50.0]], np.float32), np.array([[3.0, 0.0, 0.0]] * 2, np.float32)]
    mean = (softmax(logits[0].astype(float), axis=1) + softmax(logits[1].astype(float), axis=1)) / 2
    np.testing.assert_allclose(np.exp(averaged(logits, "one").astype(float)), mean, rtol=1e-5)
    assert averaged(logits[:1], "one") is logits[0]


def test_of_several_labels_each_probability_is_averaged():
    logits = [np.array([[1.0, -40.0, 0.0]], np.float32), np.array([[-3.0, 40.0, 60.0]], np.float32)]
    mean = (expit(logits[0].astype(float)) + expit(logits[1].astype(float))) / 2
    np.testing.assert_allclose(expit(averaged(logits, "several").astype(float)), mean, rtol=1e-6)


def test_evaluate_and_predict_average_over_the_same_views(run, tmp_path, capsys):
    workdir, folder = run
    (row,) = lines(capsys, "evaluate", f"--workdir={workdir}", *AVERAGED, f"--out={tmp_path}")
    assert (row["average_scales"], row["flip"], row["bad"]) == ([0.8, 1.0], "both", 0)
    paths = sorted(map(str, (folder / "test").rglob("*.png")))
    predicted = lines(capsys, "predict", f"--workdir={workdir}", *AVERAGED, *paths)
    known = probabilities_of(tmp_path)
    assert len(known) == len(paths)
    for each in predicted:
        assert each["probability"] == pytest.approx(known[each["path"]], abs=3e-6)
    loss = -np.mean([log_softmax(each["logits"])[LABEL_NAMES.index(each["path"].split("/")[-2])] for each in predicted])
    assert row["loss"] == pytest.approx(loss, abs=1e-5)


def test_an_averaged_answer_is_the_mean_of_its_views(run, capsys):
    workdir, folder = run
    path = str(folder / "test" / LABEL_NAMES[0] / "01.png")
    views = [
        lines(capsys, "predict", f"--workdir={workdir}", f"--average_scales={scale}", f"--flip={flip}", path)[0]
        for scale in (0.8, 1)
        for flip in ("none", "mirrored")
    ]
    assert len({tuple(view["logits"]) for view in views}) == 4
    (together,) = lines(capsys, "predict", f"--workdir={workdir}", *AVERAGED, path)
    mean = np.mean([softmax(view["logits"]) for view in views], axis=0)
    np.testing.assert_allclose(np.exp(together["logits"]), mean, atol=1e-6)
    (plain,) = lines(capsys, "predict", f"--workdir={workdir}", path)
    assert plain["logits"] == views[2]["logits"]


def test_a_single_scale_is_that_scale_in_evaluate_as_in_predict(run, tmp_path, capsys):
    workdir, folder = run
    (row,) = lines(capsys, "evaluate", f"--workdir={workdir}", "--average_scales=0.8", f"--out={tmp_path}")
    (plain,) = lines(capsys, "evaluate", f"--workdir={workdir}", "--scale=0.8")
    (sums,) = lines(capsys, "evaluate", f"--workdir={workdir}", "--average_scales=0.8")
    assert row["loss"] == pytest.approx(plain["loss"], abs=1e-6)
    assert sums == row
    path = str(folder / "test" / LABEL_NAMES[0] / "01.png")
    (predicted,) = lines(capsys, "predict", f"--workdir={workdir}", "--average_scales=0.8", path)
    assert predicted["probability"] == pytest.approx(probabilities_of(tmp_path)[path], abs=3e-6)


def test_a_fitted_temperature_has_the_least_loss():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(400, 5)).astype(np.float32)
    label = np.array([generator.choice(5, p=softmax(row)) for row in logits.astype(float)])

    def mean_loss(temperature: float) -> float:
        return -float(log_softmax(3 * logits.astype(float) / temperature, axis=1)[np.arange(400), label].mean())

    fitted = fit_temperature(mean_loss, step=7, views="scale 1", split="validation", examples=400)
    assert fitted.temperature == pytest.approx(3, rel=0.25)
    for other in (0.9, 1.1):
        assert mean_loss(fitted.temperature * other) > fitted.loss_after
    assert fitted.loss_after < fitted.loss_before


def test_a_temperature_is_fitted_on_validation_kept_and_forgotten(run, tmp_path, capsys):
    workdir, folder = run
    path = str(folder / "test" / LABEL_NAMES[1] / "00.png")
    evaluate, predict = ("evaluate", f"--workdir={workdir}"), ("predict", f"--workdir={workdir}", path)
    (plain,) = lines(capsys, *evaluate)
    (before,) = lines(capsys, *predict)
    (fitted,) = lines(capsys, *evaluate, "--temperature=fit", "--split=validation")
    kept = json.loads((workdir / "temperature.json").read_text())
    assert fitted["loss"] == pytest.approx(kept["loss_after"], abs=1e-6)
    assert kept["loss_after"] < kept["loss_before"]
    assert (kept["examples"], kept["split"]) == (5 * len(LABEL_NAMES), "validation")
    (tempered,) = lines(capsys, *evaluate)
    assert tempered["accuracy"] == plain["accuracy"]
    assert tempered["loss"] != plain["loss"]
    (after,) = lines(capsys, *predict)
    assert after["logits"] == before["logits"]
    expected = softmax(np.array(after["logits"]) / kept["temperature"]).max()
    assert after["probability"] == pytest.approx(expected, abs=1e-6)
    assert main(["fcn_jax", "export", f"--workdir={workdir}", f"--out={tmp_path / 'net'}"]) == 0
    capsys.readouterr()
    (exported,) = lines(capsys, "predict", f"--artifact={tmp_path / 'net'}", path)
    assert exported["probability"] == pytest.approx(after["probability"], abs=1e-6)
    for views in (AVERAGED, ("--flip=mirrored",)):
        assert main(["fcn_jax", "predict", f"--artifact={tmp_path / 'net'}", *views, path]) == 0
        of_artifact = capsys.readouterr()
        assert main(["fcn_jax", *predict, *views]) == 0
        of_run = capsys.readouterr()
        assert "was fitted for scale 1, but scale" in of_artifact.err
        assert "was fitted for scale 1, but scale" in of_run.err
        one, other = json.loads(of_artifact.out), json.loads(of_run.out)
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)
        assert one["probability"] == pytest.approx(softmax(one["logits"]).max(), abs=1e-6)
    (mapped,) = lines(capsys, "cam", f"--workdir={workdir}", f"--out={tmp_path / 'maps'}", path)
    assert mapped["probability"] == pytest.approx(after["probability"], abs=1e-6)
    (forgotten,) = lines(capsys, *evaluate, "--temperature=none")
    assert forgotten == plain


def test_a_temperature_is_for_the_views_that_it_was_fitted_for(run, capsys):
    evaluate = ("evaluate", f"--workdir={run[0]}")
    (plain,) = lines(capsys, *evaluate)
    (averaged_,) = lines(capsys, *evaluate, *AVERAGED)
    (fitted,) = lines(capsys, *evaluate, *AVERAGED, "--temperature=fit")
    assert json.loads((run[0] / "temperature.json").read_text())["views"] == "scales 0.8, 1, both mirrored and not"
    assert fitted["loss"] != averaged_["loss"]
    assert lines(capsys, *evaluate) == [plain]
    (scaled,) = lines(capsys, *evaluate, "--scale=0.8", "--temperature=fit")
    assert json.loads((run[0] / "temperature.json").read_text())["views"] == "scale 0.8"
    assert "temperature" in scaled
    rows = lines(capsys, *evaluate, "--scale=0.8,1")
    assert ["temperature" in row for row in rows] == [True, False]
    assert lines(capsys, *evaluate, "--temperature=none") == [plain]


def test_a_map_is_of_one_view_and_says_so(run, tmp_path, capsys):
    workdir, folder = run
    path, config = str(folder / "test" / LABEL_NAMES[1] / "00.png"), workdir / "config.json"
    (plain,) = lines(capsys, "predict", f"--workdir={workdir}", path)
    text = config.read_text()
    changed = json.loads(text)
    changed["evaluate"].update(average_scales=[0.5, 1.0, 1.5], flip="both")
    try:
        config.write_text(json.dumps(changed))
        assert main(["fcn_jax", "cam", f"--workdir={workdir}", f"--out={tmp_path}", path]) == 0
    finally:
        config.write_text(text)
    told = capsys.readouterr()
    assert "a map is of one view (scale 1), while predict takes those of the run (scales 0.5, 1, 1.5, both" in told.err
    found = json.loads(told.out)
    assert (found["label"], found["probability"]) == (plain["label"], pytest.approx(plain["probability"], abs=1e-6))


def test_a_temperature_that_cannot_be_forgotten_is_one_line(tmp_path):
    (tmp_path / "temperature.json").mkdir()
    with pytest.raises(UserError, match=r"temperature\.json cannot be written"):
        write_temperature(tmp_path, None)


def test_a_temperature_of_another_checkpoint_has_no_effect(run, capsys):
    workdir, folder = run
    path = str(folder / "test" / LABEL_NAMES[1] / "00.png")
    (before,) = lines(capsys, "predict", f"--workdir={workdir}", path)
    kept = {"temperature": 2.0, "step": 10**6, "views": "scale 1", "split": "validation", "examples": 1}
    (workdir / "temperature.json").write_text(json.dumps({**kept, "loss_before": 1.0, "loss_after": 0.5}))
    try:
        assert main(["fcn_jax", "predict", f"--workdir={workdir}", path]) == 0
        told = capsys.readouterr()
        assert json.loads(told.out) == before
        assert "was fitted for step 1000000" in told.err
        (workdir / "temperature.json").write_text("{")
        assert main(["fcn_jax", "predict", f"--workdir={workdir}", path]) == 2
        assert "temperature.json is damaged" in capsys.readouterr().err
    finally:
        (workdir / "temperature.json").unlink()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--average_scales=1,b"], "'b' is no number"),
        (["--average_scales=0"], "--average_scales is (0.0,), but it must be between 0.01 and 100"),
        (["--flip=up"], "--flip is 'up', but it must be one of: none, mirrored, both"),
        (["--temperature=2"], "--temperature=2: it must be fit, or none to forget what was fitted"),
    ],
)
def test_a_wrong_flag_is_one_line(run, flags, said, capsys):
    assert main(["fcn_jax", "evaluate", f"--workdir={run[0]}", *flags]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("flip", ["mirrored", "both"])
def test_signals_have_no_mirror_image(flip):
    config = small_config(data_channels=12, num_classes=9)
    config.data.source, config.evaluate.flip = "japanese_vowels", flip
    with pytest.raises(UserError, match=f"flip is {flip}, which mirrors images, but japanese_vowels holds signals"):
        open_dataset(config, "test", smallest_input=1, training=False)
