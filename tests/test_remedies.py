"""Advice can be followed: wherever an error says which value to set, it is set here, and the error is gone.

Each situation breaks a rule. The values come from the message itself. Every text of the code that advises a value has
to be in a situation, or in `NO_ADVICE` of test_advice.py.
"""

import ast
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from configs import mnist
from fcn_jax import cli
from fcn_jax.command_line import CommandLine
from fcn_jax.commands.plan import plan_of_table
from fcn_jax.config import Config, ModelConfig, UserError
from fcn_jax.config_fields import flatten, get_field, overridden
from fcn_jax.config_rules import validate
from fcn_jax.core.stages import scale_of_epochs
from fcn_jax.data.dataset import _changes, open_dataset
from fcn_jax.data.sources import open_data
from fcn_jax.data.tfds import Features, _unknown_split
from fcn_jax.inference.averaging import parse_scales
from fcn_jax.nets.families import FCN, EfficientNet, Flatten, ResNet, WaveNet
from fcn_jax.nets.model import trace_shapes
from fcn_jax.system.targets import present_target
from fcn_jax.train.compile import CompiledProgram
from fcn_jax.train.optimizer import is_frozen
from fcn_jax.train.out_of_memory import Part, compile_fitting
from fcn_jax.train.setup import Setup, prepare, train_split
from tests.data.conftest import picture

VALUE = r"(?P<value>\([^)]*\)|'[^']*'|(?:[^\s,;)]|,(?=\S))+)"
ASSIGNMENT = re.compile(rf"(?:--)?config\.(?P<path>[a-z_]+(?:\.[a-z_]+)+)={VALUE}")


def remedies(message: str, *, behind: str) -> list[dict[str, str]]:
    """The ways out that a message offers behind some words, each as {path: value as text}."""
    advice = message.rpartition(behind)[2]
    ways, end = [], None
    for found in ASSIGNMENT.finditer(advice):
        if found["value"].endswith("N"):  # A number that the user chooses.
            continue
        if end is None or advice[end : found.start()] not in (" ", " and "):
            ways.append({})
        ways[-1][found["path"]] = found["value"].strip("'")
        end = found.end()
    return ways


def followed(config: Config, way: dict[str, str]) -> Config:
    """The config with the values of a way out, read as the command line reads them."""
    values = {}
    for path, text in way.items():
        old = flatten(config)[path]
        values[path] = text if isinstance(old, str) or path == "model.name" else ast.literal_eval(text)
    return overridden(config, values)


@dataclass(frozen=True)
class Situation:
    """A config that breaks a rule, the check that says so, and how its message goes on to advise."""

    said: str
    """Words of the message that stand in the code."""
    config: Config
    check: Callable[[Config], Any]
    behind: str = ": set "
    ways: int = 1
    """How many ways out the message offers."""


def broken(model: ModelConfig | None = None, **fields: Any) -> Config:
    """A small config with some wrong fields: `train__epochs=3`."""
    config = Config(model=model or FCN(channels=(8,), kernel=(4,), stride=(2,), padding=(1,)))
    config.machine.cache_dir = ""
    for path, value in fields.items():
        *parents, name = path.split("__")
        setattr(get_field(config, ".".join(parents)) if parents else config, name, value)
    return config


def opened(config: Config) -> None:
    validate(config)
    open_dataset(config, "train", smallest_input=8, training=True)


def frozen(config: Config) -> None:
    is_frozen({"net": {"layers": {"0": {"kernel": np.zeros(3)}}, "head": {"bias": np.zeros(2)}}}, config.train.freeze)


def tfds_channels(config: Config) -> None:
    features = Features(
        source="tfds:x",
        value="a",
        label="b",
        rank=1,
        channels=3,
        label_names=("c", "d"),
        kind="float32",
        sampling_rate=None,
    )
    features.check_channels(config.data.channels)


def tfds_split(config: Config) -> None:
    given = {"train": 90, "test": 10}
    for split in (config.data.train_split, config.data.validation_split, config.data.test_split):
        if split.partition("[")[0] not in given:
            raise UserError(_unknown_split("x", split, given, config))


@cache
def small_setup() -> Setup:
    return prepare(broken(), abstract=True)


def fitting(field: str, *, accumulates: bool = False) -> Callable[[Config], None]:
    """A check that a step of `field` needs no more than 100 MiB, at 1 MiB an example that is computed at once."""

    def compile_(setup: Setup) -> list[CompiledProgram]:
        peak = get_field(setup.config, field) / setup.config.train.accumulate
        return [CompiledProgram("train", "", seconds=0.0, peak_mib=peak, gflop=0.0, run=compile_)]

    def check(config: Config) -> None:
        part, memory = (
            Part(field, 8, compile_, compile_, accumulates=accumulates),
            replace(present_target(), memory_mib=100.0),
        )
        setup = replace(small_setup(), config=config)
        compile_fitting(part, setup, memory, lambda smaller: replace(setup, config=smaller))

    return check


def changes(config: Config) -> None:
    _changes(config, config.data.augment, rank=2)


def stages(config: Config) -> None:
    scale_of_epochs(config.train)


