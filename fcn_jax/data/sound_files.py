"""How many samples a sound file holds: what its header states is believed only where its bytes agree.

libsndfile decodes the samples. It is silent about three things, which are found here: a file that is cut off; a
length that the writer could not state, as in a stream; an MP3 whose header gives no length. So a `Sound` never gives
fewer samples, or more, than its length says.
"""

import io
import os
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float32

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.mp3 import after_tags, read_frame, with_true_length

FORMATS = {
    "WAV": (".wav", ".wave"),
    "RF64": (".rf64",),
    "FLAC": (".flac",),
    "OGG": (".ogg", ".oga", ".opus"),
    "MP3": (".mp3",),
    "AIFF": (".aif", ".aiff", ".aifc"),
    "AU": (".au", ".snd"),
    "CAF": (".caf",),
    "W64": (".w64",),
    "NIST": (".sph",),
}
"""The formats that are read, and the usual suffixes of their files."""
WIDTHS = {
    **{"PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3},
    **{"PCM_32": 4, "FLOAT": 4, "DOUBLE": 8},
}
"""Bytes of one value in the encodings that do not compress."""
MOST_SAMPLES_A_BYTE = 65536 / 8
"""Most samples per byte that any format packs: a FLAC frame holds at most 65,535 samples and has more than 8 bytes."""
MOST_CHUNKS = 10_000
"""Most chunks before the samples; a file that has more is made to be slow."""
SAMPLES_AT_ONCE = 65536


def format_of(head: bytes) -> str | None:
    """Return the format of a file by its first bytes, at least 16; None: it is no sound."""
    kind = head[8:12]
    if kind == b"WAVE" and head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return "RF64" if head[:4] == b"RF64" else "WAV"
    if head[:4] == b"FORM" and kind in (b"AIFF", b"AIFC"):
        return "AIFF"
    starts = {b"fLaC": "FLAC", b"OggS\0": "OGG", b".snd\0": "AU", b"caff\0\1": "CAF", b"NIST_1A": "NIST"}
    starts[b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"] = "W64"
    for start, name in starts.items():
        if head.startswith(start):
            return name
    has_tag = head[:3] == b"ID3" and len(head) >= 10 and head[3] < 0x10 and max(head[6:10]) < 0x80
    return "MP3" if has_tag or read_frame(head) else None


class Sound:
    """A sound file that is open for one reading.

    Args:
        file: the file; it stays open.
        max_values: largest number of values, all channels together.

    Raises:
        BadExampleError: it is cut off, no sound, or too long.
        OSError: the file cannot be read.
    """

    length: int | None
    """Number of samples; None: only decoding can tell."""

    def __init__(self, file: io.BufferedIOBase, *, max_values: int):
        self._max_values, self._fewest = max_values, 0
        end = file.seek(0, os.SEEK_END)
        start = after_tags(file, 0)
        form = format_of(_at(file, start, 2048)) or ("MP3" if start else None)
        if form is None or (start and form not in ("MP3", "FLAC")):
            raise BadExampleError(f"it is no signal that can be read: it begins like none of {', '.join(FORMATS)}")
        data = None
        if form == "MP3":
            file, self._fewest = with_true_length(file, start, end)
        elif form == "OGG":
            _check_pages(file, end)
        elif form != "FLAC":
            data = _find_data(file, form, end)
            if data.size is None:
                file, data = self._with_size(file, data, end)
        self._file = _Watched(file)
        self._sound = self._open(self._file, is_mp3=form == "MP3")
        self._file.check()
        self.rate, self.channels = self._sound.samplerate, self._sound.channels
        self.length = self._length(form, data, end)
        self._check_length(end)

    def _with_size(self, file: io.BufferedIOBase, data: "_Data", end: int) -> tuple[io.BufferedIOBase, "_Data"]:
        """Return a copy of a stream whose header has the true size of its samples."""
        size = max(end - data.start, 0)
        if size > min(8 * self._max_values, 2**31 - 2**20):
            raise BadExampleError(f"it has {size:,} bytes of samples, {self._too_many()}")
        file.seek(0)
        content = bytearray(file.read())
        struct.pack_into(data.form, content, data.field, size + data.extra)
        return io.BytesIO(content), data._replace(size=size)

    def _open(self, file: Any, *, is_mp3: bool) -> soundfile.SoundFile:
        file.seek(0)
        try:
            return _Forward(file)
        except soundfile.LibsndfileError as error:
            self._file.check()
            reason = "no frame of it can be decoded" if is_mp3 else error.error_string.rstrip(".")
            raise BadExampleError(f"it is no signal that can be read: {reason}") from error

    def _length(self, form: str, data: "_Data | None", end: int) -> int | None:
        frames, encoding = self._sound.frames, self._sound.subtype
        if encoding.startswith("MPEG") and (form, encoding) != ("MP3", "MPEG_LAYER_III"):
            raise BadExampleError(f"it holds {encoding} in {form}, which is not read: convert it to WAV or MP3")
        if data is None:
            is_unknown = self._fewest > 0 or frames >= 2**62
            return None if is_unknown else frames
        width = WIDTHS.get(encoding, 0) * self.channels
        stated, there = data.size or 0, min(data.size or 0, max(end - data.start, 0))
        if stated // (width or 1) > there // (width or 1):
            raise BadExampleError(f"it is cut off: {there:,} of {stated:,} bytes of samples are there")
        return min(there // width, frames) if width else None

    def _check_length(self, end: int) -> None:
        if self.rate < 1:
            raise BadExampleError(f"its sampling rate is {self.rate} Hz")
        if self.length is None:
            return
        if self.length <= 0:
            raise BadExampleError("it has no samples")
        if self.length > MOST_SAMPLES_A_BYTE * end:
            raise BadExampleError(f"its header says {self.length:,} samples, more than its {end:,} bytes can hold")
        if self.length * self.channels > self._max_values:
            raise BadExampleError(f"it has {self.length:,} samples of {self.channels} channels, {self._too_many()}")

    def _too_many(self) -> str:
        return f"more than config.data.max_megapixels={self._max_values / 1e6:g} allows"

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        self._sound.close()

    def count(self) -> int:
        """Return the number of samples: `length`, or if that is None, how many decoding gives."""
        return self.length if self.length is not None else sum(map(len, self._blocks()))

    def read(self) -> Float32[np.ndarray, "t c"]:
        """Return all values.

        Raises:
            BadExampleError: not all of them can be decoded.
        """
        return np.concatenate(list(self._blocks()))

    def _blocks(self) -> Iterator[Float32[np.ndarray, "t c"]]:
        at_once = SAMPLES_AT_ONCE if self.length is None else self.length
        total = 0
        while total != self.length:
            try:
                block = self._sound.read(at_once, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                self._file.check()
                raise BadExampleError(error.error_string.rstrip(".")) from error
            self._file.check()
            total += len(block)
            if total * self.channels > self._max_values:
                raise BadExampleError(f"it has over {total:,} samples of {self.channels} channels, {self._too_many()}")
            yield block
            if len(block) < at_once:
                break
        stated = self.length or self._fewest
        if total < stated:
            raise BadExampleError(f"it is cut off or damaged: {total:,} of {stated:,} samples can be decoded")
        if not total:
            raise BadExampleError("it has no samples")


class _Forward(soundfile.SoundFile):
    """A file that is read once, from its start to its end: a seek after the last sample fails where no length is."""

    def seekable(self) -> bool:
        return False


class _Watched:
    """A file for libsndfile, which takes an error while reading for the end of the file; `check` raises it."""

    def __init__(self, file: io.BufferedIOBase):
        self._file = file
        self._error: OSError | None = None
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            self._error = error
            return b""

    def check(self) -> None:
        if self._error:
            raise self._error


def _at(file: io.BufferedIOBase, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


class _Data(NamedTuple):
    """Where a file keeps samples that may be uncompressed, and how many bytes its header states."""

    start: int
    size: int | None
    """None: the writer could not state it."""
    field: int = 0
    """Where the header states it."""
    form: str = "<I"
    extra: int = 0
    """By how much the stated number is larger than the size."""


class _Layout(NamedTuple):
    """How a format lays out its chunks."""

    first: int
    """Where the first chunk begins."""
    name: bytes
    """Name of the chunk of samples."""
    form: str
    """Struct format of a chunk's size, which follows its name."""
    before: int = 0
    """Bytes in the chunk of samples before the first sample."""
    multiple: int = 2
    """Every chunk begins at a multiple of so many bytes."""
    counts_head: bool = False
    """Whether a chunk's size includes its name and its size."""


_LAYOUTS = {
    "WAV": _Layout(first=12, name=b"data", form="<I"),
    "RIFX": _Layout(first=12, name=b"data", form=">I"),
    "AIFF": _Layout(first=12, name=b"SSND", form=">I", before=8),
    "CAF": _Layout(first=8, name=b"data", form=">q", before=4, multiple=1),
    "W64": _Layout(
        first=40,
        name=b"data\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a",
        form="<q",
        multiple=8,
        counts_head=True,
    ),
}


def _find_data(file: io.BufferedIOBase, form: str, end: int) -> _Data:
    """Return where the samples of a file are.

    Raises:
        BadExampleError: the file ends before them.
    """
    head = _at(file, 0, 1024)
    if form == "NIST":
        return _nist_data(head)
    if form == "AU" and len(head) < 24:
        raise BadExampleError("it is cut off: its header ends before the samples")
    if form == "AU":
        start, stated = struct.unpack_from(">II", head, 4)
        is_empty, data = start >= end, _Data(start, stated, field=8, form=">I")
    else:
        layout = _LAYOUTS["RIFX" if head[:4] == b"RIFX" else form.replace("RF64", "WAV")]
        data = _data_chunk(file, layout, end)
        if form == "RF64" and head[12:16] == b"ds64" and len(head) >= 36:
            data = data._replace(size=struct.unpack_from("<Q", head, 28)[0], field=28, form="<Q")
        is_empty = not data.size and _is_chunks(file, layout, data.start, end)
    return data._replace(size=None) if not is_empty and _is_unstated(data, end) else data


def _data_chunk(file: io.BufferedIOBase, layout: _Layout, end: int) -> _Data:
    for start, name, size in _chunks(file, layout, layout.first, end):
        if name == layout.name:
            width = struct.calcsize(layout.form)
            extra = layout.before + (len(name) + width if layout.counts_head else 0)
            return _Data(
                start + layout.before, size - layout.before, field=start - width, form=layout.form, extra=extra
            )
    raise BadExampleError("it is cut off: its header ends before the samples")


def _chunks(file: io.BufferedIOBase, layout: _Layout, position: int, end: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield (where the content begins, name, size of the content) of every chunk."""
    width = struct.calcsize(layout.form)
    head_size = len(layout.name) + width
    for _ in range(MOST_CHUNKS):
        if position + head_size > end:
            return
        head = _at(file, position, head_size)
        (size,) = struct.unpack(layout.form, head[-width:])
        size -= head_size if layout.counts_head else 0
        yield position + head_size, head[:-width], size
        position += head_size + max(size, 0)
        position += -position % layout.multiple


def _is_chunks(file: io.BufferedIOBase, layout: _Layout, position: int, end: int) -> bool:
    """Return whether the rest of a file is chunks, and no samples."""
    last = position
    for start, name, size in _chunks(file, layout, position, end):
        if not name[:4].isascii() or not name[:4].decode("ascii").isprintable() or size < 0:
            return False
        last = start + size
    return 0 <= end - last < layout.multiple or last == end + 1


def _is_unstated(data: _Data, end: int) -> bool:
    """Return whether a size is one that stands for an unknown one: 0, or about the largest of its type.

    Programs that write to a pipe state 0 (Python's wave), 0x7FFFF000 (sox), 0x80000000 (arecord), 0xFFFFFFFF (ffmpeg),
    perhaps less the size of the header, or the like in 64 bits.
    """
    assert data.size is not None
    if data.start + data.size <= end and data.size > 0:
        return False
    is_32_bits = struct.calcsize(data.form) == 4
    is_largest = 0x7FFFF000 - 64 <= data.size <= 0x80000100 or 0xFFFFF000 <= data.size <= 0xFFFFFFFF
    return data.size <= 0 or (is_largest if is_32_bits else data.size >= 2**62)


def _nist_data(head: bytes) -> _Data:
    """Return where the samples of a NIST SPHERE file are; its header is text: `sample_count -i 63488` and so on."""
    lines = [line.split() for line in head.decode("latin-1").splitlines()]
    stated = {words[0]: int(words[2]) for words in lines if len(words) == 3 and words[2].isdecimal()}
    size = stated.get("sample_count", 0) * stated.get("sample_n_bytes", 1) * stated.get("channel_count", 1)
    start = int(lines[1][0]) if len(lines) > 1 and lines[1] and lines[1][0].isdecimal() else 0
    return _Data(start, size)


def _check_pages(file: io.BufferedIOBase, end: int) -> None:
    """Check that an OGG file is one whole stream (RFC 3533: its last page is marked).

    Raises:
        BadExampleError: it is cut off, or several streams follow one another, of which libsndfile reads one.
    """
    position = 0
    while (head := _at(file, position, 27))[:4] == b"OggS" and len(head) == 27:
        is_last = head[5] & 4
        position += 27 + head[26] + sum(file.read(head[26]))
        if position > end:
            break
        if is_last:
            if _at(file, position, 4) == b"OggS":
                raise BadExampleError("several streams follow one another in it: make a file of each")
            return
    raise BadExampleError("it is cut off or damaged: none of its pages is marked as the last")
