"""Wrong command lines: unknown, misspelt, missing, doubled and empty flags, and values that no flag takes."""

from hypothesis import strategies as st

from fcn_jax.cli import COMMANDS
from tests.bad_input.attempt import FOLDER, Attempt
from tests.bad_input.world import MNIST, NO_PETS, World, picture

FLAGS = {
    "shapes": (MNIST, "--size=28x28"),
    "plan": ("--sizes=sizes.csv", "--max_buckets=2", "--multiple_of=2", "--resize=longest:9", "--out=out"),
    "compile": (MNIST, "--sizes=sizes.csv", "--target=tpu:v5e:2x2", "--out=out"),
    "train": (NO_PETS, "--workdir=new", "--config.seed=1", "--strict"),
    "evaluate": ("--workdir=images", "--split=test", "--scale=0.5,1", "--out=out", "--strict"),
    "predict": ("--workdir=images", "--format=csv", "a.png", "--strict"),
    "cam": ("--workdir=images", "--out=out", "--label=ant", "a.png"),
    "export": ("--workdir=images", "--out=net.bin", "--format=stablehlo", "--strict"),
    "report": ("--workdir=finished",),
}
"""The flags that a command takes."""
EXPERIMENTS = {
    "list": ("--full",),
    "run": ("pool_order", "--dry_run", "--seeds=0,1", "--jobs=1"),
    "report": ("pool_order", "--full"),
    "check": ("nosuch", "--seed=0", "--jobs=1"),
}
ODD_TEXTS = (
    *("", " ", "-", "--", "=", "0", "-1", "1e9", "nan", "inf", "9" * 400, "a" * 300, "a" * 5000, "../" * 50, "/", "."),
    *("\udcff", "\ud800", "é\u202e\u0000"[:2], "\n", "a\nb", "%s", "{}", "$HOME", "~nobody", "*", "[1]", "(", "None"),
    *("file/below", "/proc/nosuch", "/dev/null", "/dev/null/x", "images/config.json", "28x", "x28", "0x0", "1x1x1"),
    *("99999999999999999999x1", "train[", "train[:0]", "train[5:2]", "tpu:v5e:", "tpu:v5e:0x0", "tpu:v5e:999x999"),
)
"""`file` is a file, where a folder would be needed."""
TEXTS = st.one_of(st.sampled_from(ODD_TEXTS), st.text(st.characters(exclude_characters="\0"), max_size=20))
UNKNOWN = (
    "--help",
    "-h",
    "-",
    "--",
    "---",
    "--x",
    "--no",
    "--nostrict",
    "--sise=1",
    "--config.x=1",
    "--flagfile=a.png",
)


@st.composite
def wrong_flags(draw: st.DrawFn, world: World) -> Attempt:
    """A right command line with a mistake or two."""
    command = draw(st.sampled_from(sorted(FLAGS)))
    arguments = [command, *_with_mistakes(draw, FLAGS[command])]
    if draw(st.sampled_from(range(20))) == 0:
        arguments[0] = draw(TEXTS)
    return Attempt(tuple(arguments), _files(world, command, draw))


@st.composite
def wrong_experiments(draw: st.DrawFn) -> Attempt:
    """The same for `python -m experiments`, which is never allowed to run anything here."""
    command = draw(st.sampled_from(sorted(EXPERIMENTS)))
    arguments = [command, *_with_mistakes(draw, EXPERIMENTS[command])]
    may_run = command == "check" or (command == "run" and "--dry_run" not in arguments) or command == "report"
    if may_run:
        arguments[1:] = [argument for argument in arguments[1:] if argument != "pool_order"]
    return Attempt(tuple(arguments), program="experiments")


def _with_mistakes(draw: st.DrawFn, right: tuple[str, ...]) -> list[str]:
    arguments = list(right)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(range(max(1, len(arguments)))))
        flag = arguments[place] if arguments else ""
        name, _, value = flag.partition("=")
        match draw(
            st.sampled_from(("value", "value", "value", "drop", "misspell", "double", "empty", "unknown", "path"))
        ):
            case "value":
                changed = f"{name}={draw(TEXTS)}" if flag.startswith("--") else draw(TEXTS)
                arguments[place : place + 1] = [changed]
            case "drop":
                del arguments[place : place + 1]
            case "misspell":
                cut = draw(st.sampled_from(range(len(name) + 1)))
                arguments[place : place + 1] = [
                    f"{name[:cut]}{draw(st.sampled_from('aZ-_.é '))}{name[cut + 1 :]}={value}"
                ]
            case "double":
                arguments.append(f"{name}={draw(TEXTS)}")
            case "empty":
                arguments[place : place + 1] = [draw(st.sampled_from((name, f"{name}=")))]
            case "unknown":
                arguments.insert(place, draw(st.sampled_from(UNKNOWN)))
            case _:
                arguments.append(draw(TEXTS))
    return arguments


def _files(world: World, command: str, draw: st.DrawFn) -> dict[str, bytes | object]:
    files: dict[str, bytes | object] = {"file": b"", "folder": FOLDER, "a.png": picture(mode="L")}
    match command:
        case "plan" | "compile":
            return files | {
                "sizes.csv": b"height,width,count\n0,28,1\n" if draw(st.booleans()) else b"height,width,count\n9,8,1\n"
            }
        case "evaluate" | "predict" | "cam" | "export":
            return files | (world.images if draw(st.sampled_from(range(4))) else {"images/config.json": b"{}"})
        case "report":
            return files | world.finished
        case _:
            return files


assert set(FLAGS) == set(COMMANDS), "every command is tried"
