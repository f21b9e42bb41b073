"""Wrong safetensors files: headers of any length, types, shapes and places, and bytes that are cut off or flipped."""

import json
import struct

import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.bad_input.attempt import FOLDER, NAMED_PIPE, Attempt
from tests.bad_input.damage import VALUES, changed_json, damaged
from tests.bad_input.world import MNIST

LENGTHS = (0, 1, 8, 2**20, 10**8, 10**8 + 1, 2**31, 2**63, 2**64 - 1)
TYPES = ("F32", "F16", "F64", "BF16", "I64", "BOOL", "F8_E4M3", "U8", "C64", "nosuch", "", 3, None)
RIGHT = save({"conv1.weight": np.zeros((4, 1, 3, 3), np.float32), "bn1.weight": np.ones(4, np.float32)})
NET = ("--config.model.name=resnet", "--config.model.channels=(4,)", "--config.model.blocks=(1,)")


@st.composite
def made_headers(draw: st.DrawFn) -> bytes:
    """A header that is JSON, with tensors of any type, shape and place."""
    number = st.one_of(st.sampled_from((0, 1, 4, 16, -1, 2**40, 2**63, 10**30)), st.integers(0, 40))
    header = {}
    for name in draw(
        st.lists(st.sampled_from(("conv1.weight", "bn1.weight", "fc.weight", "", "é", "__metadata__")), max_size=4)
    ):
        start = draw(number)
        header[name] = {
            "dtype": draw(st.sampled_from(TYPES)),
            "shape": draw(st.one_of(st.lists(number, max_size=4), VALUES)),
            "data_offsets": draw(st.one_of(st.just([start, start + 16]), st.lists(number, max_size=3))),
        }
    text = json.dumps(header).encode()
    length = draw(st.one_of(st.just(len(text)), st.sampled_from(LENGTHS)))
    return struct.pack("<Q", length) + text + draw(st.binary(max_size=64))


@st.composite
def changed_headers(draw: st.DrawFn) -> bytes:
    """A right file with something else in its header."""
    (length,) = struct.unpack("<Q", RIGHT[:8])
    header = draw(changed_json(RIGHT[8 : 8 + length]))
    return struct.pack("<Q", len(header)) + header + RIGHT[8 + length :]


PICKLED = b"\x80\x04cos\nsystem\n(S'touch pickled'\ntR."
"""It would write a file, if it were unpickled."""


@st.composite
def wrong_weights(draw: st.DrawFn) -> Attempt:
    """config.model.init_from that is no file of this net."""
    content: bytes | object = draw(
        st.one_of(
            *[damaged(RIGHT), made_headers(), changed_headers()] * 4,
            st.sampled_from((b"PK\x03\x04", PICKLED, RIGHT, FOLDER, NAMED_PIPE)),
        )
    )
    name = draw(st.sampled_from(("w.safetensors", "w.safetensors", "w.pt", "w")))
    fields = ("--config.data.train_split=train[:64]", f"--config.model.init_from={name}", *NET)
    return Attempt(("train", f"{MNIST}:tiny", "--workdir=new", *fields), {name: content})
