"""Signals in files: every kind of sample, what is damaged, and folders of them as a data set."""

import io
import math
import struct
import warnings
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import wavfile

from fcn_jax.cli import main
from fcn_jax.config import Config
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.dataset import open_dataset
from fcn_jax.config import DataConfig
from fcn_jax.data.folder import list_folder
from fcn_jax.data.signals import decode_signal, from_integers, read_signal_header, resampled_length, told_scale
from fcn_jax.nets.families import FCN
from tests.commands.test_train import ROOT

VALUES = np.array([0.0, 0.5, -0.5, 0.25, -1.0], np.float32)
MOST = 10_000
"""Values of a signal."""


def wav(values: np.ndarray, *, rate: int = 8000) -> bytes:
    stream = io.BytesIO()
    wavfile.write(stream, rate, values)
    return stream.getvalue()


def wav_24(values: np.ndarray, *, extensible: bool = False) -> bytes:
    """24 bits, with an odd chunk before the samples, which scipy does not write."""
    samples = b"".join(int(value * 2**23).to_bytes(3, "little", signed=True) for value in values)
    layout = struct.pack("<HHIIHH", 0xFFFE if extensible else 1, 1, 8000, 24000, 3, 24)
    if extensible:
        layout += struct.pack("<HHIH", 22, 24, 4, 1) + bytes.fromhex("0000000010008000 00aa00389b71".replace(" ", ""))
    chunks = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for name, content in ((b"fmt ", layout), (b"LIST", b"odd"), (b"data", samples))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def write(path, content: bytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


KINDS = {
    "8 bits": wav(np.round(VALUES * 128 + 128).astype(np.uint8)),
    "16 bits": wav((VALUES * 2**15).astype(np.int16)),
    "24 bits": wav_24(VALUES),
    "24 bits, extensible": wav_24(VALUES, extensible=True),
    "32 bits": wav((VALUES.astype(np.float64) * 2**31).astype(np.int32)),
    "floats": wav(VALUES),
    "doubles": wav(VALUES.astype(np.float64)),
}


@pytest.mark.parametrize("content", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_sample_is_read(content):
    values = decode_signal(content, channels=1, max_values=MOST)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[:, 0], VALUES, atol=1e-7)
    assert read_signal_header(io.BytesIO(content), max_values=MOST) == (5, 8000, 1)


def test_channels_stay_or_become_their_mean():
    stereo = wav(np.stack([VALUES, np.zeros(5, np.float32)], axis=1))
    np.testing.assert_array_equal(decode_signal(stereo, channels=2, max_values=MOST)[:, 0], VALUES)
    np.testing.assert_array_equal(decode_signal(stereo, channels=1, max_values=MOST)[:, 0], VALUES / 2)
    with pytest.raises(BadExampleError, match=r"its number of channels is 2, but config\.data\.channels is 3"):
        decode_signal(stereo, channels=3, max_values=MOST)


BROKEN = {
    "empty": (b"", "no signal"),
    "text": (b"not a wav file at all", "no signal"),
    "header alone": (KINDS["16 bits"][:36], "cut off: its header ends before the samples"),
    "cut off": (KINDS["16 bits"][:-3], "cut off: 7 of 10 bytes of samples are there"),
    "no samples": (wav(np.zeros(0, np.int16)), "no samples"),
    "not finite": (wav(np.array([np.nan], np.float32)), "not finite"),
}


@pytest.mark.parametrize(("content", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_a_bad_example(content, said):
    with pytest.raises(BadExampleError, match=said):
        decode_signal(content, channels=1, max_values=MOST)


def test_flac_is_read(tmp_path):
    soundfile.write(tmp_path / "a.flac", VALUES, 8000)
    with open(tmp_path / "a.flac", "rb") as file:
        assert read_signal_header(file, max_values=MOST) == (5, 8000, 1)
    values = decode_signal((tmp_path / "a.flac").read_bytes(), channels=1, max_values=MOST)
    np.testing.assert_allclose(values[:, 0], VALUES, atol=1e-4)


def flac_that_says(samples: int) -> bytes:
    """A FLAC of five samples whose header tells of more."""
    stream = io.BytesIO()
    soundfile.write(stream, VALUES, 8000, format="FLAC")
    content = bytearray(stream.getvalue())
    stated = int.from_bytes(content[18:26], "big") >> 36 << 36 | samples
    content[18:26] = stated.to_bytes(8, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (flac_that_says(2**36 - 1), "its header says 68,719,476,735 samples, more than its"),
        (flac_that_says(MOST + 1), "more than config.data.max_megapixels=0.01 allows"),
    ],
    ids=("more than any", "more than may be"),
)
def test_a_header_is_not_believed(content, said):
    with pytest.raises(BadExampleError, match=said):
        decode_signal(content, channels=1, max_values=MOST)


def test_samples_up_to_the_end_of_a_stream():
    content, unknown = KINDS["16 bits"], b"\xff\xff\xff\xff"
    start = content.index(b"data") + 4
    streamed = content[:4] + unknown + content[8:start] + unknown + content[start + 4 :]
    assert len(decode_signal(streamed, channels=1, max_values=MOST)) == 5


def test_values_beyond_one_stay():
    values = np.array([1.5, -2.0, 0.25], np.float32)
    np.testing.assert_array_equal(decode_signal(wav(values), channels=1, max_values=MOST)[:, 0], values)


RATES = (8000, 11025, 16000, 22050, 44100, 48000)


@settings(max_examples=50, deadline=None)
@given(length=st.integers(1, 1000), rate=st.sampled_from(RATES), wanted=st.sampled_from(RATES))
def test_the_length_after_resampling_is_known(length, rate, wanted):
    content = wav(np.zeros(length, np.int16), rate=rate)
    decoded = decode_signal(content, channels=1, max_values=MOST, sampling_rate=wanted, resamples=True)
    told, told_rate, _ = read_signal_header(io.BytesIO(content), max_values=MOST)
    assert len(decoded) == resampled_length(told, told_rate, wanted) == math.ceil(Fraction(length * wanted, rate))
    several = resampled_length(np.array([[told], [0]]), np.array([[rate], [0]]), wanted)
    assert several.tolist() == [[len(decoded)], [0]]


def tones(length: int, rate: int) -> np.ndarray:
    """Two channels of one tone, the second half as strong."""
    wave = np.cos(2 * np.pi * 440 * np.arange(length) / rate)
    return np.stack([0.5 * wave, 0.25 * wave], axis=1).astype(np.float32)


@pytest.mark.parametrize("wanted", [8000, 16000, 44100])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 48000])
def test_a_tone_keeps_its_frequency_and_strength(rate, wanted):
    content = wav(tones(rate // 2, rate), rate=rate)
    for channels in (1, 2):
        heard = decode_signal(content, channels=channels, max_values=MOST * 10, sampling_rate=wanted, resamples=True)
        expected = tones(len(heard), wanted)
        expected = expected if channels == 2 else expected.mean(1, keepdims=True)
        edge = wanted // 50
        assert heard.dtype == np.float32
        np.testing.assert_allclose(heard[edge:-edge], expected[edge:-edge], atol=2e-3)


def test_another_sampling_rate_is_refused():
    content = wav(VALUES, rate=16000)
    same = decode_signal(content, channels=1, max_values=MOST, sampling_rate=16000)
    np.testing.assert_array_equal(same[:, 0], VALUES)
    with pytest.raises(BadExampleError, match=r"16,000 Hz, but the net takes 8,000 Hz: resample it, or"):
        decode_signal(content, channels=1, max_values=MOST, sampling_rate=8000)
    odd = wav(VALUES, rate=1_999_993)
    with pytest.raises(BadExampleError, match=r"1,999,993 Hz, which cannot be resampled to 8,000 Hz"):
        decode_signal(odd, channels=1, max_values=MOST, sampling_rate=8000, resamples=True)


INTEGERS = {
    "int8": ([-128, 0, 64, 127], [-1, 0, 0.5, 127 / 128]),
    "uint8": ([0, 128, 192, 255], [-1, 0, 0.5, 127 / 128]),
    "int16": ([-(2**15), 0, 2**14], [-1, 0, 0.5]),
    "int32": ([-(2**31), 0, 2**30], [-1, 0, 0.5]),
    "int64": ([-(2**15), 0, 2**14], [-1, 0, 0.5]),
    "float32": ([-1.5, 0, 0.5], [-1.5, 0, 0.5]),
}


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_are_scaled_by_their_type(kind):
    given_values, expected = INTEGERS[kind]
    scaled = from_integers(np.array(given_values, kind))
    assert scaled.dtype == np.float32
    assert scaled.tolist() == expected
    assert bool(told_scale(kind)) == (kind != "float32")


@pytest.mark.parametrize("value", [-(2**15) - 1, 2**15, 2**40])
def test_wide_integers_that_are_no_16_bit_sound_are_refused(value):
    with pytest.raises(
        BadExampleError, match=rf"it has the value {value:,}, but int64 values are taken as 16-bit sound"
    ):
        from_integers(np.array([0, value, 1]))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 2), ("test", 2)):
        for name in ("high", "low"):
            for number in range(count):
                values = rng.uniform(-1, 1, 20 + number).astype(np.float32)
                write(tmp_path / "tones" / split / name / f"{number}.WAV", wav(values))
    return tmp_path / "tones"


