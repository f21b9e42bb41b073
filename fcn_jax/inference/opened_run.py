"""A trained net and the split that it is evaluated on: of the run's own data, or of other data.

Whatever differs from what the net was trained on is said: data that changed, classes that do not match.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from fcn_jax.config import Config, EvaluateConfig, UserError
from fcn_jax.config_data import AugmentConfig
from fcn_jax.config_fields import overridden
from fcn_jax.config_rules import validate
from fcn_jax.core.step import TrainState
from fcn_jax.data.classes import compare_classes
from fcn_jax.data.file_source import FileData
from fcn_jax.data.files import IMAGES, SIGNALS
from fcn_jax.data.listing import ALL
from fcn_jax.data.meaning import check_meaning
from fcn_jax.data.source import OpenSplit, Source
from fcn_jax.data.sources import SOURCES, Reordered, describe_sources, open_data
from fcn_jax.data.splits import SPLITS, TAKEN_OUT, parse_part, split_named, trained_on_too
from fcn_jax.inference.averaging import configs_of_views
from fcn_jax.inference.classifier import read_plan
from fcn_jax.system.cache import use_compilation_cache
from fcn_jax.system.console import say
from fcn_jax.system.processes import check_shared, together
from fcn_jax.train.checkpoint import check_has_checkpoints, read_checkpoint
from fcn_jax.train.setup import Setup, Split, prepare_together
from fcn_jax.train.workdir import changes_since_begun, read_labels, read_meaning, warning_of_training_data


@dataclass(frozen=True)
class OpenedRun:
    """A trained net and the split that it is evaluated on."""

    setup: Setup
    state: TrainState
    split: Split
    split_name: str
    """The split as the command line names it."""
    part: str
    """The split as the data set names it, such as `test[:128]`."""

    @property
    def step(self) -> int:
        return int(self.state.step)

    @property
    def scale(self) -> float:
        return self.setup.config.evaluate.scale

    @property
    def is_averaged(self) -> bool:
        """Whether other views of an example than the config's own make its answer."""
        return configs_of_views(self.setup.config) != [self.setup.config]

    def say_data(self) -> None:
        """Say what was taken of the data."""
        train, own = self.setup.train.dataset.source, self.split.dataset.source
        sources = {self.split_name: own} if train is own else {"train": train, self.split_name: own}
        for line in describe_sources(self.setup.config.data.source, sources):
            say(line)


def configs_at_scales(config: Config, scales: Sequence[float]) -> list[Config]:
    """Return the config of a run for every test scale; without any scale, for its own.

    Raises:
        UserError: a scale is not allowed.
    """
    # Every example is read only once, so a cache of decoded examples is of no use.
    configs = [
        overridden(config, {"evaluate.scale": scale, "machine.cache_mib": 0})
        for scale in scales or [config.evaluate.scale]
    ]
    for each in configs:
        validate(each)
    return configs


def open_run(
    workdir: Path,
    config: Config,
    split: str | None,
    *,
    data: str | None = None,
    which: str | None = None,
    strict: bool = False,
) -> OpenedRun:
    """Restore a checkpoint of a run that is whole, and open a split.

    Args:
        split: `train`, `validation` or `test` as the config defines them, or any part such as `test[:100]`; None: test
            or, if other data has no splits, all of it.
        data: other data than that of the run, such as `folder:DIR`; its classes are matched by name.
        which: the checkpoint: see `read_checkpoint`.
        strict: refuse the run if its newest checkpoint is damaged.

    Raises:
        UserError: there is no checkpoint or no such split, or the data has another meaning than that of the run.
    """
    use_compilation_cache(config.machine)
    check_shared(workdir / "checkpoints")
    with together():
        check_has_checkpoints(workdir)
        label_names = read_labels(workdir)
    set_up = partial(prepare_together, abstract=True, label_names=label_names)
    if data is None:
        split, setup = split or "test", set_up(config)
        part, chosen = _own_data(workdir, setup, split)
    else:
        split, changed, source = _other_data(workdir, config, data, split, label_names)
        with together():
            _check_rank(source, data, trained=len(read_plan(workdir).shapes[0]))
        part, setup = split, set_up(changed, opener=lambda _: lambda _: source)
        with together():
            chosen = setup.split(split)
    with together():
        restored = read_checkpoint(workdir, setup.state, config.checkpoint, which=which, strict=strict)
        meaning = read_meaning(workdir, restored)
        check_meaning(chosen.dataset.source, meaning, data=setup.config.data.source)
    return OpenedRun(setup, restored.state, chosen, split, part)


