"""An ONNX artifact says in onnxruntime what the model says, at any size; `make test-onnx` has what this needs."""

import json
import shutil

import numpy as np
import pytest

from fcn_jax.cli import main
from fcn_jax.commands.export import answering, export_onnx
from fcn_jax.inference.artifact import sidecar_path
from fcn_jax.inference.classifier import Answer
from fcn_jax.inference.inputs import recipe_of
from tests.inference.made import BUCKETS, make_workdir, small_config, worst_difference, write_picture

pytest.importorskip("jax2onnx")

from fcn_jax.inference.onnx import OnnxNet

SIZES = [(8, 8), (8, 31), (17, 23), (33, 32), (50, 9)]
LENGTHS = [(8,), (17,), (50,)]
NETS = {
    "fcn": (2, {}, SIZES),
    "resnet": (2, {"name": "resnet", "blocks": (1,), "stem_pool": True}, SIZES),
    "convnext": (2, {"name": "convnext", "blocks": (1,), "kernel": (7,)}, SIZES),
    "efficientnet": (
        2,
        {
            "name": "efficientnet",
            "channels": (4, 4),
            "blocks": (1,),
            "kernel": (3,),
            "stride": (2,),
            "expansion": (2,),
            "padding": "same",
        },
        SIZES,
    ),
    "fcn1d": (1, {"name": "fcn1d", "kernel": (5, 3)}, LENGTHS),
    "pyramid": (2, {"head": "pyramid"}, SIZES),
    "flatten": (2, {"name": "flatten", "input_side": 10}, [(11, 11)]),
}


def in_onnxruntime(model, recipe):
    buckets = BUCKETS if recipe.rank == 2 else ((12,), (24,))
    return OnnxNet(export_onnx(model, recipe, buckets)[0]).answer


@pytest.mark.parametrize(("rank", "fields", "canvases"), NETS.values(), ids=NETS.keys())
def test_onnxruntime_agrees_with_the_model(rank, fields, canvases):
    config = small_config(convolution="direct", **fields)
    if rank == 1:
        config.data.mean, config.data.std = (128.0,), (64.0,)
    assert worst_difference(in_onnxruntime, config, rank, canvases, rows=3) <= 1e-5


def test_a_mean_over_many_equal_positions_is_not_rounded_away(tmp_path):
    model = make_workdir(tmp_path / "run", small_config(convolution="direct"))
    recipe = recipe_of(small_config(), rank=2, smallest_side=4, largest_side=None)
    image, size = np.zeros((1, 600, 900, 1), np.uint8), np.array([[600, 900]], np.int32)
    answer, expected = in_onnxruntime(model, recipe)(image, size), answering(model)(image, size)
    for ours, theirs in zip(answer, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(workdir, ONNX artifact)"""
    folder = tmp_path_factory.mktemp("exported")
    make_workdir(folder / "run", small_config())
    assert export(folder / "run", folder / "net.onnx") == 0
    return folder / "run", folder / "net.onnx"


def export(workdir, out):
    return main(["fcn_jax", "export", f"--workdir={workdir}", f"--out={out}", "--format=onnx"])


def test_predict_says_the_same_of_an_onnx_artifact(exported, tmp_path, capsys):
    workdir, artifact = exported
    assert json.loads(sidecar_path(artifact).read_text())["format"] == "onnx"
    for number, size in enumerate([(12, 12), (2, 9), (15, 20)]):
        write_picture(tmp_path / "pictures" / f"{number}.png", size)
    capsys.readouterr()
    for source in (f"--workdir={workdir}", f"--artifact={artifact}"):
        assert main(["fcn_jax", "predict", source, str(tmp_path / "pictures")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for of_workdir, of_artifact in zip(lines[:3], lines[3:], strict=True):
        np.testing.assert_allclose(of_artifact.pop("logits"), of_workdir.pop("logits"), rtol=0, atol=1e-5)
        for name in ("path", "label", "height", "width"):
            assert of_workdir[name] == of_artifact[name]


def test_a_sidecar_of_another_net_is_one_line(exported, tmp_path, capsys):
    artifact = tmp_path / "net.onnx"
    shutil.copy(exported[1], artifact)
    values = json.loads(sidecar_path(exported[1]).read_text())
    values["recipe"]["channels"] = 3
    sidecar_path(artifact).write_text(json.dumps(values))
    assert main(["fcn_jax", "predict", f"--artifact={artifact}", str(tmp_path)]) == 2
    assert "3 channels" in capsys.readouterr().err


def test_an_onnx_model_that_says_otherwise_is_not_written(exported, tmp_path, capsys, monkeypatch):
    answer = OnnxNet.answer
    off_by_little = lambda net, image, size: Answer(*(values + 2e-4 for values in answer(net, image, size)))  # noqa: E731
    monkeypatch.setattr(OnnxNet, "answer", off_by_little)
    assert export(exported[0], tmp_path / "net.onnx") == 2
    assert "at 4×4 it differs by 0.0002, more than 1e-05" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_net_that_jax2onnx_does_not_convert_is_one_line(tmp_path, capsys):
    config = small_config(name="lstm", channels=(4,), bidirectional=True)
    make_workdir(tmp_path / "run", config, buckets=((12,), (24,)))
    assert export(tmp_path / "run", tmp_path / "net.onnx") == 2
    printed = capsys.readouterr().err
    assert "jax2onnx cannot convert this net" in printed
    assert len(printed.splitlines()) == 1
