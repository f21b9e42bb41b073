"""The same pictures in a zip archive, in tar shards or in Parquet are the same data set as in a folder."""

import io
import json
import os
import pickle
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from fcn_jax.config import UserError
from fcn_jax.data.sources import describe_sources, open_data
from tests.data.made import config_for

SPLITS = ("train", "validation", "test")


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def zipped(folder: Path, *, method: int = zipfile.ZIP_DEFLATED, top: str = "") -> str:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", method) as out:
        for path in files_of(folder):
            out.write(path, os.path.join(top, path.relative_to(folder)))
    return f"folder:{archive}{'/' + top if top else ''}"


def stored(folder: Path) -> str:
    return zipped(folder, method=zipfile.ZIP_STORED, top="pets")


def add(out: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    out.addfile(info, io.BytesIO(content))


def in_shards(folder: Path) -> str:
    """Two shards of train and one of each other split; labels stand in .cls or in .json."""
    top = folder.with_name("shards")
    top.mkdir()
    names = ("train-0", "train-1", "val-0", "test-0")
    outs = {name: tarfile.open(top / f"pets-{name}.tar", "w") for name in names}  # noqa: SIM115
    for number, path in enumerate(files_of(folder)):
        split, label, name = path.relative_to(folder).parts
        shard = {"train": f"train-{number % 2}", "validation": "val-0", "test": "test-0"}[split]
        key = f"./{label}_{name.partition('.')[0]}"
        add(outs[shard], f"{key}.png", path.read_bytes())
        if number % 3:
            add(outs[shard], f"{key}.cls", f"{label}\n".encode())
        else:
            add(outs[shard], f"{key}.json", json.dumps({"width": 12, "label": label}).encode())
    for out in outs.values():
        out.close()
    return f"webdataset:{top}"


def write_parquet(path: Path, examples, labels, *, names=("cat", "dog"), image=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(names)}}
    kind = image or pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema([("image", kind), ("label", pyarrow.int64())])
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})} if names else {})
    parquet.write_table(pyarrow.table([examples, labels], schema=schema), path, row_group_size=3)


def in_parquet(folder: Path) -> str:
    top = folder.with_name("parquet")
    for split in SPLITS:
        if not (paths := files_of(folder / split)):
            continue
        rows = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
        labels = [("cat", "dog").index(path.parent.name) for path in paths]
        write_parquet(top / f"data/{split}-00000-of-00001.parquet", rows, labels)
    return f"parquet:{top}"


CONTAINERS = {"deflated": zipped, "stored": stored, "shards": in_shards, "parquet": in_parquet}


def contents(source) -> list[tuple[str, bytes, tuple[int, ...]]]:
    """Label, digest and size of every example, in an order that does not depend on names."""
    return sorted(
        (source.label_names[label], digest.tobytes(), tuple(size))
        for label, digest, size in zip(source.labels, source.digests(), source.sizes.tolist(), strict=True)
    )


