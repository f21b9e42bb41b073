"""Sound files: the length that is told is the length that is decoded, and a file that is cut off is never shorter."""

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.mp3 import read_frame
from fcn_jax.data.signals import decode_signal, is_signal, read_signal_header
from fcn_jax.data.sound_files import FORMATS, format_of

MOST = 1_000_000
CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST")
PLAIN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CONTAINERS, ("PCM_16", "PCM_24", "ULAW", "ALAW")),
    "WAVEX": ("PCM_U8", "FLOAT", "DOUBLE"),
}
PACKED = {"FLAC": ("PCM_16", "PCM_24"), "OGG": ("VORBIS", "OPUS"), "MP3": ("MPEG_LAYER_III",)}
BLOCKED = {
    "WAV": ("IMA_ADPCM", "MS_ADPCM", "GSM610"),
    "W64": ("IMA_ADPCM",),
    "AIFF": ("DWVW_16",),
    "CAF": ("ALAC_16",),
    "AU": ("G721_32",),
}


def sound(form: str, encoding: str, length: int, *, channels: int = 1, rate: int = 8000) -> bytes:
    wave = 0.4 * np.sin(np.arange(length) * 0.3)
    stream = io.BytesIO()
    soundfile.write(stream, np.repeat(wave[:, None], channels, 1), rate, format=form, subtype=encoding)
    return stream.getvalue()


def lengths(content: bytes) -> tuple[int, int]:
    """Return the length that is told, and the length that is decoded."""
    told, _, channels = read_signal_header(io.BytesIO(content), max_values=MOST)
    return told, len(decode_signal(content, channels=channels, max_values=MOST))


def kinds(*tables: dict[str, tuple[str, ...]]) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from(
        [(form, encoding) for table in tables for form, all_of in table.items() for encoding in all_of]
    )


@settings(max_examples=60)
@given(kind=kinds(PLAIN, PACKED), length=st.integers(1, 3000), channels=st.sampled_from((1, 2)))
def test_the_length_told_is_the_length_decoded(kind, length, channels):
    # The writer of AIFF rounds an odd number of bytes up; what it writes is what must be read.
    spare = kind[0] == "AIFF" and kind[1] in ("ULAW", "ALAW") and channels * length % 2
    assert lengths(sound(kind[0], kind[1], length, channels=channels)) == (length + spare, length + spare)


@settings(max_examples=20)
@given(kind=kinds(BLOCKED), length=st.integers(1, 3000))
def test_blocks_may_add_silence_but_the_lengths_agree(kind, length):
    told, decoded = lengths(sound(kind[0], kind[1], length))
    assert told == decoded >= length


@settings(max_examples=60)
@given(kind=kinds(PLAIN, PACKED), length=st.integers(40, 2000), part=st.floats(0, 1, exclude_max=True))
def test_what_is_cut_off_is_never_read(kind, length, part):
    content = sound(kind[0], kind[1], length)
    # The byte that pads an odd size, and less than a whole sample, are no loss.
    cut = content[: int(part * (len(content) - 8))]
    with pytest.raises(BadExampleError):
        decode_signal(cut, channels=1, max_values=MOST)
    if kind[0] != "FLAC":
        with pytest.raises(BadExampleError):
            read_signal_header(io.BytesIO(cut), max_values=MOST)


