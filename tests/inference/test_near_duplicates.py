"""Near-duplicates: those that were made are found, others are not, and the page shows them."""

import json

import numpy as np
import pytest
from PIL import Image

from fcn_jax.cli import main
from fcn_jax.inference.near_duplicates import likeness
from tests.inference.made import LABEL_NAMES, make_workdir, small_config


def draw(path, rng) -> np.ndarray:
    """Write a picture of smooth noise; return it."""
    coarse = rng.integers(0, 256, (5, 6)).astype(np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((36, 30), Image.Resampling.BICUBIC))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return image


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir and its images; two of test are copies of one of train: smaller, brighter, or cut by a row."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("images")
    images = {}
    for split in ("train", "validation", "test"):
        for name in LABEL_NAMES:
            for number in range(3):
                images[split, name, number] = draw(folder / split / name / f"{number}.png", rng)
    first, second = images["train", "ant", 1], images["train", "cow", 2]
    smaller = Image.fromarray((first * 0.9 + 12).astype(np.uint8)).resize((30, 25), Image.Resampling.BILINEAR)
    smaller.save(folder / "test/ant/0.png")
    Image.fromarray(second[1:]).save(folder / "test/dog/1.png")
    config = small_config()
    config.data.source = f"folder:{folder}"
    config.evaluate.examples_per_step = 16
    workdir = tmp_path_factory.mktemp("runs") / "small"
    make_workdir(workdir, config)
    return workdir, folder


def test_made_copies_are_found_and_shown(run, tmp_path, capsys):
    workdir, folder = run
    assert main(["fcn_jax", "evaluate", f"--workdir={workdir}", f"--out={tmp_path}", "--near_duplicates"]) == 0
    assert "2 examples of test are near-duplicates of one of train" in capsys.readouterr().err
    found = json.loads((tmp_path / "evaluation.json").read_text())["near_duplicates"]
    pairs = {(one["name"], one["in_train"], one["label"], one["label_in_train"]) for one in found}
    assert pairs == {
        (f"{folder}/test/ant/0.png", f"{folder}/train/ant/1.png", "ant", "ant"),
        (f"{folder}/test/dog/1.png", f"{folder}/train/cow/2.png", "dog", "cow"),
    }
    page = (tmp_path / "index.html").read_text()
    assert "2 of 18 examples of test (11.11 %) look nearly like one of train" in page
    assert "1 of them have another label in train" in page
    assert page.count("Near-duplicates. test: ") == 2


def test_the_flag_needs_a_page(run, capsys):
    assert main(["fcn_jax", "evaluate", f"--workdir={run[0]}", "--near_duplicates"]) == 2
    assert "--near_duplicates shows its pairs on a page, but no --out=DIR is given" in capsys.readouterr().err


def test_an_example_that_is_in_both_splits_is_no_duplicate_of_itself(run, tmp_path):
    evaluate = ["fcn_jax", "evaluate", f"--workdir={run[0]}", "--near_duplicates"]
    assert main([*evaluate, "--split=train", f"--out={tmp_path}"]) == 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["near_duplicates"] == []


def test_other_data_has_no_train_split_to_look_in(run, tmp_path, capsys):
    workdir, folder = run
    flags = [f"--workdir={workdir}", f"--data=folder:{folder}", f"--out={tmp_path}", "--near_duplicates"]
    assert main(["fcn_jax", "evaluate", *flags]) == 2
    assert "gives other data: leave out one of them" in capsys.readouterr().err


def test_an_example_is_like_itself_moved_or_brighter_and_like_nothing_of_one_value():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(24, 24, 3)).astype(np.float32)
    assert likeness(image, 3 + 2 * image) == pytest.approx(1, abs=1e-5)
    assert likeness(image, np.roll(image, (2, -1), (0, 1))) == pytest.approx(1, abs=1e-5)
    assert likeness(image, np.roll(image, 3, 0)) < 0.3
    assert likeness(image, rng.normal(size=(24, 24, 3)).astype(np.float32)) < 0.3
    assert likeness(image, np.ones_like(image)) == 0
    assert likeness(image, None) == 0
    signal = rng.normal(size=(64, 2)).astype(np.float32)
    assert likeness(signal, np.roll(signal, -2, 0)) == pytest.approx(1, abs=1e-5)