@pytest.mark.parametrize("pack", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_a_container_holds_the_data_set_of_its_folder(folder, tmp_path, pack):
    name = pack(folder)
    plain, packed = open_data(config_for(f"folder:{folder}")), open_data(config_for(name))
    for split in SPLITS:
        one, other = plain(split), packed(split)
        assert contents(one) == contents(other)
        again = pickle.loads(pickle.dumps(other))
        pixels = [{source.read(index).tobytes() for index in range(len(source))} for source in (one, other, again)]
        assert pixels[0] == pixels[1] == pixels[2]
        assert all(other.is_unchanged(index) for index in range(len(other)))
        assert not other.bad
    (tmp_path / "cache").mkdir()
    cached = config_for(name)
    cached.machine.cache_dir = str(tmp_path / "cache")
    first, second = (open_data(cached)("train") for _ in range(2))
    assert contents(first) == contents(second) == contents(plain("train"))
    assert first.read(0).tobytes() == second.read(0).tobytes()


@pytest.mark.parametrize("pack", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_a_broken_member_is_a_bad_example(folder, pack):
    path = folder / "train/cat/0.png"
    path.write_bytes(path.read_bytes()[:20])
    source = open_data(config_for(pack(folder)))("train")
    assert len(source) == 11
    ((name, reason),) = source.bad.items()
    assert "0" in os.path.basename(name)
    assert reason == "Truncated File Read"
    told = "\n".join(describe_sources("folder:x", {"train": source}))
    assert "1 cannot be read" in told


@pytest.mark.parametrize("pack", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_missing_splits_are_taken_out_in_groups(folder, pack):
    image = (folder / "train/cat/0.png").read_bytes()
    for path in files_of(folder):
        path.unlink()
    for number in range(120):
        (folder / "train" / ("cat", "dog")[number % 2] / f"g{number // 4}-{number}.png").write_bytes(image)
    for split in ("validation", "test"):
        shutil.rmtree(folder / split)
    listing = open_data(config_for(pack(folder), group_pattern=r"(g\d+)-\d+")).listing
    splits: dict[str, set[str]] = {}
    for name, split in zip(listing.names, listing.splits, strict=True):
        splits.setdefault(re.findall(r"g\d+", name)[0], set()).add(split)
    assert all(len(found) == 1 for found in splits.values())
    assert set.union(*splits.values()) == {*SPLITS}


def test_a_file_that_changes_below_a_run_is_no_example(folder):
    source = open_data(config_for(zipped(folder)))("train")
    zipped(folder, method=zipfile.ZIP_STORED)
    assert not source.is_unchanged(0)
    with pytest.raises(UserError, match="changed since it was listed"):
        source.read(0)


def test_a_member_whose_bytes_were_flipped_is_bad(folder):
    name = zipped(folder, method=zipfile.ZIP_STORED)
    archive = Path(name.partition(":")[2])
    content, wanted = bytearray(archive.read_bytes()), (folder / "train/cat/0.png").read_bytes()
    content[content.index(wanted) + len(wanted) - 8] ^= 1
    archive.write_bytes(content)
    (reason,) = open_data(config_for(name))("train").bad.values()
    assert reason == "its bytes are not those that were packed: the archive is damaged"


def test_what_is_no_example_is_counted(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as out:
        for path in files_of(folder):
            out.write(path, path.relative_to(folder))
        out.writestr("__MACOSX/train/._0.png", b"x")
        out.writestr("train/cat/notes.txt", b"x")
        out.writestr("train/cat/packed.png", b"x" * 99, compress_type=zipfile.ZIP_BZIP2)
        link = zipfile.ZipInfo("train/cat/link.png")
        link.external_attr = 0o120777 << 16
        out.writestr(link, "0.png")
    source = open_data(config_for(f"folder:{tmp_path / 'pets.zip'}"))("train")
    reasons = sorted(source.left_out.values())
    assert reasons == [
        "a link in an archive", "hidden or of the system", "of no known format", "packed by another method than deflate"
    ]  # fmt: skip
    assert len(source) == 12


def test_samples_that_are_no_examples_are_counted(tmp_path):
    image = image_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        for number in range(40):
            add(out, f"{number}.png", image)
            add(out, f"{number}.cls", b"%d" % (number % 2))
        add(out, "nolabel.png", image)
        add(out, "nolabel.json", b"[1")
        add(out, "two.left.png", image)
        add(out, "two.right.png", image)
        add(out, "two.cls", b"1")
        add(out, "0.png", image)
        add(out, "mask.npz1", b"x")
    source = open_data(config_for(f"webdataset:{tmp_path}"))("all")
    assert len(source) == 40
    assert source.label_names == ("0", "1")
    assert {os.path.basename(path): reason for path, reason in source.left_out.items()} == {
        "nolabel.png": "in a sample without a label (KEY.cls, or KEY.json with a field cls, label or class)",
        "two.left.png": "in a sample of several images or signals",
        "two.right.png": "in a sample of several images or signals",
        "0.png (again)": "named as a member before it",
        "mask.npz1": "no image and no signal by their suffix",
    }


def test_a_hard_link_has_the_bytes_of_its_target_and_another_link_is_counted(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        for number in range(40):
            add(out, f"{number}.png", image_bytes())
            add(out, f"{number}.cls", b"%d" % (number % 2))
        for name, kind, target in (("hard", tarfile.LNKTYPE, "0.png"), ("soft", tarfile.SYMTYPE, "0.png")):
            link = tarfile.TarInfo(f"{name}.png")
            link.type, link.linkname = kind, target
            out.addfile(link)
            add(out, f"{name}.cls", b"1")
    source = open_data(config_for(f"webdataset:{tmp_path}"))("all")
    assert len(source) == 41
    assert [(os.path.basename(path), reason[:6]) for path, reason in source.left_out.items()] == [
        ("soft.png", "a link")
    ]
    names = [os.path.basename(source.name(number)) for number in range(41)]
    hard, first = (source.read(names.index(name)) for name in ("hard.png", "0.png"))
    np.testing.assert_array_equal(hard, first)


@pytest.mark.parametrize("cut", [100, 700, 1536, -1100])
def test_a_shard_that_is_cut_off_is_said(tmp_path, cut):
    shard = tmp_path / "a.tar"
    with tarfile.open(shard, "w") as out:
        for number in range(8):
            add(out, f"{number}.png", image_bytes())
            add(out, f"{number}.cls", b"%d" % (number % 2))
    end = len(shard.read_bytes().rstrip(b"\0"))
    shard.write_bytes(shard.read_bytes()[: end - cut if cut > 0 else end - end % 512 + 512])
    assert (
        "cut off or damaged: the members behind are missing"
        in open_data(config_for(f"webdataset:{tmp_path}"))("all").left_out.values()
    )


def image_bytes() -> bytes:
    from PIL import Image

    with io.BytesIO() as file:
        Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(file, format="png")
        return file.getvalue()


@pytest.mark.parametrize(
    ("rows", "labels", "names", "classes"),
    [
        ("struct", [0, 1, 0, 1, -1, None], ("cat", "dog"), ("cat", "dog")),
        ("binary", [0, 1, 0, 7, 7, None], (), ("0", "1", "7")),
        ("binary", [0, 1, 0, 7, -1, 7], (), ("0", "1", "7")),
    ],
)
def test_labels_of_parquet_are_names_or_numbers(tmp_path, rows, labels, names, classes):
    image = image_bytes()
    examples = [{"bytes": image, "path": None}] * 6 if rows == "struct" else [image] * 6
    kind = pyarrow.binary() if rows == "binary" else None
    write_parquet(tmp_path / "a.parquet", examples, labels, names=names, image=kind)
    source = open_data(config_for(f"parquet:{tmp_path}"))("all")
    assert source.label_names == classes
    assert set(source.left_out.values()) == {"without a label"}
    assert len(source) + len(source.left_out) == 6


def empty_zip(top: Path) -> str:
    zipfile.ZipFile(top / "a.zip", "w").close()
    return f"folder:{top / 'a.zip'}"


def zip_of(name: str, flags: int = 0):
    def make(top: Path) -> str:
        with zipfile.ZipFile(top / "a.zip", "w") as out:
            out.writestr(name, b"x")
        content = bytearray((top / "a.zip").read_bytes())
        content[content.index(b"PK\1\2") + 8] |= flags
        (top / "a.zip").write_bytes(content)
        return f"folder:{top / 'a.zip'}"

    return make


def file_of(name: str, content: bytes, kind: str):
    def make(top: Path) -> str:
        (top / name).write_bytes(content)
        return f"{kind}:{top / name}"

    return make


def tar_of(*names: str, shard: str = "a.tar"):
    def make(top: Path) -> str:
        for each in shard.split():
            with tarfile.open(top / each, "w") as out:
                for name in names:
                    add(out, name, b"1")
        return f"webdataset:{top}"

    return make


def parquet_of(**columns):
    def make(top: Path) -> str:
        parquet.write_table(pyarrow.table(columns), top / "a.parquet")
        return f"parquet:{top}"

    return make


WRONG = [
    (lambda top: f"folder:{top}/no.zip", "there is no such folder"),
    (empty_zip, "a.zip is empty: zip a folder"),
    (file_of("a.zip", b"no archive", "folder"), "is a file, but no zip archive that can be read .*: give a folder"),
    (zip_of("../cat/0.png"), r"a member named '../cat/0.png', but names must .*: pack the folder again"),
    (zip_of("/cat/0.png"), "a member named '/cat/0.png'"),
    (zip_of("cat/0.png", flags=1), "cat/0.png is encrypted: unpack"),
    (zip_of("pets/cat/0.png"), "one class, pets, whose files all lie in folders .*: give .*a.zip/pets"),
    (lambda top: zip_of("cat/0.png")(top) + "/dog", "dog: there is no such folder in the archive"),
    (lambda top: f"webdataset:{top}", "no .tar file lies there: give the folder that holds them"),
    (lambda top: f"webdataset:{top}/a-{{0..2}}.tar", "a-0.tar is named by the pattern .* but it is not there: correct"),
    (lambda top: f"webdataset:{top}/a-{{0..9}}{{0..999999}}.tar", "stands for more than 1,000,000 files: use *"),
    (file_of("a.tar", b"\x1f\x8b" + bytes(600), "webdataset"), "is compressed, .*: run gunzip on it"),
    (file_of("a.tar", b"no archive", "webdataset"), "is no tar archive that can be read .*: write it again"),
    (file_of("a.tar", b"", "webdataset"), "is no tar archive that can be read"),
    (tar_of(), "has no sample with a label"),
    (tar_of("../0.cls"), "a member named '../0.cls'"),
    (tar_of("0.png", shard="train-0.tar b.tar"), "the shard b.tar names no split, .*: put the shards into"),
    (tar_of("0.png", shard="train-val.tar"), r"names two splits \(train, val\)"),
    (tar_of("0.png", shard="val-0.tar"), "has shards of validation but none of train"),
    (tar_of("0.png", shard="train.tar val-0.tar valid-1.tar"), r"name validation in 2 ways \(val, valid\)"),
    (file_of("a.parquet", b"PAR1no", "parquet"), "cannot be read as Parquet"),
    (parquet_of(path=["a"], label=[0]), "has the columns path .* but it needs one of encoded images .*: name them"),
    (parquet_of(image=[b"no image"], label=[0]), "has no row with an example and a label: .* of no known format"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_a_wrong_container_is_one_line(tmp_path, make, said):
    with pytest.raises(UserError, match=said) as error:
        open_data(config_for(make(tmp_path)))
    assert "\n" not in str(error.value)


def test_a_pattern_names_shards_of_several_splits(folder):
    top = in_shards(folder).partition(":")[2]
    config = config_for(f"webdataset:{top}/pets-{{train-{{0..1}},val-0,test-0}}.tar")
    assert len(open_data(config)("train")) == 12
    with pytest.raises(UserError, match="but none of train"):
        open_data(config_for(f"webdataset:{top}/pets-val*.tar"))
    assert len(open_data(config_for(f"webdataset:{top}/pets-val*.tar"), is_new=True)("validation")) == 4
