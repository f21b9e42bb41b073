"""Wrong tables: of sizes, and of paths with their labels, as CSV and parquet; paths that leave the table's folder."""

import csv
import io

from hypothesis import strategies as st

from tests.bad_input.attempt import FOLDER, NAMED_PIPE, Attempt, LinkTo
from tests.bad_input.damage import SIZES_OF_NOTHING, damaged
from tests.bad_input.world import MNIST, picture

SIDES = (
    *("0", "-1", "1.5", "", " ", "nan", "inf", "1e3", "9" * 30, "9" * 5000, "2147483648", "4611686018427387904", "x"),
    *("７", "0x10", "1_000", "\0", "28,", '"28', "9", "28", "65536", "é"),
)
HEADERS = (
    "height,width,count",
    "length,count",
    "height,width",
    "width,height,count",
    "",
    "a,b,c",
    "\ufeffheight,width,count",
)
RULES = ("none", "longest:9", "area:5", "square:3", "canvas:4x4", "canvas:4", "tall:3")
PATHS = (
    *(
        "a.png",
        "sub/b.png",
        "sub/../a.png",
        "../secret.png",
        "../../etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "./a.png",
    ),
    *(
        "link.png",
        "folder_link/secret.png",
        "loop",
        "pipe.png",
        "folder",
        "folder.png",
        "gone.png",
        "/dev/zero",
        ".",
        "..",
    ),
    *(
        "",
        " ",
        "~/a.png",
        "C:\\a.png",
        "a\0.png",
        "x" * 300 + ".png",
        "x/" * 3000 + "a.png",
        "a\nb.png",
        "é.png",
        "\udcff.png",
    ),
    *(
        "file:///etc/passwd",
        "sub//b.png",
        "a.wav",
        "a.txt",
        "a.PNG",
        "sub/..",
        "...",
        "..\\a.png",
        "sub/./../../x/a.png",
    ),
)
LABELS = ("ant", "bee", "", " ", "\0", "a" * 200, "é", "1", "nan", "../x", '"', "a\nb")
SPLITS = ("train", "train", "validation", "test", "trane", "", "Train", "\0", "train[:5]")
COLUMNS = (
    ("path", "label"),
    ("path", "label", "split"),
    ("path",),
    ("label", "path"),
    ("path", "path", "label"),
    ("file", "class"),
)
RIGHT_ROWS = (
    ("path", "label", "split"), ("a.png", "ant", "train"), ("sub/b.png", "bee", "train"), ("c.png", "bee", "train"),
    ("d.png", "ant", "validation"), ("sub/e.png", "bee", "test"),
)  # fmt: skip
LONG = b"path,label\na.png," + b"a" * 200_000 + b"\n"


def lying_beside() -> dict[str, bytes | object]:
    """The folder of a table, and what it may not reach: `secret.png` and `secrets/`."""
    return {
        **{
            f"data/{name}": picture(mode="L") for name in ("a.png", "sub/b.png", "c.png", "d.png", "sub/e.png", "é.png")
        },
        **{"data/folder.png": FOLDER, "data/folder": FOLDER, "data/pipe.png": NAMED_PIPE, "data/a.txt": b"text"},
        **{
            "data/link.png": LinkTo("../secret.png"),
            "data/folder_link": LinkTo("../secrets"),
            "data/loop": LinkTo("loop"),
        },
        **{"secret.png": picture(), "secrets/secret.png": picture()},
    }


@st.composite
def wrong_size_tables(draw: st.DrawFn) -> Attempt:
    """CSV files of sizes."""
    header = draw(st.sampled_from(HEADERS))
    rows = [["9", "8", "10"][: header.count(",") + 1] for _ in range(draw(st.sampled_from(range(5))))]
    for row in rows:
        if draw(st.booleans()):
            row[draw(st.sampled_from(range(len(row))))] = draw(st.sampled_from(SIDES))
    if rows and draw(st.sampled_from(range(6))) == 0:
        rows[-1] *= draw(st.sampled_from(range(3)))
    text = "\n".join([header, *(",".join(row) for row in rows), ""])
    content = draw(st.one_of(st.just(text.encode()), damaged(b"height,width,count\n9,8,10\n20,8,3\n")))
    wrong: bytes | object = draw(st.sampled_from((*[content] * 15, FOLDER)))
    if draw(st.sampled_from(range(10))):
        most, multiple = draw(st.sampled_from((0, 1, 2, 1024))), draw(st.sampled_from((1, 8, 4096)))
        rule = draw(st.sampled_from(RULES))
        line = ("plan", "--sizes=s.csv", f"--max_buckets={most}", f"--multiple_of={multiple}", f"--resize={rule}")
        return Attempt(line, {"s.csv": wrong})
    wrong = wrong + b"0,0,0\n" if isinstance(wrong, bytes) else wrong  # So that nothing is compiled.
    return Attempt(("compile", MNIST, "--sizes=s.csv"), {"s.csv": wrong})


@st.composite
def wrong_path_tables(draw: st.DrawFn) -> Attempt:
    """CSV files of paths and labels, right but for a few cells; or spoiled, or what is called parquet."""
    rows = [list(row) for row in RIGHT_ROWS]
    for _ in range(draw(st.sampled_from(range(4)))):
        row, column = draw(st.sampled_from(range(len(rows)))), draw(st.sampled_from((0, 0, 0, 1, 2)))
        rows[row][column] = draw(st.sampled_from((PATHS, LABELS, SPLITS)[column]))
    match draw(st.sampled_from(range(12))):
        case 0:
            rows[0] = list(draw(st.sampled_from(COLUMNS)))
        case 1:
            del rows[draw(st.sampled_from(range(len(rows)))) :]
        case 2:
            rows[draw(st.sampled_from(range(len(rows))))] *= draw(st.sampled_from(range(4)))
        case _:
            pass
    stream = io.StringIO()
    csv.writer(stream, quoting=draw(st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))).writerows(rows)
    text = stream.getvalue().encode(errors="surrogateescape")
    others = (b"\xef\xbb\xbf" + text, stream.getvalue().encode("utf-16", errors="replace"), FOLDER, LinkTo("table.csv"))
    content = draw(st.one_of(*[st.just(text)] * 6, damaged(text), st.sampled_from((*others, *SIZES_OF_NOTHING, LONG))))
    name = draw(st.sampled_from((*["table.csv"] * 6, "table.parquet")))
    absolute, share = draw(st.sampled_from(("False", "False", "True"))), draw(st.sampled_from(("0.5", "1", "1")))
    fields = (f"--config.data.absolute_paths={absolute}", f"--config.data.max_bad_fraction={share}")
    line = ("plan", MNIST, f"--config.data.source=table:data/{name}", *fields, "--config.model.num_classes=2")
    return Attempt(line, {**lying_beside(), f"data/{name}": content})