def with_views(run: OpenedRun, evaluate: EvaluateConfig) -> OpenedRun:
    """Return the same net and split with other views of the examples; nothing is listed or restored again."""
    setup = prepare_together(
        replace(run.setup.config, evaluate=evaluate),
        abstract=True,
        opener=lambda _: run.setup.open_split,
        label_names=run.setup.train.dataset.source.label_names,
    )
    with together():
        split = setup.split(run.part)
    return replace(run, setup=setup, split=split)


def _own_data(workdir: Path, setup: Setup, split: str) -> tuple[str, Split]:
    """Return the name and the examples of a split of the run's own data; say what changed since the run began.

    A part such as `validation[:100]` is a part of the split as the config defines it.
    """
    data = setup.config.data
    own = {"train": data.train_split, "validation": data.validation_split, "test": data.test_split}
    name, bracket, _ = split.partition("[")
    name = split_named(name) or split
    with together():
        part = own.get(name, split)
        whole = setup.split(own[name]) if name in own else None
        if bracket and name in own:
            part = part_of_own(own[name], split)
        chosen = setup.split(part) if whole is None or part != own[name] else whole
        changes = [] if whole is None else changes_since_begun(whole, name, workdir)
    for change in changes:
        say(f"WARNING: the data changed since the run in {workdir} began: {change}")
    if note := trained_on_too(data).get(name):
        say(f"WARNING: {note}")
    return part, chosen


def part_of_own(own: str, asked: str) -> str:
    """Return the name, as the data set has it, of a part of a split that a config defines.

    Args:
        own: the split in the config, such as `train[1000:2000]`.
        asked: the part, such as `validation[:100]`.

    Raises:
        UserError: one of them has another form.
    """
    asked_of, second = parse_part(asked)
    try:
        name, first = parse_part(own)
    except UserError:
        raise UserError(
            f"--split={asked} is a part of {asked_of}, but the config of this run takes {own} for it, which has no "
            f"parts: evaluate all of it with --split={asked_of}"
        ) from None
    start = first.start + second.start
    ends = [first.stop, None if second.stop is None else first.start + second.stop]
    stop = min((end for end in ends if end is not None), default="")
    return f"{name}[{start or ''}:{stop}]"


def _other_data(
    workdir: Path, config: Config, data: str, split: str | None, label_names: tuple[str, ...]
) -> tuple[str, Config, Reordered]:
    """Return the name of a split of other data, a config for that data, and the split's source.

    Say which classes do not match, and whether all of the data holds what the net was trained on.
    """
    readable = [known for known in SOURCES if not known.startswith("sizes:")]
    if data.partition(":")[0] not in {known.partition(":")[0] for known in readable}:
        raise UserError(f"--data is {data!r}, but it must be one of: {', '.join(readable)}")
    with together():
        # Nothing is taken out of train unless a split is asked for.
        pattern = config.data.group_pattern if split else ""
        folders = "classes" if config.data.folders == "classes" else "auto"
        # What cannot be read is said and counted; a run that may not be changed cannot allow more of it.
        fields = {
            "data.source": data,
            "data.folders": folders,
            "data.group_pattern": pattern,
            "data.max_bad_fraction": 1.0,
            "data.balance": 0.0,
        }
        found = open_data(overridden(config, fields), is_new=True)
        if split is None:
            has_no_test = isinstance(found, FileData) and TAKEN_OUT in found.listing.origins["test"]
            split = ALL if has_no_test else "test"
        if split == ALL and (warning := _warning(found, data, workdir)):
            say(warning)
        if changed := compare_classes(found(split).label_names, label_names):
            say(f"{data}: classes are matched by name; {changed}")
        source = Reordered(found(split), label_names)
        source.loss_weights = None  # Nothing is trained.
        if source.num_left_out:
            say(f"{source.num_left_out:,} examples of {data} are left out: the net does not know their classes")
    splits = {f"data.{name}_split": split for name in SPLITS}
    unchanged = {f"data.augment.{name}": value for name, value in asdict(AugmentConfig()).items()}
    return split, overridden(config, {**fields, **unchanged, **splits}), source


def _warning(found: OpenSplit, data: str, workdir: Path) -> str:
    """Return a warning if other data holds what the net was trained on; empty if not."""
    if not isinstance(found, FileData) or "train" not in found.listing.splits:
        return ""
    return warning_of_training_data(found("train"), data, workdir)


def _check_rank(source: Source, data: str, *, trained: int) -> None:
    """Check that other data holds images if the net was trained on images, and signals if on signals."""
    kinds, rank = {IMAGES: "images", SIGNALS: "signals"}, source.sizes.shape[1]
    if rank != trained:
        raise UserError(f"{data} holds {kinds[rank]}, but the net was trained on {kinds[trained]}: give it these")
