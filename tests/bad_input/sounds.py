"""Wrong signals: WAV and FLAC whose headers say anything, or that are cut off or flipped."""

import struct

from hypothesis import strategies as st

from tests.bad_input.attempt import Attempt
from tests.bad_input.damage import damaged
from tests.bad_input.pictures import SPECIAL
from tests.bad_input.world import ROOT, World, sound

LARGE = (0, 1, 2, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
RIGHT = [
    *(sound(kind=kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM")),
    *(sound(channels=2), sound(form="FLAC"), sound(1, form="FLAC"), sound(form="FLAC", channels=8), sound(rate=1)),
]
MOST_PER_COMMAND = 12


@st.composite
def wav_headers(draw: st.DrawFn) -> bytes:
    """A WAV whose every number is drawn."""
    small = st.one_of(st.sampled_from((0, 1, 2, 3, 8, 16, 24, 255, 65535)), st.integers(0, 65535))
    large = st.one_of(st.sampled_from(LARGE), st.integers(0, 200))
    kind = draw(st.one_of(st.sampled_from((1, 3, 6, 7, 17, 85, 65534)), small))
    channels, rate, bits = draw(small), draw(large), draw(small)
    form = struct.pack("<HHIIHH", kind, channels, rate, draw(large), draw(small), bits) + draw(st.binary(max_size=24))
    data = draw(st.binary(max_size=64))
    stated = draw(st.one_of(large, st.just(len(data))))
    body = b"WAVEfmt " + struct.pack("<I", draw(st.one_of(large, st.just(len(form))))) + form
    body += b"data" + struct.pack("<I", stated) + data
    return (
        draw(st.sampled_from((b"RIFF", b"RIFF", b"RIFX", b"RF64")))
        + struct.pack("<I", draw(st.one_of(large, st.just(len(body)))))
        + body
    )


@st.composite
def flac_headers(draw: st.DrawFn) -> bytes:
    """A FLAC whose STREAMINFO has another rate, number of channels, bits and samples."""
    right = sound(form="FLAC")
    rate, channels, bits = (
        draw(st.integers(0, 2**20 - 1)),
        draw(st.sampled_from(range(8))),
        draw(st.sampled_from(range(32))),
    )
    samples = draw(st.sampled_from((0, 1, 64, 2**31, 2**32, 2**36 - 1)))
    stated = rate << 44 | channels << 41 | bits << 36 | samples
    if draw(st.booleans()):  # All but the number of samples is right.
        stated = int.from_bytes(right[18:26], "big") >> 36 << 36 | samples
    return right[:18] + stated.to_bytes(8, "big") + right[26:]


CONTENTS = st.one_of(st.sampled_from(RIGHT).flatmap(damaged), wav_headers(), flac_headers(), st.sampled_from(RIGHT))


@st.composite
def wrong_sounds(draw: st.DrawFn, world: World) -> Attempt:
    """A dozen files at once, for commands that read them."""
    number = draw(st.integers(1, MOST_PER_COMMAND))
    suffix = st.sampled_from(("wav", "wav", "flac", "flac", "wave", "WAV"))
    wrong = {f"{place}.{draw(suffix)}": draw(st.one_of(*[CONTENTS] * 9, SPECIAL)) for place in range(number)}
    if draw(st.sampled_from(range(4))):
        return Attempt(("predict", "--workdir=signals", *wrong), {**world.signals, **wrong}, inputs=number)
    right = {
        f"clips/{split}/{name}/0.wav": sound() for split in ("train", "validation", "test") for name in ("ant", "bee")
    }
    inside = {f"clips/train/ant/{name}": content for name, content in wrong.items()}
    fields = ("--config.data.max_bad_fraction=1", f"--config.data.channels={draw(st.sampled_from((1, 2)))}")
    config = f"--config={ROOT / 'configs/signals.py'}:clips,tiny"
    return Attempt(("plan", config, *fields), {**right, **inside}, inputs=number)
