"""Class activation maps: their mean is the logit, whatever lies beside; nets that have none say why."""

import json

import jax
import numpy as np
import pytest
import soundfile
from PIL import Image

from fcn_jax.cli import main
from fcn_jax.data.image_formats import NO_IMAGE
from fcn_jax.inference.class_maps import Explained, MapMaker, Unread, check_has_map, map_answer_of
from fcn_jax.inference.classifier import classifier_of_workdir, restore_trained
from fcn_jax.inference.predict import predict
from fcn_jax.nets.model import abstract_model, make_model
from tests.core.padding import drawn, make_block, make_images
from tests.inference.made import make_workdir, small_config, write_picture

SIZES = [(12, 12), (9, 17), (4, 30), (23, 5)]
MAPPED = {
    "average last": {},
    "average first": {"head": "average_first"},
    "a norm behind the average": {"name": "convnext", "blocks": (1,), "kernel": (3,), "patch": 2},
    "a grid": {"adaptive_pool": 5, "adaptive_pool_after": 1},
    "same padding": {
        "name": "efficientnet", "channels": (4, 4), "blocks": (1,), "kernel": (3,), "stride": (2,), "expansion": (2,),
        "stem_channels": 4, "head_channels": 8, "padding": "same"
    },
    "residual": {"name": "resnet", "channels": (4, 6), "blocks": (1,)},
}  # fmt: skip
UNMAPPED = {
    "max": ({"head": "max"}, "its head is GlobalMax"),
    "logsumexp": ({"head": "logsumexp"}, "its head is GlobalLogSumExp"),
    "attention": ({"head": "attention"}, "its head is AttentionHead"),
    "pyramid": ({"head": "pyramid"}, "its head is PyramidHead"),
    "max behind a norm": ({"name": "convnext", "kernel": (3,), "blocks": (1,), "head": "max"}, "its head is GlobalMax"),
    "last": ({"name": "wavenet", "kernel": (2,), "dilation": (1,), "head": "last"}, "its head is LastPosition"),
    "lstm": ({"name": "lstm"}, "the output of its LSTM"),
    "tacotron2_encoder": ({"name": "tacotron2_encoder", "kernel": (3,)}, "the output of its LSTM"),
    "flatten": ({"name": "flatten", "input_side": 12}, "it flattens"),
    "mlp": ({"name": "mlp", "input_side": 12}, "it flattens"),
    "dense": ({"name": "dense", "input_side": 12}, "it flattens"),
}


@pytest.mark.parametrize("fields", MAPPED.values(), ids=MAPPED.keys())
def test_the_mean_of_a_map_is_the_logit_beside_any_neighbours(fields):
    model = drawn(lambda: make_model(small_config(**fields), rank=2))
    check_has_map(model)
    rng = np.random.default_rng(0)
    images = make_images(SIZES, 1, rng)
    block = make_block(images, [2, -1, 0, 3, 1], (25, 33), rng)

    def both(image, size):
        return map_answer_of(model, image, size, label=4), map_answer_of(model, image, size, label=None)

    answers = jax.device_get(jax.jit(both)(block.image, block.size))
    best = answers[1].logits.argmax(-1)
    for answer, label in zip(answers, (np.full(len(best), 4), best), strict=True):
        assert answer.label.tolist() == label.tolist()
        for row in np.flatnonzero(block.weight):
            cells = tuple(slice(side) for side in answer.map_size[row])
            assert answer.class_map[row][cells].size > 1
            assert np.abs(answer.class_map[row][cells].mean() - answer.logits[row, label[row]]) <= 1e-5
            assert np.abs(answer.mean_map[row][cells].mean() - answer.logits[row].mean()) <= 1e-5


@pytest.mark.parametrize(("fields", "why"), UNMAPPED.values(), ids=UNMAPPED.keys())
def test_a_net_without_maps_says_why(fields, why):
    config = small_config(**fields)
    model = abstract_model(config, rank=2 if config.model.takes_images else 1)
    with pytest.raises(ValueError, match=f"no class activation map: {why}.*config.model.head=average"):
        check_has_map(model)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "small"
    make_workdir(workdir, small_config())
    return workdir


