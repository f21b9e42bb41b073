"""A mistake of the user's is one line and exit code 2, and leaves nothing behind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fcn_jax.cli import COMMANDS, main
from fcn_jax.command_line import CommandLine, load_config
from fcn_jax.nets.families import LSTM

ROOT = Path(__file__).parents[1]
CONFIG = f"--config={ROOT / 'configs/mnist.py'}"
TABLE = f"--sizes={ROOT / 'tests/core/mnist_tightbox_train.csv'}"


def test_shapes_prints_the_seeds_notation(capsys):
    assert main(["fcn_jax", "shapes", CONFIG, "--size=28x28"]) == 0
    printed = capsys.readouterr().out
    shapes = ["(-1, 1, 28, 28)", "(-1, 32, 14, 14)", "(-1, 64, 7, 7)", "(-1, 128, 3, 3)", "(-1, 10, 3, 3)", "(-1, 10)"]
    positions = [printed.index(shape) for shape in shapes]
    assert positions == sorted(positions)
    assert "166,090" in printed


def test_plan_of_a_table_writes_its_files(capsys, tmp_path):
    assert main(["fcn_jax", "plan", TABLE, "--max_buckets=6", f"--out={tmp_path}"]) == 0
    assert "plan fill 0.96" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json", "plan.png"}


def test_plan_of_a_table_shows_fill_by_number_of_buckets(capsys):
    assert main(["fcn_jax", "plan", TABLE, "--max_buckets=6"]) == 0
    head, _, curve = capsys.readouterr().out.partition("\nbuckets")
    rows = {int(line.split()[0]): float(line.split()[1]) for line in curve.strip().splitlines()[1:]}
    assert list(rows) == [1, 2, 4, 6, 8, 16, 32]
    assert list(rows.values()) == sorted(rows.values())
    assert f"plan fill {rows[6]}" in head


@pytest.mark.parametrize(("rows", "is_empty"), [("20,20,9\n10,30,5\n", True), ("20,30,9\n10,30,5\n", False)])
def test_plan_says_why_a_bucket_is_empty(capsys, tmp_path, rows, is_empty):
    (tmp_path / "sizes.csv").write_text(f"height,width,count\n{rows}", encoding="utf-8")
    assert main(["fcn_jax", "plan", f"--sizes={tmp_path / 'sizes.csv'}", "--max_buckets=3"]) == 0
    assert ("20×30 is empty: in every plan" in capsys.readouterr().out) == is_empty


def test_plan_resizes_first(capsys):
    assert main(["fcn_jax", "plan", TABLE, "--resize=longest:10", "--max_buckets=2"]) == 0
    buckets = capsys.readouterr().out.splitlines()[1:3]
    assert [line.split()[0] for line in buckets][-1] == "10×10"


def test_plan_shows_every_stage(capsys):
    flags = ["--config.train.stage_scales=(0.5,1.0)", "--config.data.augment.scale=(0.8,1.2)"]
    assert main(["fcn_jax", "plan", f"{CONFIG}:tiny", *flags]) == 0
    printed = capsys.readouterr().out
    assert "stage 1, epochs 1 to 1\n" in printed
    assert "stage 2, epochs 2 to 2\n" in printed
    assert printed.count("plan fill 0.") == 2
    assert "run fill 0." in printed


@pytest.mark.parametrize("scale", ["(1.0,1.0)", "(0.5,1.5)"])
def test_plan_marks_itself_with_its_own_fill(capsys, scale):
    assert main(["fcn_jax", "plan", f"{CONFIG}:tiny", f"--config.data.augment.scale={scale}"]) == 0
    head, _, curve = capsys.readouterr().out.partition("\nbuckets")
    (marked,) = [line for line in curve.splitlines() if "this plan" in line]
    buckets, fill = marked.split()[:2]
    assert f"plan fill {fill} with {buckets} buckets" in head
    assert ("sizes of epoch 1 alone" in curve) == (scale == "(0.5,1.5)")


def test_plan_says_what_size_tells_where_there_are_classes(capsys):
    assert main(["fcn_jax", "plan", f"{CONFIG}:tiny", "--config.schedule.kind=bucketed"]) == 0
    printed = capsys.readouterr().out
    assert "size alone tells the class of 24.0% of the examples (95% interval 20.5% to 27.9%)" in printed
    assert "use schedule.kind=stratified. A net may learn the size" in printed
    table = TABLE.removeprefix("--sizes=")
    assert main(["fcn_jax", "plan", f"{CONFIG}:tiny", f"--config.data.source=sizes:{table}"]) == 0
    assert main(["fcn_jax", "plan", TABLE]) == 0
    assert "size alone" not in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["plan", TABLE, "--max_buckets=1"], ["plan", "--help"], ["help"]])
def test_results_that_the_disk_does_not_take(monkeypatch, capfd, argv):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["fcn_jax", *argv]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "standard output cannot be written (No space left on device): make room" in line


PICTURE = ROOT / "docs/mnist_plan.png"
PUBLISHED = ["train", CONFIG, "--config.model.name=resnet", "--config.model.channels=(4,)"]
WRONG = {
    "no command": ([], "no command given"),
    "unknown command": (["fly"], "there is no command 'fly'"),
    "unknown flag": (
        ["shapes", CONFIG, "--sise=28x28"],
        "there is no flag --sise; did you mean --size? shapes takes --config, --size",
    ),
    "a path that no system has": (["evaluate", "--workdir=\ud800"], "no path has such letters"),
    "another command's flag": (["evaluate", CONFIG], "evaluate takes --workdir, --checkpoint, --split, --data"),
    "not a flag": (["shapes", CONFIG, "28x28", "--size=28x28"], "'28x28' is not a flag"),
    "no config": (["shapes", "--size=28x28"], "--config is missing"),
    "a path too long": (["report", f"--workdir={'9' * 400}"], "cannot be used (File name too long)"),
    "a config without a name": (["shapes", "--config=", "--size=28"], "there is no file without a name"),
    "a config that is a flag": (["shapes", "--config", "--size=28"], "there is no file --size=28"),
    "a file of flags that is none": (["shapes", f"--flagfile={PICTURE}", "--size=28"], "--flagfile cannot be read"),
    "no such config": (["shapes", "--config=nosuch.py", "--size=28"], "there is no file nosuch.py"),
    "unknown argument": (["shapes", f"{CONFIG}:huge", "--size=28x28"], "knows the argument 'tiny', not 'huge'"),
    "no size": (["shapes", CONFIG], "--size is missing"),
    "not a size": (["shapes", CONFIG, "--size=28y28"], "'28y28' is neither"),
    "too small": (["shapes", CONFIG, "--size=28x7"], "every side must be at least 8"),
    "unknown field": (["train", CONFIG, "--config.train.epoch=3", "--workdir=W"], "config.train.epochs?"),
    "not a number": (["train", CONFIG, "--config.train.epochs=many", "--workdir=W"], "many"),
    "negative width": (["train", CONFIG, "--config.model.channels=(8,-1)", "--workdir=W"], "config.model.channels"),
    "stride 0": (["train", CONFIG, "--config.model.stride=(0,)", "--workdir=W"], "config.model.stride"),
    "strides too wide": (
        ["train", CONFIG, "--config.model.stride=(999,)", "--config.model.channels=(4,4,4,4)", "--workdir=W"],
        "takes no side below",
    ),
    "unknown norm": (["train", CONFIG, "--config.model.norm=spectral", "--workdir=W"], "batch, group, layer, none"),
    "more classes than labels": (["train", CONFIG, "--config.model.num_classes=11", "--workdir=W"], "num_classes=10"),
    "fewer classes than labels": (["train", CONFIG, "--config.model.num_classes=9", "--workdir=W"], "num_classes=10"),
    "too narrow": (["train", CONFIG, "--config.data.min_side=0", "--workdir=W"], "#8 has size 20×5"),
    "unknown source": (["train", CONFIG, "--config.data.source=cifar", "--workdir=W"], "config.data.source is 'cifar'"),
    "unknown split": (["train", CONFIG, "--config.data.train_split=trane", "--workdir=W"], "'trane'"),
    "no buckets": (["train", CONFIG, "--config.schedule.max_buckets=-1", "--workdir=W"], "config.schedule.max_buckets"),
    "no such weights": (
        [*PUBLISHED, "--config.model.init_from=nosuch", "--workdir=W"],
        "config.model.init_from is 'nosuch', but there is no such file",
    ),
    "weights that are none": (
        [*PUBLISHED, f"--config.model.init_from={__file__}", "--workdir=W"],
        "which is no safetensors file",
    ),
    "weights of nobody's": (
        ["train", CONFIG, "--config.model.init_from=nosuch", "--workdir=W"],
        "not a field of fcn; resnet, convnext, efficientnet have it; fcn has: name, num_classes",
    ),
    "no such family": (["train", CONFIG, "--config.model.name=vgg", "--workdir=W"], "must be one of: resnet, "),
    "a field of no family": (["train", CONFIG, "--config.model.kernle=(3,)", "--workdir=W"], "fcn has: name, "),
    "a field of another family": (
        ["train", f"--config={ROOT / 'configs/resnet18.py'}", "--config.model.bidirectional=True", "--workdir=W"],
        "config.model.bidirectional is not a field of resnet; lstm has it; resnet has: name, ",
    ),
    "fields without a config": (["shapes", "--config.seed=3", "--size=28"], "--config is missing"),
    "frozen nothing": (["train", CONFIG, "--config.train.freeze=stem", "--workdir=W"], "they are net/head/"),
    "no workdir": (["train", CONFIG], "--workdir is missing"),
    "no run": (["evaluate", "--workdir=W"], "holds no run"),
    "predict nothing": (["predict", "--workdir=W"], "no PATH is given"),
    "predict no such file": (["predict", "--workdir=W", "nosuch.png"], "no file or folder 'nosuch.png'"),
    "predict in no format": (["predict", "--workdir=W", __file__, "--format=xml"], "--format=xml is none of"),
    "predict with no net": (["predict", __file__], "give either --workdir=DIR or --artifact=FILE"),
    "predict with two nets": (["predict", __file__, "--workdir=W", "--artifact=A"], "give either --workdir=DIR or"),
    "predict with no run": (["predict", __file__, "--workdir=W"], "holds no run"),
    "cam with no run": (["cam", __file__, "--workdir=W", "--out=D"], "holds no run"),
    "cam of nothing": (["cam", "--workdir=W", "--out=D"], "no PATH is given"),
    "cam to nowhere": (["cam", __file__, "--workdir=W"], "--out is missing"),
    "export no run": (["export", "--workdir=W", "--out=F"], "holds no run"),
    "export to nowhere": (["export", "--workdir=W"], "--out is missing"),
    "export to no folder": (["export", "--workdir=W", "--out=F/net.bin"], "there is no folder F: make it"),
    "export to a folder": (["export", "--workdir=W", "--out=."], "is a folder, but it must be a file"),
    "export under another's name": (["export", "--workdir=W", "--out=net.onnx"], "add --format=onnx"),
    "report no run": (["report", "--workdir=W"], "--workdir=W is no folder"),
    "report an empty folder": (["report", "--workdir=."], "holds no run that can be shown"),
    "plan of nothing": (["plan"], "give either --config=FILE or --sizes=FILE.csv"),
    "plan to a file": (["plan", TABLE, f"--out={__file__}"], "is a file, but it must be a folder"),
    "compile to below a file": (["compile", CONFIG, f"--out={__file__}/deeper"], "is a file, but it must be a folder"),
    "plan of no file": (["plan", "--sizes=nosuch.csv"], "nosuch.csv cannot be read"),
    "plan of another file": (["plan", f"--sizes={__file__}"], "must begin with height,width,count"),
    "plan with no rule": (["plan", TABLE, "--resize=tall:3"], "config.data.resize is 'tall:3'"),
    "too few epochs": (
        ["plan", CONFIG, "--config.train.epochs=1", "--config.train.stage_scales=(0.5,1.0)"],
        "too few for 2 stages",
    ),
    "compile for no chip": (["compile", CONFIG, "--target=tpu:v9:4x4"], "one of the chips v5e, v5p, v6e"),
    "compile no table": (["compile", CONFIG, "--sizes=nosuch.csv"], "nosuch.csv cannot be read"),
    "plan with 0 rows": (["plan", TABLE, "--multiple_of=0"], "multiple_of"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_one_line_and_leaves_nothing(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fcn_jax", *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert len(printed.err.splitlines()) == (1 + len(COMMANDS) if not arguments or arguments == ["fly"] else 1)
    assert not list(tmp_path.iterdir())


NARROW = ["--config.model.blocks=(1,)", "--config.model.channels=(4,4)", "--config.model.stem_stride=2"]


@pytest.mark.parametrize("place", range(len(NARROW) + 2))
def test_the_family_comes_first_wherever_it_stands(place, capsys):
    flags = [CONFIG, *NARROW]
    flags.insert(place, "--config.model.name=resnet")
    assert main(["fcn_jax", "shapes", *flags, "--size=32x32"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("resnet on 32×32")
    assert "(-1, 4, 16, 16)" in printed


def test_flags_keep_their_types(capsys):
    fields = ["--config.data.min_side=12", "--noconfig.model.masked", "--config.train.learning_rate=1", CONFIG]
    fields += ["--config.model.channels=8", "--config.model.channels=16", "--config.data.augment.flip"]
    config = CommandLine(["train", *fields], texts={}, takes_config=True).config
    assert (config.data.min_side, config.model.masked, config.data.augment.flip) == (12, False, True)
    assert (config.train.learning_rate, config.model.channels) == (1.0, (8, 16))


def test_flags_may_stand_in_a_file(tmp_path):
    (tmp_path / "flags").write_text(f"{CONFIG}\n--config.model.channels=8,\n--config.model.name=lstm\n")
    config = CommandLine(["train", f"--flagfile={tmp_path / 'flags'}"], texts={}, takes_config=True).config
    assert config.model == LSTM(channels=(8,))


def test_a_config_file_may_import_its_neighbours_from_any_folder(tmp_path, monkeypatch):
    folder = tmp_path / "launch_files"
    folder.mkdir()
    (folder / "base.py").write_text("from configs.mnist import get_config\n")
    (folder / "mine.py").write_text(
        "from launch_files import base\n\ndef get_config():\n    return base.get_config('tiny')\n"
    )
    monkeypatch.chdir("/")
    assert load_config(str(folder / "mine.py")).train.epochs == 2
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("command", [["fcn_jax", "plan", TABLE, "--max_buckets=2"], ["experiments", "list"]])
def test_a_reader_who_has_seen_enough_is_no_error(command):
    command = [sys.executable, "-m", *command]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_takes(name, capsys):
    assert main(["fcn_jax", name, "--help"]) == 0
    usage, *flags = capsys.readouterr().out.splitlines()
    assert usage == f"python -m fcn_jax {name}: {COMMANDS[name].__doc__}"
    known = [flag.split()[0] for flag in flags]
    assert known
    assert set(re.findall(r"--\w+", usage)) <= set(known)


@pytest.mark.parametrize("asked", ["--help", "-h", "help"])
def test_whoever_asks_is_told_the_commands(asked, capsys):
    assert main(["fcn_jax", asked]) == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()[1:]] == list(COMMANDS)
    assert printed.err == ""
