"""Wrong pictures: cut off, flipped, of sizes that cannot be, bombs, animated, or something else by that name."""

import io
import struct
import zlib

from hypothesis import strategies as st
from PIL import Image

from tests.bad_input.attempt import FOLDER, NAMED_PIPE, Attempt, LinkTo
from tests.bad_input.damage import damaged
from tests.bad_input.world import PETS, World, picture

FORMS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "tiff": "TIFF", "webp": "WEBP", "ppm": "PPM"}
MODES = ("L", "RGB", "1", "P", "CMYK", "RGBA", "LA", "F")
SIDES = (0, 1, 2, 7, 65_535, 65_536, 30_000, 2**31 - 1, 2**31, 2**32 - 1)
MOST_PER_COMMAND = 12
SUFFIXES = (*FORMS, "jpeg", "pgm", "PNG", "txt", "")


def _made() -> list[bytes]:
    """Right pictures of all forms and modes that go together."""
    found = []
    for form in FORMS.values():
        for mode in MODES:
            try:
                found.append(picture(mode=mode, form=form))
            except (OSError, ValueError):
                continue
    frames = [Image.new("L", (12, 16), shade) for shade in (0, 99, 255)]
    for form in ("GIF", "PNG", "TIFF", "WEBP"):
        stream = io.BytesIO()
        frames[0].save(stream, form, save_all=True, append_images=frames[1:])
        found.append(stream.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    return [*found, picture(form="JPEG", exif=exif), picture(form="PNG", exif=exif)]


RIGHT = _made()


@st.composite
def png_headers(draw: st.DrawFn) -> bytes:
    """A PNG whose chunks say anything."""
    side = st.one_of(st.sampled_from(SIDES), st.integers(1, 40))
    width, height = draw(side), draw(side)
    depth, colour = draw(st.sampled_from((1, 2, 4, 8, 16, 0, 3, 255))), draw(st.sampled_from((0, 2, 3, 4, 6, 1, 255)))
    header = struct.pack(
        ">IIBBBBB", width, height, depth, colour, *draw(st.tuples(*[st.sampled_from((0, 0, 0, 1, 255))] * 3))
    )
    data = zlib.compress(bytes(draw(st.sampled_from((0, 1, 100, 20_000, 10**6)))))
    extra = draw(
        st.lists(
            st.tuples(
                st.sampled_from((b"tEXt", b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"acTL", b"gAMA")), st.binary(max_size=20)
            ),
            max_size=2,
        )
    )
    text = zlib.compress(bytes(10**7))  # A bomb of another kind.
    bomb = [(b"zTXt", b"a\0\0" + text)] if draw(st.sampled_from(range(6))) == 0 else []
    chunks = [(b"IHDR", header), *extra, *bomb, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, content) for name, content in chunks)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@st.composite
def other_headers(draw: st.DrawFn) -> bytes:
    """BMP, GIF, TIFF and PPM with sides of any size."""
    width, height = draw(st.sampled_from(SIDES)), draw(st.sampled_from(SIDES))
    match draw(st.sampled_from(("bmp", "gif", "tiff", "ppm"))):
        case "bmp":
            bits = draw(st.sampled_from((1, 4, 8, 16, 24, 32, 64)))
            return b"BM" + struct.pack(
                "<IIIIIIHHIIIIII", 54, 0, 54, 40, width, height, 1, bits, draw(st.sampled_from(range(7))), 0, 0, 0, 0, 0
            )
        case "gif":
            return (
                b"GIF89a"
                + struct.pack("<HHBBB", width & 0xFFFF, height & 0xFFFF, 0x80, 0, 0)
                + b"\0" * 6
                + b","
                + b"\0" * 9
                + b"\2\0;"
            )
        case "tiff":
            compression, length = draw(st.sampled_from((1, 5, 7, 8))), draw(st.sampled_from((1, 2**31)))
            tags = (
                *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)),
                *((273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, length, 9)),
            )
            entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
            return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
        case _:
            return (
                b"P%d\n%d %d\n%d\n"
                % (draw(st.integers(1, 7)), width, height, draw(st.sampled_from((255, 0, 65535, 2**40))))
                + b"\0" * 30
            )


CONTENTS = st.one_of(
    st.sampled_from(RIGHT).flatmap(damaged),
    st.sampled_from(RIGHT).flatmap(damaged),
    png_headers(),
    other_headers(),
    st.sampled_from(RIGHT),
)
SPECIAL = st.sampled_from(
    (FOLDER, NAMED_PIPE, LinkTo("nosuch"), LinkTo("/dev/zero"), LinkTo("/proc/self/mem"), LinkTo("."))
)


@st.composite
def wrong_pictures(draw: st.DrawFn, world: World) -> Attempt:
    """A dozen files at once, for commands that read them."""
    number = draw(st.integers(1, MOST_PER_COMMAND))
    names = [f"{place}.{draw(st.sampled_from(SUFFIXES))}" for place in range(number)]
    wrong: dict[str, bytes | object] = {name: draw(st.one_of(*[CONTENTS] * 9, SPECIAL)) for name in names}
    match draw(st.sampled_from(("predict", "predict", "predict", "artifact", "cam", "plan"))):
        case "predict":
            form = f"--format={draw(st.sampled_from(('json', 'csv')))}"
            paths = draw(st.sampled_from((tuple(names), ("all",), ("-",))))
            if paths == ("all",):
                wrong = {f"all/{name}": content for name, content in wrong.items()}
            listed = "\n".join(names).encode()
            return Attempt(
                ("predict", "--workdir=images", form, *paths), {**world.images, **wrong}, listed=listed, inputs=number
            )
        case "artifact":
            return Attempt(("predict", "--artifact=net.bin", *names), {**world.artifact, **wrong}, inputs=number)
        case "cam":
            return Attempt(
                ("cam", "--workdir=images", "--out=out", *names[:3]), {**world.images, **wrong}, inputs=min(number, 3)
            )
        case _:
            share = f"--config.data.max_bad_fraction={draw(st.sampled_from(('0', '1')))}"
            inside = {f"pets/train/ant/{name}": content for name, content in wrong.items()}
            return Attempt(("plan", PETS, share), {**world.pets, **inside}, inputs=number)