def opened(folder, *, channels: int = 1):
    config = Config(model=FCN())
    config.data.source, config.data.channels, config.model.num_classes = f"folder:{folder}", channels, 2
    config.data.max_bad_fraction, config.machine.cache_dir = 0.2, str(folder.parent / "cache")
    return open_dataset(config, "train", smallest_input=8, training=True)


def test_a_folder_of_signals_is_a_data_set_of_rank_1(folder):
    for _ in range(2):
        data = opened(folder)
        assert data.rank == 1
        assert sorted(set(data.views.sizes(0)[:, 0].tolist())) == [20, 21, 22, 23, 24, 25]
        block = data.block(np.array([0, -1, 11]), (32,), epoch=0)
        assert block.image.shape == (3, 32, 1)
        assert block.size.tolist() == [[20], [0], [25]]


def test_a_broken_signal_is_left_out(folder):
    write(folder / "train/low/0.WAV", b"broken")
    data = opened(folder)
    assert len(data) == 11
    assert data.source.bad == {
        str(folder / "train/low/0.WAV"): "it is no signal that can be read: it begins like none of "
        "WAV, RF64, FLAC, OGG, MP3, AIFF, AU, CAF, W64, NIST"
    }


REFUSED = {
    "rates": (
        "train/low/1.WAV",
        wav(VALUES, rate=44100),
        1,
        r"0\.WAV has 8000 Hz, .*1\.WAV has 44100 Hz, but",
    ),
    "channels": (
        "train/low/1.WAV",
        wav(np.zeros((9, 2), np.float32)),
        2,
        r"channels is 2, but .*0\.WAV has 1: set",
    ),
}


