"""The frames of an MP3, and the tag that states how many there are.

An MP3 has no header of its own: every frame has one. The first frame may be a tag instead of sound. Only this tag tells
the length without decoding. What stands before the frames, between them and behind them is no sound.
"""

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

from fcn_jax.data.bad_examples import BadExampleError

DECODER_DELAY = 529
"""Samples that the decoder takes away at the start, if the length is stated."""
MOST_BEFORE_FRAMES = 2**16


class Frame(NamedTuple):
    size: int
    """In bytes."""
    samples: int
    tag: int
    """Where a tag of the stream's length may stand in it."""
    kind: int
    """What all frames of a stream share: version, layer and sampling rate, as bits."""


def read_frame(head: bytes) -> Frame | None:
    """Read the header of an MPEG layer III frame; None if it is none, or if no frame of its kind follows it.

    Text, a JPEG and the mark at the start of UTF-16 are none: their second byte names no layer III.
    """
    bits = int.from_bytes(head[:4], "big")
    version, layer, bitrate, rate = bits >> 19 & 3, bits >> 17 & 3, bits >> 12 & 15, bits >> 10 & 3
    if len(head) < 4 or bits >> 21 != 0x7FF or version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return None
    is_first, is_mono = version == 3, bits >> 6 & 3 == 3
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    first = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    second = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    kilobits, samples = (first if is_first else second)[bitrate - 1], 1152 if is_first else 576
    size = samples // 8 * 1000 * kilobits // hertz + (bits >> 9 & 1)
    tag = 4 + {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[is_first, is_mono]
    frame = Frame(size, samples, tag, kind=bits & 0xFFFE0C00)
    following = head[size : size + 4]
    return frame if len(following) < 4 or int.from_bytes(following, "big") & 0xFFFE0C00 == frame.kind else None


def after_tags(file: io.BufferedIOBase, position: int) -> int:
    """Return where the ID3 tags end that begin at a position of a file; the position itself if none does."""
    while (head := _read_at(file, position, 10))[:3] == b"ID3" and len(head) == 10 and max(head[6:]) < 0x80:
        has_footer = head[5] & 0x10
        position += sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        position += 20 if has_footer else 10
    return position


def with_true_length(file: io.BufferedIOBase, start: int, end: int) -> tuple[io.BufferedIOBase, int]:
    """Return an MP3 that libsndfile decodes to its end, and the fewest samples that it must have.

    libsndfile guesses the length from the first frame, and stops there, unless a tag (Xing, Info) states it. So a file
    without such a tag, or with one that its bytes contradict, gets one that states more than there can be.

    Returns:
        The fewest samples are 0 if the file's tag is right: then the header's length is true.

    Raises:
        BadExampleError: it has no frame.
    """
    place, frame = next(_frames(_read_at(file, start, MOST_BEFORE_FRAMES)), (0, None))
    if frame is None:
        raise BadExampleError("it is no signal that can be read: it begins like an MP3, but no frame follows")
    first, fewest = start + place, 1
    head = _read_at(file, first, frame.size)
    tag = head[frame.tag : frame.tag + 16].ljust(16, b"\0")
    if tag[:4] in (b"Xing", b"Info"):
        flags, frames, size = struct.unpack(">III", tag[4:])
        after = read_frame(_read_at(file, after_tags(file, first + size), 4))
        if flags & 3 == 3 and frames and first + size <= end and (after is None or after.kind != frame.kind):
            # libsndfile warns of a file that is longer than its tag says.
            return (file if first + size == end else io.BytesIO(_read_at(file, first, size))), 0
        if flags & 1:
            # Some encoders count the tag's own frame. A file shorter than stated gets no such benefit of the doubt.
            spare = 0 if flags & 2 and first + size > end else 2
            fewest = max((frames - spare) * frame.samples - DECODER_DELAY, 1)
        first += frame.size
    content = _read_at(file, first, end - first)
    sound = [content[place : place + one.size] for place, one in _frames(content) if one.kind == frame.kind]
    return io.BytesIO(_stating_frame(head, frame, len(sound) + 2) + b"".join(sound)), fewest


def _frames(content: bytes) -> Iterator[tuple[int, Frame]]:
    """Yield (where it begins, frame) of every whole frame; what is no frame is passed over."""
    place = 0
    while place >= 0:
        frame = read_frame(content[place : place + 4])
        is_in_step = frame and place + frame.size <= len(content)
        if frame and is_in_step:
            yield place, frame
            place += frame.size
            continue
        place = content.find(b"\xff", place + 1)
        while place >= 0 and read_frame(content[place : place + 1500]) is None:
            place = content.find(b"\xff", place + 1)


def _stating_frame(head: bytes, frame: Frame, count: int) -> bytes:
    """Return a frame that holds a tag and no sound; the tag states the number of frames."""
    bits = int.from_bytes(head[:4], "big") & ~(15 << 12) & ~(1 << 9) | 14 << 12 | 1 << 16  # Large enough; no checksum.
    stating = bits.to_bytes(4, "big").ljust(frame.tag, b"\0") + b"Info" + struct.pack(">II", 1, count)
    largest = read_frame(stating)
    assert largest
    return stating.ljust(largest.size, b"\0")


def _read_at(file: io.BufferedIOBase, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)
