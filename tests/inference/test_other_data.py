"""A trained net meets data that is not its own: classes go by name, and what does not match is told or refused."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from fcn_jax.cli import main
from fcn_jax.config import UserError
from fcn_jax.data.meaning import Meaning, check_meaning
from fcn_jax.data.sources import open_data
from fcn_jax.inference.opened_run import open_run
from fcn_jax.system.disk import write_json
from fcn_jax.train.workdir import LABELS, read_config
from tests.data.made import Signals
from tests.inference.made import LABEL_NAMES, make_workdir, small_config, write_picture


def fill(folder, names, *, splits=("train", "validation", "test"), number=3):
    for split in splits:
        for place, name in enumerate(names):
            for count in range(number):
                write_picture(folder / split / name / f"{count}.png", (12 + place, 10 + count))
    return folder


@pytest.fixture
def run(tmp_path):
    """The workdir of a net that nobody trained, and its images."""
    config = small_config()
    config.data.source = f"folder:{fill(tmp_path / 'own', LABEL_NAMES)}"
    config.schedule.examples_per_step = config.evaluate.examples_per_step = 16
    make_workdir(tmp_path / "run", config)
    return tmp_path / "run", tmp_path / "own"


def evaluate(capsys, workdir, *flags):
    code = main(["fcn_jax", "evaluate", f"--workdir={workdir}", *flags])
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


def test_a_renamed_class_is_refused(run, capsys):
    workdir, folder = run
    for split in ("train", "validation", "test"):
        (folder / split / "ant").rename(folder / split / "zebra")
    code, rows, said = evaluate(capsys, workdir)
    assert (code, rows) == (2, [])
    assert "does not know 1 class of the data (zebra)" in said
    assert "lacks 1 class of the net (ant)" in said


def test_classes_of_other_data_are_matched_by_name(run, tmp_path, capsys):
    """In another order, with one class less and one more: every example of a known class gets its own label."""
    workdir, folder = run
    new = fill(tmp_path / "new", ["aardvark", *LABEL_NAMES[1:]], splits=("",))
    for name in LABEL_NAMES[1:]:
        for path in (new / name).iterdir():
            shutil.copy(folder / "test" / name / path.name, path)
    shutil.rmtree(folder / "test/ant")
    _, (own,), _ = evaluate(capsys, workdir)
    code, (other,), said = evaluate(capsys, workdir, f"--data=folder:{new}")
    assert code == 0
    assert (other["accuracy"], other["count"]) == (own["accuracy"], own["count"])
    assert other["loss"] == pytest.approx(own["loss"], abs=1e-5)
    assert other["split"] == "all"
    assert "does not know 1 class of the data (aardvark); the data lacks 1 class of the net (ant)" in said
    assert "3 examples" in said


def test_weights_of_other_data_do_not_count(run, capsys):
    workdir, folder = run
    paths = sorted(path for path in folder.glob("test/*/*"))
    rows = [f"{path.relative_to(folder)},{path.parent.name},test,0" for path in paths]
    (folder / "table.csv").write_text("\n".join(["path,label,split,weight", *rows]) + "\n")
    _, (own,), _ = evaluate(capsys, workdir)
    code, rows, said = evaluate(capsys, workdir, f"--data=table:{folder / 'table.csv'}")
    assert code == 0, said
    (other,) = rows
    assert (other["accuracy"], other["count"]) == (own["accuracy"], own["count"])


def test_other_data_is_evaluated_as_its_split_and_needs_no_data_of_the_run(run, tmp_path, capsys):
    workdir, folder = run
    _, (own,), _ = evaluate(capsys, workdir, "--split=val")
    folder.rename(tmp_path / "moved")
    code, _, said = evaluate(capsys, workdir)
    assert code == 2
    assert "there is no such folder" in said
    code, (moved,), _ = evaluate(capsys, workdir, f"--data=folder:{tmp_path / 'moved'}", "--split=val")
    assert code == 0
    assert moved == own
    code, (default,), _ = evaluate(capsys, workdir, f"--data=folder:{tmp_path / 'moved'}")
    assert (code, default["split"]) == (0, "test")


@pytest.mark.parametrize("data", ["folder:nowhere", "nothing", "table:nowhere.csv", "folder:"])
def test_data_that_is_not_there_is_one_line(run, capsys, data):
    code, rows, said = evaluate(capsys, run[0], f"--data={data}")
    assert (code, rows) == (2, [])
    assert "Traceback" not in said


def test_data_whose_names_mean_nothing_to_the_net_is_refused(run, tmp_path, capsys):
    code, _, said = evaluate(capsys, run[0], f"--data=folder:{fill(tmp_path / 'new', ['x', 'y'])}")
    assert code == 2
    assert "none of the 2 classes of the data (x, y)" in said


def test_a_split_without_any_class_of_the_net_is_refused(run, tmp_path, capsys):
    new = fill(fill(tmp_path / "new", [LABEL_NAMES[0], "x"], splits=("train",)), ["x"], splits=("test",))
    code, _, said = evaluate(capsys, run[0], f"--data=folder:{new}")
    assert code == 2
    assert f"none of the 3 examples of {new / 'test'} has a class of the net" in said


def test_signals_are_refused_by_a_net_of_images(run, tmp_path, capsys):
    for name in LABEL_NAMES:
        (tmp_path / "sounds" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "sounds" / name / "0.wav", np.zeros(400), 8000)
    code, _, said = evaluate(capsys, run[0], f"--data=folder:{tmp_path / 'sounds'}")
    assert code == 2
    assert "holds signals, but the net was trained on images" in said


def test_the_page_names_the_other_data(run, tmp_path, capsys):
    data, out = f"folder:{fill(tmp_path / 'new', LABEL_NAMES)}", tmp_path / "out"
    assert evaluate(capsys, run[0], f"--data={data}", f"--out={out}")[0] == 0
    assert f"evaluated on {data}" in (out / "index.html").read_text(encoding="utf-8")


def test_a_split_is_not_taken_from_elsewhere_than_when_the_run_began(run, tmp_path):
    """Validation was given and is gone: it must not be carved out of what the net was trained on."""
    workdir, folder = run
    fill(folder, LABEL_NAMES, splits=("train",), number=40)
    begun = {"validation": {"origin": str(folder / "validation")}}
    write_json(workdir / "data.json", begun)
    shutil.rmtree(folder / "validation")
    with pytest.raises(UserError, match=r"was .*/validation when the run in .* began, and now .* taken out of train"):
        open_run(workdir, read_config(workdir), "validation")


def test_the_classes_of_a_checkpoint_are_its_own(run):
    workdir, _ = run
    write_json(workdir / LABELS, sorted(LABEL_NAMES, reverse=True))
    with pytest.raises(UserError, match=r"labels\.json does not name the classes that the checkpoint"):
        open_run(workdir, read_config(workdir), "test")


@pytest.mark.parametrize(
    ("origin", "remedy"), [("taken out of train (x)", "--split=test takes those"), ("y/test", "give it examples that")]
)
def test_data_that_holds_what_the_net_was_trained_on_is_told(run, tmp_path, capsys, origin, remedy):
    workdir, _ = run
    moved = fill(tmp_path / "moved", LABEL_NAMES, splits=("",), number=40)
    config = read_config(workdir)
    config.data.source = f"folder:{moved}"
    train = open_data(config)("train")
    write_json(workdir / "data.json", {"train": {"contents": train.contents()}, "test": {"origin": origin}})
    code, _, said = evaluate(capsys, workdir, f"--data=folder:{moved}")
    assert code == 0
    assert f"WARNING: folder:{moved} holds the {len(train)} examples that the net was trained on: {remedy}" in said
    assert "WARNING" not in evaluate(capsys, workdir, f"--data=folder:{moved}", "--split=test")[2]


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Meaning(("even", "odd"), None, None), None),
        (Meaning(("even", "odd"), 8000, (-1.0, 1.0)), None),
        (Meaning(("odd", "even"), 8000, None), "their order differs"),
        (Meaning(("even", "odd"), 16000, None), "8,000 samples a second, but the net was trained with 16,000"),
        (Meaning(("even", "odd"), 8000, (0.0, 255.0)), "go from -1 to 1, but the net was trained with values from 0"),
    ],
)
def test_examples_mean_what_they_meant_in_training(net, said):
    source = Signals(6)
    source.sampling_rate, source.value_range = 8000, (-1.0, 1.0)
    assert Meaning.from_json(json.loads(json.dumps(net.to_json()))) == net
    if said is None:
        check_meaning(source, net, data="x")
        return
    with pytest.raises(UserError, match=said):
        check_meaning(source, net, data="x")


def test_several_scales_list_the_data_and_read_the_checkpoint_once(run, capsys):
    code, rows, said = evaluate(capsys, run[0], "--scale=1,2")
    assert (code, [row["scale"] for row in rows]) == (0, [1.0, 2.0])
    assert rows[0]["loss"] != rows[1]["loss"]
    assert said.count("6 classes") == 1
    assert said.count("WARNING") <= 2, "each kind of equal contents is said once"
    alone = [evaluate(capsys, run[0], f"--scale={scale}")[1][0] for scale in (1, 2)]
    assert rows == alone


def test_broken_files_of_other_data_are_counted_and_stop_nothing(run, tmp_path, capsys):
    new = fill(tmp_path / "new", LABEL_NAMES, splits=("",))
    (new / "ant/0.png").write_bytes(b"broken")
    code, (row,), said = evaluate(capsys, run[0], f"--data=folder:{new}")
    assert (code, row["count"], row["bad"]) == (0, 17, 1)
    assert "1 cannot be read: ant/0.png" in said