def test_files_of_all_sizes_have_maps_that_mean_what_predict_says(workdir, tmp_path):
    sizes = [(12, 12), (15, 22), (11, 10), (3, 12)]
    paths = [str(tmp_path / f"{number}.png") for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        write_picture(tmp_path / path, size)
    outcomes = [outcome for known in predict(classifier_of_workdir(workdir), paths) for outcome in known]
    found = list(MapMaker(restore_trained(workdir), label=None).maps([*paths, str(tmp_path / "nosuch.png")]))
    assert found.pop() == Unread(str(tmp_path / "nosuch.png"), "No such file or directory")
    for outcome, explained in zip(outcomes, found, strict=True):
        assert isinstance(explained, Explained)
        logits = np.array(outcome.logits)
        assert explained.path == outcome.path
        assert explained.label == explained.predicted == outcome.ranking[0]
        assert abs(explained.class_map.mean() - logits.max()) <= 1e-5
        assert abs(explained.evidence.mean() - (logits.max() - logits.mean())) <= 1e-5
        assert explained.class_map.shape == tuple(grid.cells for grid in explained.grids)
        np.testing.assert_allclose(explained.probabilities, outcome.probabilities, rtol=0, atol=2e-6)


def test_cam_writes_a_picture_of_each_file_and_a_contact_sheet(workdir, tmp_path, capsys):
    inputs, out = tmp_path / "in", tmp_path / "new" / "out"
    write_picture(inputs / "0$a$.png", (40, 12), mode="RGB")
    (inputs / "1.png").write_bytes(b"no picture")
    write_picture(inputs / "2.png", (12, 90))
    assert main(["fcn_jax", "cam", f"--workdir={workdir}", f"--out={out}", str(inputs), "--label=cow"]) == 1
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert [row["path"] for row in rows] == [str(inputs / name) for name in ("0$a$.png", "1.png", "2.png")]
    assert rows[1]["error"] == NO_IMAGE
    assert [rows[row]["map_of"] for row in (0, 2)] == ["cow", "cow"]
    assert [rows[row]["picture"] for row in (0, 2)] == [str(out / "1_0$a$.png"), str(out / "3_2.png")]
    assert {path.name for path in out.iterdir()} == {"1_0$a$.png", "3_2.png", "contact.png"}
    for path in out.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("RGB").resize((64, 64)).get_flattened_data())) > 20
    assert f"{out / 'contact.png'} shows 2 files\n1 of 3 files have no picture" in printed.err


def test_signals_have_maps(tmp_path, capsys):
    config = small_config(data_channels=2, name="fcn1d", kernel=(4, 3))
    make_workdir(tmp_path / "run", config, buckets=((9,), (20,)))
    rng = np.random.default_rng(0)
    for name, length in (("long", 5000), ("short", 1)):
        values = rng.normal(size=(length, 2)).astype(np.float32)
        soundfile.write(tmp_path / f"{name}.wav", values, 100, subtype="FLOAT")
    flags = [f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'out'}"]
    assert main(["fcn_jax", "cam", *flags, str(tmp_path / "long.wav"), str(tmp_path / "short.wav")]) == 0
    assert [json.loads(line)["picture"] for line in capsys.readouterr().out.splitlines()] == [
        str(tmp_path / "out" / name) for name in ("1_long.png", "2_short.png")
    ]
    assert (tmp_path / "out" / "contact.png").is_file()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--label=gnu"], "--label=gnu is none of the 6 classes of this net: ant, bee, cow, dog, elk, fox"),
        (["--out={file}"], "is a file, but it must be a folder"),
    ],
)
def test_a_mistake_is_one_line(workdir, tmp_path, capsys, flags, said):
    write_picture(tmp_path / "0.png", (12, 12))
    flags = [flag.format(file=tmp_path / "0.png") for flag in flags]
    out = [] if any(flag.startswith("--out") for flag in flags) else [f"--out={tmp_path / 'out'}"]
    assert main(["fcn_jax", "cam", f"--workdir={workdir}", *out, *flags, str(tmp_path / "0.png")]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]


def test_a_net_without_maps_is_refused_before_anything_is_written(tmp_path, capsys):
    make_workdir(tmp_path / "run", small_config(head="max"))
    write_picture(tmp_path / "0.png", (12, 12))
    flags = [f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'out'}", str(tmp_path / "0.png")]
    assert main(["fcn_jax", "cam", *flags]) == 2
    assert "this net has no class activation map" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