@pytest.mark.parametrize(("name", "content", "channels", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_signals_that_do_not_fit_together_are_refused(folder, name, content, channels, said):
    write(folder / name, content)
    with pytest.raises(ValueError, match=said):
        opened(folder, channels=channels)


def test_images_among_signals_are_refused(folder):
    Image.new("L", (9, 9)).save(folder / "train/low/0.png")
    with pytest.raises(ValueError, match=r"mixes signals \(.*\.WAV\) with images \(.*0\.png\): make two data sets"):
        list_folder(folder, DataConfig(), seed=0)


def test_scipy_agrees_on_24_bits(tmp_path):
    path = write(tmp_path / "a.wav", KINDS["24 bits"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the chunk it does not know
        _, values = wavfile.read(path)
    np.testing.assert_array_equal(values / 2.0**31, decode_signal(path.read_bytes(), channels=1, max_values=MOST)[:, 0])


def test_a_tiny_run_on_a_folder_of_signals(folder, tmp_path, capsys):
    config = f"--config={ROOT / 'configs/signals.py'}:{folder},tiny"
    splits = [f"--config.data.{split}_split={split}" for split in ("train", "validation", "test")]
    fields = ["--config.train.epochs=1", "--config.machine.cache_dir=", *splits]
    assert main(["fcn_jax", "train", config, f"--workdir={tmp_path / 'run'}", *fields]) == 0
    assert "over 4 examples" in capsys.readouterr().out