def with_number(content: bytes, place: int, form: str, number: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(form, changed, place, number)
    return bytes(changed)


@pytest.mark.parametrize("riff", [0, 1, 36, 2**31 - 1, 2**32 - 1, 2046, 2045, 2037, 2039, 1000])
def test_the_length_of_the_whole_file_does_not_matter(riff):
    content = sound("WAV", "PCM_16", 1001)
    assert len(content) == 2046
    assert lengths(with_number(content, 4, "<I", riff)) == (1001, 1001)
    with pytest.raises(BadExampleError, match=r"cut off: 1,000 of 2,002 bytes of samples"):
        lengths(with_number(content, 4, "<I", riff)[:-1002])


STATED = (0, 0x7FFFF000, 0x7FFFFFDB, 2**31, 2**32 - 37, 2**32 - 1)
STREAMS = {
    **{f"WAV {size:#x}": ("WAV", b"data", 4, "<I", size) for size in STATED},
    **{f"AIFF {size:#x}": ("AIFF", b"SSND", 4, ">I", size) for size in (0, 2**31 - 1, 2**32 - 1)},
    **{f"AU {size:#x}": ("AU", b".snd", 8, ">I", size) for size in (0, 2**31 - 1, 2**32 - 1)},
    **{f"CAF {size}": ("CAF", b"data", 4, ">q", size) for size in (-1, 0, 2**63 - 1)},
    **{f"W64 {size}": ("W64", b"data", 16, "<q", size) for size in (-1, 0, 24, 2**63 - 1)},
    **{f"RF64 {size}": ("RF64", b"ds64", 16, "<Q", size) for size in (0, 2**63 - 1, 2**64 - 1)},
}  # fmt: skip


@pytest.mark.parametrize(("form", "name", "after", "kind", "size"), STREAMS.values(), ids=STREAMS.keys())
def test_a_stream_is_read_to_its_end(form, name, after, kind, size):
    content = sound(form, "PCM_16", 1001)
    streamed = with_number(content, content.index(name) + after, kind, size)
    if form == "W64":
        streamed = with_number(streamed, 16, "<q", -1)
    assert lengths(streamed) == (1001, 1001)
    np.testing.assert_array_equal(
        decode_signal(streamed, channels=1, max_values=MOST), decode_signal(content, channels=1, max_values=MOST)
    )
    with pytest.raises(BadExampleError, match=r"more than config\.data\.max_megapixels"):
        decode_signal(streamed, channels=1, max_values=100)


def test_chunks_beside_the_samples_are_no_samples():
    content = sound("WAV", "PCM_U8", 1001)
    place = content.index(b"data")
    junk = b"JUNK" + struct.pack("<I", 3) + b"odd\0"
    after = b"LIST" + struct.pack("<I", 4) + b"INFO"
    assert lengths(content[:place] + junk * 3 + content[place:] + after) == (1001, 1001)
    empty = content[:place] + b"data\0\0\0\0" + after
    with pytest.raises(BadExampleError, match="no samples"):
        lengths(empty)
    padded = sound("W64", "PCM_16", 1001)
    assert lengths(padded + bytes(-len(padded) % 8) + b"junk" + bytes(12) + struct.pack("<q", 32) + bytes(8)) == (
        1001,
        1001,
    )


def test_a_flac_made_as_a_stream_is_counted():
    content = sound("FLAC", "PCM_16", 5000)
    stated = int.from_bytes(content[18:26], "big") >> 36 << 36
    streamed = content[:18] + stated.to_bytes(8, "big") + content[26:]
    assert lengths(streamed) == (5000, 5000)
    with pytest.raises(BadExampleError, match=r"more than config\.data\.max_megapixels"):
        read_signal_header(io.BytesIO(streamed), max_values=4999)


def speech(length: int, rate: int) -> bytes:
    """An MP3 of variable bitrate that begins with silence, without the tag of its length."""
    wave = np.random.default_rng(0).normal(size=length) * 0.2 * (np.arange(length) > length / 2)
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.2)
    content = stream.getvalue()
    frame = read_frame(content)
    assert frame
    return content[frame.size :]


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_an_mp3_that_does_not_state_its_length_is_read_whole(rate):
    content = speech(60_000, rate)
    told, decoded = lengths(content)
    assert told == decoded
    assert 60_000 <= told < 60_000 + 4 * 1152
    for junk in (b"TAG" + bytes(125), bytes(5000), b"APETAGEX" + bytes(3000)):
        assert lengths(content + junk) == (told, told)
    assert lengths(b"ID3\4\0\0\0\0\1\0" + bytes(128) + content) == (told, told)


def test_an_mp3_states_its_length_for_itself_alone():
    content = sound("MP3", "MPEG_LAYER_III", 20_000)
    assert lengths(content) == (20_000, 20_000)
    assert lengths(content + b"TAG" + bytes(125)) == (20_000, 20_000)
    told, decoded = lengths(content + content)
    assert told == decoded > 40_000
    with pytest.raises(BadExampleError, match="cut off or damaged"):
        lengths(content[:-1])


def test_an_ogg_of_several_streams_is_refused():
    content = sound("OGG", "VORBIS", 3000)
    assert lengths(content + b"junk") == (3000, 3000)
    with pytest.raises(BadExampleError, match="several streams"):
        lengths(content + content)


def test_sounds_are_known_by_their_first_bytes():
    for form in (*CONTAINERS, *PACKED):
        content = sound(form, ({**PLAIN, **PACKED})[form][0], 100)
        assert format_of(content[:64]) == form.replace("WAVEX", "WAV")
        assert form.replace("WAVEX", "WAV") in FORMATS
    assert is_signal(b"ID3\4\0\0\0\0\1\0" + bytes(54))


OTHERS = {
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "UTF-16": "﻿some text".encode("utf-16-le"),
    "UTF-16, large end first": "﻿some text".encode("utf-16-be"),
    "text": b"RIFF is a word, and so is fLa",
    "text of ID3": b"ID3 is a tag of MP3 files",
    "text of caff": b"caffeine, taken daily",
    "AVI": b"RIFF\x10\0\0\0AVI LIST",
    "WebP": b"RIFF\x10\0\0\0WEBPVP8 ",
    "AAC": b"\xff\xf1\x50\x80\0\x1f\xfc",
    "ones": b"\xff" * 32,
    "empty": b"",
}


@pytest.mark.parametrize("head", OTHERS.values(), ids=OTHERS.keys())
def test_what_is_no_sound_is_not_taken_for_one(head):
    assert not is_signal(head + bytes(64))
    assert not is_signal(head)


class Failing(io.BytesIO):
    """A file whose second half cannot be read."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 1000:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_an_error_while_reading_is_not_taken_for_a_damaged_file():
    content = sound("FLAC", "PCM_16", 40_000)
    stated = int.from_bytes(content[18:26], "big") >> 36 << 36
    streamed = content[:18] + stated.to_bytes(8, "big") + content[26:]
    with pytest.raises(OSError, match="Input/output error"):
        read_signal_header(Failing(streamed), max_values=MOST)


@settings(max_examples=150)
@given(
    start=st.sampled_from([sound(form, {**PLAIN, **PACKED}[form][0], 60) for form in (*CONTAINERS, *PACKED)]),
    keep=st.integers(4, 80),
    rest=st.binary(max_size=80),
)
def test_any_bytes_are_read_or_refused(start, keep, rest):
    content = start[:keep] + rest + start[keep + len(rest) :]
    try:
        told, rate, channels = read_signal_header(io.BytesIO(content), max_values=MOST)
        assert min(told, rate, channels) > 0
        assert len(decode_signal(content, channels=1, max_values=MOST)) == told
    except BadExampleError:
        pass
