"""Any TFDS data set: read by random access, its sizes measured once, whatever is wrong said in one line."""

import hashlib
import io
import re
import threading
import time
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.core.download.resource import get_dl_fname, write_info_file
from tensorflow_datasets.core.utils import Size

from fcn_jax.cli import main
from fcn_jax.config import Config, UserError
from fcn_jax.data import images, tfds_builder
from fcn_jax.data import tfds as tfds_source
from fcn_jax.data.dataset import open_dataset
from fcn_jax.data.source import Source
from fcn_jax.data.sources import open_source
from fcn_jax.nets.families import FCN
from tests.commands.test_train import ROOT

tfds_builder._describe_sound_without_tensorflow()
SIZES = [(9 + number % 5, 12 + number % 3) for number in range(30)]
PREPARE = {"download_config": tfds.download.DownloadConfig(try_download_gcs=False)}


def picture(number: int, size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


class Pictures(tfds.core.GeneratorBasedBuilder):
    """30 images of 15 sizes; number 3 is damaged."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES: ClassVar = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["cat", "dog"])}

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(self.FEATURES), supervised_keys=None, disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, size in enumerate(SIZES):
            encoded = b"\x89PNG broken" if number == 3 else picture(number, size)
            yield number, {"image": io.BytesIO(encoded), "label": number % 2}


class TwoPictures(Pictures):
    FEATURES: ClassVar = {**Pictures.FEATURES, "mask": tfds.features.Image()}

    def _generate_examples(self):
        yield 0, {"image": io.BytesIO(picture(0, (9, 9))), "mask": io.BytesIO(picture(1, (9, 9))), "label": -1}


class Unlabelled(Pictures):
    def _generate_examples(self):
        yield 0, {"image": io.BytesIO(picture(0, (9, 9))), "label": -1}


class Series(Pictures):
    FEATURES: ClassVar = {
        "wave": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
        "label": tfds.features.ClassLabel(num_classes=2),
    }

    def _generate_examples(self):
        for number in range(6):
            yield number, {"wave": np.full((9 + number, 2), number, np.float32), "label": number % 2}


class Spoken(Pictures):
    """Sound as TFDS stores it: 64-bit integers that hold 16-bit values; number 2 holds a larger one."""

    FEATURES: ClassVar = {
        "audio": tfds.features.Audio(sample_rate=8000),
        "label": tfds.features.ClassLabel(num_classes=2),
    }

    def _generate_examples(self):
        for number in range(6):
            values = np.arange(9 + number) * (4096 if number != 2 else 2**20)
            yield number, {"audio": np.minimum(values, 2**14 if number != 2 else 2**30), "label": number % 2}


class Bytes(Pictures):
    """Sound of 8 bits, two channels."""

    FEATURES: ClassVar = {
        "wave": tfds.features.Tensor(shape=(None, 2), dtype=np.uint8),
        "label": tfds.features.ClassLabel(num_classes=2),
    }

    def _generate_examples(self):
        for number in range(6):
            yield number, {"wave": np.full((9 + number, 2), 192, np.uint8), "label": number % 2}


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A folder where the made-up data sets are prepared, and found by name alone."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def prepare(builder: type, data_dir, file_format="array_record") -> None:
    builder(data_dir=data_dir).download_and_prepare(file_format=file_format, **PREPARE)


def config_for(name: str, **fields) -> Config:
    config = Config(model=FCN())
    config.data.source, config.data.channels, config.model.num_classes = f"tfds:{name}", 3, 2
    config.machine.cache_dir = ""
    for field, value in fields.items():
        setattr(config.data, field, value)
    return config


def message(config: Config, split: str = "train") -> str:
    with pytest.raises(ValueError, match="tfds:") as error:
        open_source(config, split)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_examples_are_read_at_their_sizes(data_dir, capfd):
    prepare(Pictures, data_dir)
    capfd.readouterr()
    source = open_source(config_for("pictures:1.0.0"), "train")
    assert capfd.readouterr().out == ""
    assert isinstance(source, Source)
    good = [number for number in range(30) if number != 3]
    assert source.sizes.tolist() == [list(SIZES[number]) for number in good]
    assert source.labels.tolist() == [number % 2 for number in good]
    assert source.label_names == ("cat", "dog")
    assert source.bad == {"tfds:pictures:1.0.0 train #3": images.NO_IMAGE}
    assert source.name(3) == "tfds:pictures:1.0.0 train #4"
    expected = np.asarray(Image.open(io.BytesIO(picture(4, SIZES[4]))))
    np.testing.assert_array_equal(source.read(3), expected)


def test_sub_splits_are_those_of_tfds(data_dir):
    prepare(Pictures, data_dir)
    for split, numbers in (
        ("train[:50%]", range(15)),
        ("train[80%:]", range(24, 30)),
        ("train[:5]+train[-2:]", (0, 1)),
    ):
        source = open_source(config_for("pictures"), split)
        expected = [list(SIZES[number]) for number in numbers if number != 3]
        assert source.sizes.tolist()[: len(expected)] == expected


def test_sizes_are_measured_once_until_the_files_change(data_dir, tmp_path, monkeypatch):
    prepare(Pictures, data_dir)
    config = config_for("pictures")
    config.machine.cache_dir = str(tmp_path / "cache")
    first = open_source(config, "train")
    read, measure = [], images.read_image_size
    monkeypatch.setattr(
        images, "read_image_size", lambda value, **options: read.append(value) or measure(value, **options)
    )
    again = open_source(config, "train")
    assert again.sizes.tolist() == first.sizes.tolist()
    assert again.bad == first.bad
    assert len(read) == 1, "only the damaged one is looked at again"
    (kept,) = (tmp_path / "cache" / "sizes").iterdir()
    whole = kept.read_bytes()
    for harmed in (whole[: len(whole) // 2], b""):
        read.clear()
        kept.write_bytes(harmed)
        assert open_source(config, "train").sizes.tolist() == first.sizes.tolist()
        assert len(read) == 30, "all are measured anew"
        assert kept.read_bytes() == whole
    read.clear()
    shard = next(data_dir.glob("pictures/1.0.0/*array_record*"))
    shard.touch()
    open_source(config, "train")
    assert len(read) == 30


def test_signals_are_read_as_they_are_or_as_their_mean(data_dir):
    prepare(Series, data_dir)
    source = open_source(config_for("series", channels=2), "train")
    assert source.sizes.tolist() == [[9 + number] for number in range(6)]
    assert source.read(2).tolist() == [[2.0, 2.0]] * 11
    assert open_source(config_for("series", channels=1), "train").read(2).shape == (11, 1)
    assert open_dataset(config_for("series", channels=1), "train", smallest_input=8, training=True).rank == 1
    assert "set config.data.channels=2, or config.data.channels=1" in message(config_for("series", channels=3))


def test_integers_of_16_bits_are_scaled_and_it_is_said_once(data_dir, capfd, monkeypatch):
    with monkeypatch.context() as writing:  # Only to write the description of sound, TFDS needs TensorFlow.
        writing.setattr(tfds.features.Audio, "dtype", property(lambda feature: feature.np_dtype))
        prepare(Spoken, data_dir)
    config = config_for("spoken", channels=1)
    capfd.readouterr()
    source = open_source(config, "train")
    open_source(config, "train[:3]")
    said = "tfds:spoken: int64 values are taken as 16-bit sound and divided by 32,768"
    assert capfd.readouterr().err.count(said) == 1
    reason = "it has the value 10,485,760, but int64 values are taken as 16-bit sound"
    assert source.bad == {"tfds:spoken train #2": reason}
    assert source.sizes.tolist() == [[9], [10], [12], [13], [14]]
    assert source.read(0)[:, 0].tolist() == [0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_bytes_are_scaled_around_128(data_dir):
    prepare(Bytes, data_dir)
    assert open_source(config_for("bytes", channels=2), "train").read(1).tolist() == [[0.5, 0.5]] * 10


LABEL = tfds.features.ClassLabel(num_classes=2)
WAVE, COUNTS = (
    tfds.features.Tensor(shape=(None,), dtype=np.float32),
    tfds.features.Tensor(shape=(None,), dtype=np.int16),
)
WORDS = tfds.features.Tensor(shape=(None,), dtype=np.uint32)
SPEECH = tfds.features.Audio(sample_rate=16000)


@pytest.mark.parametrize(
    ("features", "pair", "chosen"),
    [
        ({"image": tfds.features.Image(), "counts": COUNTS}, None, ("image", 2, "", None)),
        ({"wave": WAVE, "counts": COUNTS}, None, ("wave", 1, "float32", None)),
        ({"wave": WAVE, "counts": COUNTS}, ("counts", "label"), ("counts", 1, "int16", None)),
        ({"audio": SPEECH, "words": WORDS}, None, ("audio", 1, "int64", 16000)),
        ({"audio": SPEECH, "text": tfds.features.Text()}, None, ("audio", 1, "int64", 16000)),
        ({"audio": SPEECH, "counts": COUNTS}, None, None),
        ({"words": WORDS}, None, None),
    ],
)
def test_integers_are_a_signal_only_where_no_other_is(features, pair, chosen):
    info = SimpleNamespace(features={**features, "label": LABEL}, supervised_keys=pair)
    if chosen is None:
        with pytest.raises(UserError, match="it needs one image"):
            tfds_source.find_features(info, "tfds:made_up")
        return
    found = tfds_source.find_features(info, "tfds:made_up")
    assert (found.value, found.rank, found.kind, found.sampling_rate) == chosen


def test_an_unknown_split_says_what_is_there_and_what_to_do(data_dir):
    prepare(Pictures, data_dir)
    said = message(config_for("pictures"), "validation")
    assert said.startswith("config.data.validation_split is 'validation', but tfds:pictures has train (30): set ")
    assert "--config.data.train_split='train[:80%]' --config.data.validation_split='train[80%:90%]'" in said
    assert "--config.data.test_split='train[90%:]'" in said
    assert "has train (30): take one of them" in message(config_for("pictures"), "trane[:3]")


@pytest.mark.parametrize("split", ["train[:31]", "train[5:5]", "train[oops]"])
def test_an_impossible_part_is_refused(data_dir, split):
    prepare(Pictures, data_dir)
    assert f"split {split!r} of tfds:pictures cannot be read" in message(config_for("pictures"), split)


def test_features_that_cannot_be_told_apart_are_listed(data_dir):
    prepare(TwoPictures, data_dir)
    said = message(config_for("two_pictures"))
    assert "image (Image), label (ClassLabel), mask (Image), but it needs one image" in said


def test_a_split_without_labels_is_refused(data_dir):
    prepare(Unlabelled, data_dir)
    assert "#0 has label -1, but labels go from 0 to 1" in message(config_for("unlabelled"))


def test_another_file_format_is_refused_with_the_remedy(data_dir):
    prepare(Pictures, data_dir)
    info = next(data_dir.glob("pictures/1.0.0/dataset_info.json"))
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    for path in data_dir.glob("pictures/1.0.0/*array_record*"):
        path.rename(path.with_name(path.name.replace("array_record", "tfrecord")))
    said = message(config_for("pictures"))
    assert "as tfrecord, which cannot be read by random access: prepare it again" in said
    assert "file_format='array_record'" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("imagenete", "no data set of that name.* did you mean imagenette"),
        ("imagenette/32px", "has no config 32px; did you mean .*320px"),
        ("imagenette:9.9.9", "which TFDS refuses: .*only: 1.0.0"),
        ("im age", "which TFDS refuses"),
    ],
)
def test_an_unknown_name_is_one_line(data_dir, name, said):
    assert re.search(said, message(config_for(name)))


def test_without_a_network_it_says_so_at_once(data_dir, monkeypatch, capfd):
    monkeypatch.setattr(tfds_builder, "_answers", lambda url: False)
    began = time.monotonic()
    said = message(config_for("imagenette/320px-v2"))
    assert time.monotonic() - began < 10
    assert "https://s3.amazonaws.com cannot be reached from here; on a machine that can, run: python -c" in said
    assert f"into {data_dir} here, or set TFDS_DATA_DIR" in said
    assert capfd.readouterr().out == ""


def test_a_name_server_that_is_silent_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(tfds_builder, "SECONDS_TO_ANSWER", 0.2)
    hung = threading.Event()

    def hang(*_, **__):
        hung.wait(5)
        raise OSError

    monkeypatch.setattr(tfds_builder, "urlopen", hang)
    began = time.monotonic()
    assert not tfds_builder._answers("https://nowhere.invalid")
    assert time.monotonic() - began < 2
    hung.set()


URL = "https://nowhere.invalid/pictures.txt"
INFO = UrlInfo(Size(7), checksum=hashlib.sha256(b"cat dog").hexdigest(), filename="pictures.txt")


class Fetched(Pictures):
    """Its classes stand in a file to be downloaded."""

    url_infos: ClassVar = {URL: INFO}  # pyright: ignore[reportIncompatibleVariableOverride]

    def _split_generators(self, dl_manager):
        assert dl_manager.download(URL).read_text() == "cat dog"
        return {"train": self._generate_examples()}


def test_what_was_downloaded_before_is_prepared_without_a_network(data_dir, monkeypatch):
    monkeypatch.setattr(tfds_builder, "_answers", lambda url: False)
    monkeypatch.setattr(downloader, "MAX_RETRIES", downloader.MAX_RETRIES)
    assert "https://nowhere.invalid cannot be reached" in message(config_for("fetched"))
    file = data_dir / "downloads/fetched" / get_dl_fname(URL, INFO.checksum)
    file.parent.mkdir(parents=True)
    file.write_text("cat dog")
    write_info_file(url=URL, path=epath.Path(file), dataset_name="fetched", original_fname="x", url_info=INFO)
    assert len(open_source(config_for("fetched"), "train")) == 29
    assert list(data_dir.glob("fetched/1.0.0/*array_record*"))


def test_a_tiny_run_on_imagenette(tmp_path, capfd, monkeypatch):
    """TFDS's stand-in gives images of any size from 5 to 49, already decoded, and downloads nothing."""
    monkeypatch.setattr(tfds_builder, "_answers", lambda url: True)
    config = f"--config={ROOT / 'configs/tfds.py'}:imagenette/320px-v2,tiny"
    fields = ["--config.train.epochs=1", "--config.data.resize=none", "--config.machine.cache_dir="]
    with tfds.testing.mock_data(num_examples=64):
        assert main(["fcn_jax", "train", config, f"--workdir={tmp_path / 'run'}", *fields]) == 0
    assert "over 64 examples" in capfd.readouterr().out
    assert (tmp_path / "run/summary.json").exists()
