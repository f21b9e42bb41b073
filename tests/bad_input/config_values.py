"""Wrong values of the config, field by field, by type; and files that are no configs."""

import math

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fcn_jax.config import Config
from fcn_jax.config_fields import flatten
from fcn_jax.nets.families import FCN
from tests.bad_input.attempt import FOLDER, Attempt
from tests.bad_input.world import MNIST, PETS, World

FIELDS = flatten(Config(model=FCN()))
ODD = (
    *("", " ", "None", "True", "False", "nan", "inf", "-inf", "0", "-1", "1", "3", "1e308", "1e-320", "1e400", "-0.0"),
    *("2147483648", "9223372036854775808", "9" * 30, "9" * 5000, "0.5", "1.5", "1e9", "100000", "65536", "1024"),
    *(
        "()",
        "(0,)",
        "(-1,)",
        "(1,)",
        "(3,)",
        "(1,2)",
        "(0.5,1.0)",
        "(1,2,3)",
        "(1000000,)",
        "(1,)*3",
        "(None,)",
        "((1,),)",
    ),
    *(
        "(nan,)",
        "('a',)",
        "(1",
        "[1]",
        "[]",
        "{}",
        "{1: 2}",
        "'text'",
        "text",
        "a" * 3000,
        "(" * 500,
        "-" * 20_000 + "1",
    ),
    *(
        "[" * 100_000,
        "1" + "+1" * 2000,
        "*",
        "(?P<a",
        "(a+)+$",
        "[",
        "\\",
        "é\u202e",
        "\udcff",
        "\ud800",
        "\n",
        "%s",
        "0x1f",
    ),
    *("none", "longest:0", "longest:65536", "square:65536", "square:99999999", "canvas:0x5", "canvas:5", "area:1"),
    *(
        "canvas:999999999999999999x1",
        "train[:0]",
        "train[:1]",
        "train[",
        "folder:",
        "folder:/nosuch",
        "table:",
        "tfds:",
    ),
    *("table:file", "folder:file", "mnist_native:", "tfds:nosuch", "tfds:../x", "tfds:a/b/c:9", "resnet", "convnext"),
    *("wavenet", "lstm", "tacotron2_encoder", "fcn1d", "nin", "mlp", "dense", "flatten", "all_cnn", "group", "layer"),
    *("pyramid", "attention", "last", "bucketed", "stratified", "bfloat16", "float16", "sgd", "linear", "epoch"),
)
TEXTS = st.one_of(
    st.sampled_from(ODD),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3)), max_size=4).map(lambda x: repr(tuple(x))),
    st.text(st.characters(exclude_characters="\0"), max_size=12),
)
INTEGERS = st.sampled_from(
    (0, -1, 1, 2, 3, 7, 8, 64, 255, 256, 1023, 1024, 65536, 10**6, 2**31 - 1, 2**31, 2**63, 10**20)
)
FLOATS = st.sampled_from(
    (0.0, -1.0, 1e-12, 0.01, 0.5, 0.999, 1.0, 2.0, 9.0, 80.0, 100.0, 1e6, 1e18, 1e308, math.nan, math.inf)
)


def _like(value: object) -> SearchStrategy[str]:
    """Odd values of the type of a field's default."""
    match value:
        case bool():
            return st.sampled_from(("True", "False"))
        case int():
            return INTEGERS.map(str)
        case float():
            return FLOATS.map(str)
        case tuple():
            inner = FLOATS if not value or isinstance(value[0], float) else INTEGERS
            return st.lists(inner, max_size=4).map(lambda numbers: str(tuple(numbers)))
        case _:
            return st.sampled_from(ODD)


IMPORTS = b"from fcn_jax.config import Config\n"
NOT_CONFIGS = (
    *(
        b"",
        b"x = ",
        b"\0",
        b"\xff\xfe",
        b"def get_config(): return 3",
        b"def get_config(a): return None",
        b"get_config = 3",
    ),
    *(b"def get_config(argument=''): raise KeyError('a')", b"def get_config(argument=''): return get_config()"),
    *(b"import nosuch", b"1/0", b"def get_config(a, b): pass", b"raise SystemExit('enough')", b"assert False"),
    *(IMPORTS + b"c = Config(model=FCN())\nc.train = 3\ndef get_config(argument=''): return c",),
    *(IMPORTS + b"c = Config(model=FCN())\nc.seed = 'a'\ndef get_config(argument=''): return c",),
    *(b"get_config = lambda a='': {'seed': 1}\n", b"(" * 1000, b"#" * 10**6),
)


@st.composite
def wrong_values(draw: st.DrawFn, world: World) -> Attempt:
    """A few fields with odd values, for commands that do little if all is well after all."""
    fields = draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=3, unique=True))
    overrides = [f"--config.{field}={draw(st.one_of(TEXTS, *[_like(FIELDS[field])] * 2))}" for field in fields]
    match draw(st.sampled_from(("shapes", "shapes", "train", "plan", "compile"))):
        case "shapes":
            size = draw(st.sampled_from(("28x28", "28", "1x1", "64x8")))
            return Attempt(("shapes", MNIST, f"--size={size}", *overrides), {"file": b""})
        case "train":  # There is no data: it ends before anything is compiled.
            return Attempt(
                ("train", MNIST, "--config.data.source=folder:nosuch", "--workdir=new", *overrides), {"file": b""}
            )
        case "plan":
            return Attempt(("plan", PETS, *overrides), {"file": b"", **world.pets})
        case _:
            wrong = {"sizes.csv": b"height,width,count\n9,8,0\n", "file": b""}
            return Attempt(("compile", MNIST, "--sizes=sizes.csv", *overrides), wrong)


@st.composite
def wrong_config_files(draw: st.DrawFn) -> Attempt:
    """--config that is no config."""
    command = draw(st.sampled_from((("shapes", "--size=28x28"), ("plan",), ("train", "--workdir=new"))))
    content = draw(st.one_of(st.sampled_from(NOT_CONFIGS), st.binary(max_size=60), st.just(FOLDER)))
    argument = draw(st.sampled_from(("", "", ":", ":tiny", ":a:b", ":\n")))
    name = draw(st.sampled_from(("config.py", "config.py", "config", "config.json", "é.py", "a b.py", "a.b.py")))
    return Attempt((*command, f"--config={name}{argument}"), {name: content})
