"""An artifact says what the model says, at any size, and nothing passes for what it is not."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from jax import export as jax_export

from fcn_jax.cli import main
from fcn_jax.commands.export import export_model
from fcn_jax.inference import artifact as artifact_module
from fcn_jax.inference.artifact import sidecar_path
from fcn_jax.inference.classifier import Answer
from tests.inference.made import make_workdir, small_config, worst_difference, write_picture

TEN_SIZES = [(8, 8), (8, 31), (64, 9), (20, 20), (17, 23), (28, 28), (33, 32), (12, 40), (50, 50), (9, 10)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(workdir, artifact)"""
    folder = tmp_path_factory.mktemp("exported")
    make_workdir(folder / "run", small_config())
    assert main(["fcn_jax", "export", f"--workdir={folder / 'run'}", f"--out={folder / 'net.bin'}"]) == 0
    return folder / "run", folder / "net.bin"


def through_bytes(model, recipe):
    """The function of an artifact that was serialized."""
    artifact = jax_export.deserialize(export_model(model, recipe).serialize())
    assert set(artifact.platforms) == {"cpu", "cuda", "tpu"}
    return lambda image, size: Answer(**artifact.call(image, size))


def test_an_artifact_agrees_with_its_model_at_ten_sizes():
    assert worst_difference(through_bytes, small_config(convolution="direct"), 2, TEN_SIZES) <= 1e-6


@pytest.mark.parametrize(
    ("rank", "fields", "canvases"),
    [
        (1, {"name": "lstm", "channels": (4,), "bidirectional": True}, [(3,), (7,)]),
        (2, {"adaptive_pool": 6, "convolution": "direct"}, [(30, 31), (12, 9)]),
        (2, {"name": "flatten", "input_side": 10}, [(11, 11)]),
        (2, {"name": "mlp", "input_side": 6}, [(6, 6)]),
    ],
)
def test_other_nets_are_exported_for_what_they_take(rank, fields, canvases):
    config = small_config(**fields)
    if rank == 1:
        config.data.mean = (128.0,)
        config.data.std = (64.0,)
    assert worst_difference(through_bytes, config, rank, canvases, rows=3) <= 1e-6


