"""Whatever is broken: found early it is left out, found late it is filler; either way it is named, in one line."""

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_jax.cli import main
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.files import read_file
from fcn_jax.data.image_formats import NO_IMAGE
from fcn_jax.data.sources import describe_sources
from tests.commands.test_train import ROOT
from tests.data.conftest import picture
from tests.data.made import config_for, opened


def png_that_says(height: int, width: int) -> bytes:
    """A PNG whose header tells a size and that holds nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


FOUND_EARLY = {
    "empty": (b"", "the file is empty"),
    "no image": (b"hello", NO_IMAGE),
    "zero-sized": (png_that_says(0, 5), "its header is damaged"),
    "a bomb": (png_that_says(15_000, 20_000), "15000×20000, more than config.data.max_megapixels=100 allows"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), FOUND_EARLY.values(), ids=FOUND_EARLY.keys())
def test_found_when_indexed_it_is_left_out_and_named(folder, content, said):
    broken = folder / "train/cat/0.png"
    broken.write_bytes(content)
    data = opened(config_for(f"folder:{folder}", max_bad_fraction=0.1))
    assert len(data) == 11
    assert said in data.source.bad[str(broken)]


def test_a_pipe_and_a_device_are_no_files(folder):
    pipe, device = folder / "train/cat/0.png", folder / "train/cat/1.png"
    for path in (pipe, device):
        path.unlink()
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    data = opened(config_for(f"folder:{folder}", max_bad_fraction=0.5))
    assert data.source.bad == dict.fromkeys([str(pipe), str(device)], "it is no regular file")
    for path in (pipe, device):
        with pytest.raises(BadExampleError, match="no regular file"):
            read_file(str(path))


def test_a_lower_limit_counts_for_remembered_sizes_too(folder, tmp_path):
    config = config_for(f"folder:{folder}", max_bad_fraction=1.0)
    config.machine.cache_dir = str(tmp_path / "cache")
    assert len(opened(config)) == 12
    config.data.max_megapixels = 12 * 12 / 1e6
    data = opened(config)
    assert len(data) == 8
    assert "13×12, more than" in data.source.bad[str(folder / "train/cat/4.png")]


def deny(monkeypatch, denied: Path) -> None:
    """As the system does to anyone but root, whom the tests may run as."""
    image_open, file_open = Image.open, open

    def checked(read):
        def wrapped(path, *arguments, **options):
            if str(path) == str(denied):
                raise PermissionError(13, "Permission denied", str(path))
            return read(path, *arguments, **options)

        return wrapped

    monkeypatch.setattr(Image, "open", checked(image_open))
    monkeypatch.setattr("builtins.open", checked(file_open))


def test_a_file_that_may_not_be_read_is_left_out(folder, monkeypatch):
    deny(monkeypatch, folder / "train/cat/0.png")
    data = opened(config_for(f"folder:{folder}", max_bad_fraction=0.1))
    assert data.source.bad == {str(folder / "train/cat/0.png"): "Permission denied"}


def truncate(path: Path, monkeypatch) -> None:
    del monkeypatch
    path.write_bytes(path.read_bytes()[:-60])


def remove(path: Path, monkeypatch) -> None:
    del monkeypatch
    path.unlink()


FOUND_LATE = {
    "truncated": (truncate, "truncated"),
    "gone": (remove, "No such file"),
    "denied": (lambda path, monkeypatch: deny(monkeypatch, path), "Permission denied"),
}


@pytest.mark.parametrize(("harm", "said"), FOUND_LATE.values(), ids=FOUND_LATE.keys())
def test_found_when_read_it_is_a_filler_row_and_named(folder, monkeypatch, tmp_path, harm, said):
    data = opened(config_for(f"folder:{folder}", max_bad_fraction=0.1))
    harm(folder / "train/cat/0.png", monkeypatch)
    block = data.block(np.arange(12), (16, 16), epoch=0)
    assert block.weight.tolist() == [0, *[1] * 11]
    assert block.index[0] == -1
    assert not block.image[0].any()
    data.bad.write_new(tmp_path / "bad.jsonl")
    row = json.loads((tmp_path / "bad.jsonl").read_text())
    assert (row["split"], row["name"]) == ("train", str(folder / "train/cat/0.png"))
    assert said in row["reason"]


def train(folder, workdir, *fields: str) -> int:
    config = f"--config={ROOT / 'configs/folder.py'}:{folder},tiny"
    small = ["--config.data.min_side=16", "--config.model.channels=(4,4)", "--config.model.kernel=(4,)",
             "--config.model.stride=(2,)", "--config.train.epochs=1", "--config.machine.cache_dir=",
             "--config.schedule.examples_per_step=16", "--config.evaluate.examples_per_step=16"]  # fmt: skip
    splits = [f"--config.data.{split}_split={split}" for split in ("train", "validation", "test")]
    return main(["fcn_jax", "train", config, f"--workdir={workdir}", *small, *splits, *fields])


def test_a_run_names_and_counts_them(folder, tmp_path):
    early, late = folder / "train/cat/0.png", folder / "test/dog/1.png"
    early.write_bytes(b"hello")
    late.write_bytes(late.read_bytes()[:-60])
    assert train(folder, tmp_path / "run", "--config.data.max_bad_fraction=0.3") == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["bad_examples"], summary["count"]) == (2, 3)
    rows = [json.loads(line) for line in (tmp_path / "run/bad_examples.jsonl").read_text().splitlines()]
    assert {(row["split"], row["name"]) for row in rows} == {("train", str(early)), ("test", str(late))}


def test_too_many_found_while_training_stop_the_run(folder, tmp_path, capsys):
    for path in (folder / "train/cat").iterdir():
        path.write_bytes(path.read_bytes()[:-60])
    assert train(folder, tmp_path / "run", "--config.train.log_every_steps=1") == 2
    said = capsys.readouterr().err
    assert "6 of the 12 examples of train are bad, more than config.data.max_bad_fraction=0.01 allows" in said
    assert said.count(".png: ") == 3, "the first few are named"
    assert "Traceback" not in said


def rows_without(folder, *, keep: int):
    for path in sorted((folder / "train/cat").iterdir())[keep:]:
        path.unlink()


REFUSED = {
    "an empty class": (lambda top: rows_without(top, keep=0), "class cat of train is empty: no image"),
    "an empty split": (lambda top: os.system(f"rm -r {top}/validation/*"), "validation is empty: no class lies in"),
    "no train": (lambda top: (top / "train").rename(top / "learn"), "beside others (learn)"),
    "a class that train lacks": (lambda top: picture(top / "test/emu/0.png"), "class emu of test is not in train"),
    "a third class": (
        lambda top: [picture(top / split / "emu/0.png") for split in ("train", "validation", "test")],
        "set config.model.num_classes=3",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_data_set_that_breaks_a_rule_is_one_line_before_training(folder, tmp_path, capsys, change, said):
    change(folder)
    assert train(folder, tmp_path / "run", "--config.model.num_classes=2") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_class_that_another_split_lacks_is_said(folder):
    os.system(f"rm -r {folder}/validation/dog")
    source = opened(config_for(f"folder:{folder}"), "validation").source
    _, line = describe_sources(f"folder:{folder}", {"validation": source})
    assert line.endswith(f"2 examples: {folder}/validation; no example of dog")


def test_a_folder_that_cannot_be_listed_is_one_line(folder, monkeypatch):
    scandir = os.scandir

    def denied(path):
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(ValueError, match=r"/cat cannot be listed \(Permission denied\)"):
        opened(config_for(f"folder:{folder}"))