def traced(config: Config) -> None:
    trace_shapes(config, (20, 16))


def table_of_sizes(config: Config) -> None:
    plan_of_table(Path(__file__).parent / "core/mnist_tightbox_train.csv", config)


def opened_stages(config: Config) -> None:
    train_split(config, open_data(config), platform="cpu")


def dealt(canvases: str, **fields: Any) -> Config:
    return broken(data__train_split="train[:200]", schedule__canvases=canvases, **fields)


TWO_STAGES: Any = {"train__stage_scales": (0.5, 1.0)}
CONFIGS = [
    Situation("config.train.stage_scales is ()", broken(train__stage_scales=()), validate),
    Situation("keeps no statistics", broken(train__precise_batch_norm=True, model__norm="group"), validate, ways=2),
    Situation("keeps no statistics", broken(WaveNet(), train__precise_batch_norm=True), validate),
    Situation("so steps are computed in micro-steps", broken(train__accumulate=2), validate, ways=3),
    Situation("so steps are computed in micro-steps", broken(schedule__programs="bucket"), validate, ways=3),
    Situation("every_minutes is 0 too", broken(checkpoint__every_steps=0), validate),
    Situation("only several labels have it", broken(checkpoint__best="mean_average_precision"), validate, ways=2),
    Situation("an example is of no one class", broken(data__balance=0.5, data__labels="several"), validate, ways=2),
    Situation("never falls", broken(train__restarts=2, train__decay="constant"), validate, ways=2),
    Situation("names no metric", broken(train__patience=3), validate, ways=2),
    Situation("nothing is validated", broken(checkpoint__best="loss", train__evaluate_every_epochs=0), validate),
    Situation("a stratified step always holds", broken(schedule__positions_per_step=100), validate, ways=2),
    Situation("dealt out to examples", broken(schedule__canvases="size", data__balance=0.5), validate, ways=2),
    Situation("which has no classes", broken(schedule__canvases="size"), table_of_sizes),
    Situation("bits of the class: set", dealt("class:9"), opened_stages),
    Situation("has at least one class: set", dealt("size", schedule__max_buckets=0), opened_stages),
    Situation("config.model.group_size is", broken(model__norm="group", model__channels=(12, 18)), validate),
    Situation("have BatchNorm", broken(ResNet(norm="group", init_from="x")), validate, behind="; set "),
    Situation("but a deep stem begins with", broken(ResNet(deep_stem=True, channels=(9,))), validate),
    Situation("group_size must divide it", broken(EfficientNet(norm="group", head_channels=4)), validate),
    Situation("too few for", broken(**TWO_STAGES, train__epochs=1), stages, behind="; set "),
    Situation("too few for", broken(**TWO_STAGES, train__stage_shares=(1.0, 1e6)), stages, behind="; set "),
    Situation("a weight for each of", broken(Flatten()), traced, behind="takes any size ("),
    Situation("fits all", broken(train__freeze="net"), frozen),
    Situation("but the signals of", broken(data__channels=2), tfds_channels, ways=2),
    Situation("--config.data.", broken(), tfds_split),
    Situation("JAPANESE_VOWELS_CHANNELS", broken(data__source="japanese_vowels", model__num_classes=9), opened),
    Situation(
        "channels are no colours",
        broken(data__source="arrays:", data__channels=5, data__augment__saturation=0.5),
        changes,
    ),
    Situation(
        "change 8 bits of grey or colour",
        broken(data__pixel_range="dtype", data__augment__policy="rand"),
        changes,
    ),
    Situation("only files are read at full depth", broken(data__pixel_range="0,9"), opened),
    Situation("the largest that fits", broken(schedule__examples_per_step=512), fitting("schedule.examples_per_step")),
    Situation("the largest that fits", broken(), fitting("evaluate.examples_per_step")),
    Situation("in parts that fit", broken(), fitting("schedule.examples_per_step", accumulates=True), ways=2),
]  # fmt: skip


def follow(situation: Situation) -> None:
    with pytest.raises(UserError) as error:
        situation.check(situation.config)
    ways = remedies(str(error.value), behind=situation.behind)
    assert len(ways) == situation.ways, str(error.value)
    for way in ways:
        situation.check(followed(situation.config, way))


@pytest.mark.parametrize("situation", CONFIGS, ids=lambda situation: situation.said)
def test_the_advice_about_a_config_helps(situation):
    follow(situation)


def pictures(top: Path, *, kinds: int = 3, size: tuple[int, int] = (12, 12)) -> str:
    for kind in range(kinds):
        for number in range(2):
            picture(top / "train" / f"kind {kind}" / f"{number}.png", size)
    for split in ("validation", "test"):
        picture(top / split / "kind 0/0.png", size)
    return f"folder:{top}"


def tones(top: Path) -> str:
    for folder in ("train/a", "train/b", "validation/a", "test/a"):
        (top / folder).mkdir(parents=True)
        soundfile.write(top / folder / "0.wav", np.zeros((100, 2)), 8000)
    return f"folder:{top}"