def test_predict_says_the_same_of_an_artifact_without_the_workdir(exported, tmp_path, capsys):
    workdir, artifact = exported
    for number, size in enumerate([(12, 12), (2, 9), (15, 20)]):
        write_picture(tmp_path / "pictures" / f"{number}.png", size)
    for source in (f"--workdir={workdir}", f"--artifact={artifact}"):
        assert main(["fcn_jax", "predict", source, str(tmp_path / "pictures")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for of_workdir, of_artifact in zip(lines[:3], lines[3:], strict=True):
        np.testing.assert_allclose(of_artifact.pop("logits"), of_workdir.pop("logits"), rtol=0, atol=2e-6)
        for name in ("path", "label", "height", "width"):
            assert of_workdir[name] == of_artifact[name]


def edited(artifact, change):
    values = json.loads(sidecar_path(artifact).read_text())
    change(values)
    sidecar_path(artifact).write_text(json.dumps(values))


WRONG = {
    "no artifact": (lambda artifact: artifact.unlink(), "cannot be read: No such file"),
    "no sidecar": (lambda artifact: sidecar_path(artifact).unlink(), "the sidecar of the artifact, cannot be read"),
    "cut off": (lambda artifact: artifact.write_bytes(artifact.read_bytes()[:-100]), "hashes differ"),
    "of another": (lambda artifact: edited(artifact, lambda v: v.update(sha256="0" * 64)), "hashes differ"),
    "no JSON": (lambda artifact: sidecar_path(artifact).write_text("{"), "is damaged"),
    "of a later version": (lambda artifact: edited(artifact, lambda v: v.update(format_version=9)), "reads 5"),
    "without a rule": (
        lambda artifact: edited(artifact, lambda v: v["recipe"].pop("resize")),
        "recipe.resize is missing",
    ),
    "with a wrong rule": (lambda artifact: edited(artifact, lambda v: v["recipe"].update(resize="tall:3")), "'tall:3'"),
    "with a class less": (lambda artifact: edited(artifact, lambda v: v["label_names"].pop()), "5 label_names"),
    "of no format": (lambda artifact: edited(artifact, lambda v: v.update(format="pickle")), "stablehlo, onnx"),
    "with a wrong bucket": (lambda artifact: edited(artifact, lambda v: v.update(buckets=["9"])), "bucket 9"),
    "of colour": (lambda artifact: edited(artifact, lambda v: v["recipe"].update(channels=3)), "3 channels"),
}


def rewritten(artifact, content: bytes):
    """A stranger's artifact, whose sidecar agrees with it."""
    artifact.write_bytes(content)
    edited(artifact, lambda values: values.update(sha256=hashlib.sha256(content).hexdigest()))


@pytest.mark.parametrize("content", [b"", b"no artifact", b"\xff" * 1000])
def test_a_strangers_artifact_can_only_fail(exported, tmp_path, capsys, content):
    artifact = tmp_path / "net.bin"
    shutil.copy(sidecar_path(exported[1]), sidecar_path(artifact))
    rewritten(artifact, content)
    assert main(["fcn_jax", "predict", f"--artifact={artifact}", str(tmp_path)]) == 2
    assert "the artifact is damaged, or this version of JAX cannot read it" in capsys.readouterr().err


def test_a_strangers_program_can_only_fail(exported, tmp_path, capsys):
    artifact = tmp_path / "net.bin"
    shutil.copy(sidecar_path(exported[1]), sidecar_path(artifact))
    content = bytearray(exported[1].read_bytes())
    start = content.index(b"StableHLO_v") + 20
    content[start : start + 40] = bytes(40)
    rewritten(artifact, bytes(content))
    write_picture(tmp_path / "a.png", (12, 12))
    assert main(["fcn_jax", "predict", f"--artifact={artifact}", str(tmp_path / "a.png")]) == 2
    assert "cannot be compiled" in capsys.readouterr().err


@pytest.mark.parametrize(("damage", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_is_damaged_or_does_not_match_is_one_line(exported, tmp_path, capsys, damage, said):
    artifact = tmp_path / "net.bin"
    shutil.copy(exported[1], artifact)
    shutil.copy(sidecar_path(exported[1]), sidecar_path(artifact))
    damage(artifact)
    capsys.readouterr()
    assert main(["fcn_jax", "predict", f"--artifact={artifact}", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("form", "said"),
    [("onnx", "needs packages that are not installed (jax2onnx)"), ("pb", "must be one of stablehlo, onnx")],
)
def test_a_format_that_cannot_be_made_is_one_line(tmp_path, capsys, monkeypatch, form, said):
    monkeypatch.setattr(artifact_module, "find_spec", lambda package: None if package == "jax2onnx" else package)
    assert main(["fcn_jax", "export", f"--workdir={tmp_path}", f"--out={tmp_path / 'net'}", f"--format={form}"]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert len(printed.splitlines()) == 1


def test_an_onnx_artifact_without_onnxruntime_is_one_line(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(artifact_module, "find_spec", lambda package: None)
    artifact = tmp_path / "net.onnx"
    shutil.copy(exported[1], artifact)
    shutil.copy(sidecar_path(exported[1]), sidecar_path(artifact))
    edited(artifact, lambda values: values.update(format="onnx"))
    assert main(["fcn_jax", "predict", f"--artifact={artifact}", str(tmp_path)]) == 2
    assert "an ONNX artifact needs packages that are not installed (onnxruntime)" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_a_mistake(exported, capsys):
    assert main(["fcn_jax", "export", f"--workdir={exported[0]}", "--out=nosuch/net.bin"]) == 2
    assert "--out=nosuch/net.bin: there is no folder nosuch" in capsys.readouterr().err