def of_data(said: str, top: Path) -> Situation:
    match said:
        case "has label":
            return Situation(said, broken(data__source=pictures(top), model__num_classes=2), opened)
        case "has only":
            return Situation(said, broken(data__source=pictures(top), model__num_classes=5), opened)
        case "does not widen it":
            source = pictures(top, size=(4, 12))
            config = broken(data__source=source, model__num_classes=3, data__min_side=0)
            return Situation(said, config, opened, behind="or set ")
        case "if all signals have as many":
            config = broken(data__source=tones(top), data__channels=3, model__num_classes=2)
            return Situation(said, config, opened, ways=2)
        case "use paths below":
            pictures(top / "files")
            rows = "".join(f"{path},{path.parent.name},{path.parts[-3]}\n" for path in top.rglob("*.png"))
            (top / "table.csv").write_text(f"path,label,split\n{rows}")
            config = broken(data__source=f"table:{top / 'table.csv'}", model__num_classes=3)
            return Situation(said, config, opened, behind="absolute ones with ")
        case "are bad, more than":
            source = pictures(top)
            (top / "train/kind 0/0.png").write_bytes(b"no picture")
            return Situation(said, broken(data__source=source, model__num_classes=3), opened, behind="train with ")
        case "cannot hold several":
            config = broken(data__source=pictures(top), data__labels="several", model__num_classes=3)
            return Situation(said, config, opened, behind="or set ")
        case "labels: set":
            pictures(top)
            rows = "".join(
                f"{path.relative_to(top)},{path.parent.name},{path.parts[-3]}\n" for path in top.rglob("*.png")
            )
            (top / "table.csv").write_text(f"path,label,split\n{rows}")
            config = broken(data__source=f"table:{top / 'table.csv'}", data__labels="several", model__num_classes=2)
            return Situation(said, config, opened)
        case "beside others":
            pictures(top)
            picture(top / "notes/page/0.png")
            return Situation(said, broken(data__source=f"folder:{top}", model__num_classes=3), listed, ways=2)
        case "but no train":
            pictures(top)
            shutil.rmtree(top / "train")
            return Situation(said, broken(data__source=f"folder:{top}"), listed, behind="or set ")
        case "folders that mean":
            pictures(top)
            picture(top / "val/kind 0/0.png")
            config = broken(data__source=f"folder:{top}", model__num_classes=3)
            return Situation(said, config, listed, ways=3)
        case "which resamples them":
            source = tones(top)
            soundfile.write(top / "train/a/1.wav", np.zeros(100), 16000)
            config = broken(data__source=source, model__num_classes=2)
            return Situation(said, config, opened, behind="train with ")
    raise AssertionError(said)


def listed(config: Config) -> None:
    open_data(config)


DATA = [
    "has label",
    "has only",
    "does not widen it",
    "if all signals have as many",
    "use paths below",
    "are bad, more than",
    "cannot hold several",
    "labels: set",
    "beside others",
    "but no train",
    "folders that mean",
    "which resamples them",
]


@pytest.mark.parametrize("said", DATA)
def test_the_advice_about_data_helps(tmp_path, said):
    follow(of_data(said, tmp_path))


def test_one_class_is_no_reason_to_set_a_number_of_classes(tmp_path):
    for num_classes in (2, 10):
        config = broken(data__source=pictures(tmp_path, kinds=1), model__num_classes=num_classes)
        with pytest.raises(UserError, match="has only one class, kind 0, but a classifier needs at least two") as error:
            opened(config)
        assert "num_classes" not in str(error.value)


def message_of(*argv: str) -> str:
    with pytest.raises(UserError) as error:
        CommandLine([*argv], texts={"workdir": ""}, takes_config=True)
    return str(error.value)


def test_the_advice_about_a_command_line_helps():
    config = "--config=mnist:tiny"
    meant = re.search(r"did you mean (config\.\S+)\?", message_of("train", config, "--config.train.epoch=3"))
    assert meant is not None
    assert CommandLine(["train", config, f"--{meant[1]}=3"], texts={}, takes_config=True).config.train.epochs == 3
    meant = re.search(r"did you mean (--\S+)\?", message_of("train", config, "--wrkdir=a"))
    assert meant is not None
    assert CommandLine(["train", config, f"{meant[1]}=a"], texts={"workdir": ""}, takes_config=True).given("workdir")
    for advised in re.findall(r"--config=[\w./]+", message_of("train", "--config.train.epochs=3")):
        assert CommandLine(["train", advised], texts={}, takes_config=True).config == mnist.get_config()
    with pytest.raises(UserError) as error:
        parse_scales("a", flag="scale")
    assert parse_scales(str(error.value).rpartition("--scale=")[2], flag="scale") == (0.8, 1, 1.25)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_command_without_a_flag_says_which_command_has_it(monkeypatch, capsys, command):
    def fail(argv: list[str]) -> None:
        raise UserError("it is wrong: set --config.model.num_classes=3")

    takes_it = "config" in (cli.COMMANDS[command].__doc__ or "")
    monkeypatch.setitem(cli.COMMANDS, command, fail)
    assert cli.main(["fcn_jax", command]) == 2
    assert ("such a flag is for train" in capsys.readouterr().err) == (not takes_it)
