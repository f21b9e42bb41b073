"""Evaluation of a run's newest checkpoint on a split, at any test scale.

It gives sums alone, or an answer for every example. Either way every example counts once, and an example that cannot be
read is named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int

from fcn_jax.config import Config, UserError, validate
from fcn_jax.config_fields import overridden
from fcn_jax.core.step import TrainState
from fcn_jax.data.bad_examples import first_of
from fcn_jax.data.dataset import Dataset
from fcn_jax.inference.statistics import Answers, Statistics, answers_of, statistics_of
from fcn_jax.system.machine import use_compilation_cache
from fcn_jax.system.processes import check_shared, together
from fcn_jax.train.checkpoint import restore_latest
from fcn_jax.train.compile import compile_programs
from fcn_jax.train.passes import evaluate, split_logits
from fcn_jax.train.setup import Setup, Split, dividing_devices, prepare_together


@dataclass(frozen=True)
class OpenedRun:
    """A trained net and the split that it is evaluated on."""

    setup: Setup
    state: TrainState
    split: Split

    @property
    def step(self) -> int:
        return int(self.state.step)

    @property
    def scale(self) -> float:
        return self.setup.config.evaluate.scale


@dataclass(frozen=True)
class Evaluation:
    """The answers of a net for a whole split at one test scale."""

    split: str
    step: int
    """Training step of the checkpoint."""
    scale: float
    dataset: Dataset
    answers: Answers
    bad: dict[str, str]
    """The examples that could not be read: {name: reason}."""

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.dataset.source.label_names

    @cached_property
    def names(self) -> list[str]:
        """Names of the answers' examples."""
        return [as_text(self.dataset.source.name(index)) for index in self.answers.index.tolist()]

    @cached_property
    def findings(self) -> Statistics:
        return statistics_of(self.answers, len(self.label_names))

    @property
    def means(self) -> dict[str, float]:
        """The same numbers as `evaluated` returns: {loss, accuracy, count}."""
        accuracy = self.answers.accuracy
        return {"loss": self.answers.mean_loss, "accuracy": accuracy.value, "count": accuracy.examples}


def as_text(name: str) -> str:
    """Return a name that can be written to a file; bytes of a path that are no text are escaped."""
    return name.encode(errors="backslashreplace").decode()


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


def open_run(workdir: Path, config: Config, split: str, *, strict: bool = False) -> OpenedRun:
    """Restore the newest undamaged checkpoint of a run, and open a split.

    Args:
        split: `train`, `validation` or `test` as the config defines them, or any part such as `test[:100]`.
        strict: refuse the run if its newest checkpoint is damaged.

    Raises:
        UserError: there is no checkpoint or no such split.
    """
    use_compilation_cache(config.machine)
    with together():
        devices = dividing_devices(config)
    setup = prepare_together(config, abstract=True, devices=devices)
    check_shared(workdir / "checkpoints")
    data = config.data
    own = {"train": data.train_split, "validation": data.validation_split, "test": data.test_split}
    with together():
        chosen = setup.split(own.get(split, split))
    with together():
        state = restore_latest(workdir, setup.state, strict=strict)
    return OpenedRun(setup, state, chosen)


def evaluated(run: OpenedRun, *, title: str) -> dict[str, float]:
    """Evaluate a split and return {loss, accuracy, count}; memory holds no more than a step's examples."""
    programs = compile_programs(run.setup, train=False, splits=(run.split,))
    return evaluate(run.setup, programs, run.state, run.split, title=title)


def answered(run: OpenedRun, *, title: str) -> Evaluation:
    """Evaluate a split and return an answer for every example.

    Raises:
        UserError: no example or too few examples can be read, or logits are not finite.
    """
    dataset = run.split.dataset
    logits = split_logits(run.setup, run.state, run.split, title=f"{title} at scale {run.scale:g}")
    known = np.isfinite(logits).all(1)
    bad = dataset.bad.reasons
    _check_finite(dataset, np.flatnonzero(~known))
    index = np.flatnonzero(known)
    if not len(index):
        raise UserError(f"no example of {title} can be read: {first_of(bad)}")
    answers = answers_of(logits[index], index=index, size=dataset.source.sizes[index], label=dataset.labels[index])
    bad = {as_text(name): reason for name, reason in bad.items()}
    return Evaluation(title, run.step, run.scale, dataset, answers, bad)


def _check_finite(dataset: Dataset, without_answer: Int[np.ndarray, " n"]) -> None:
    """Check that the examples without an answer are those that could not be read.

    Raises:
        UserError: an example was read, but its logits are not finite.
    """
    unread = dataset.bad.unread
    for index in without_answer.tolist():
        if (name := dataset.source.name(index)) not in unread:
            raise UserError(
                f"the logits of {name} are not finite, though it can be read: look at its values, or train this net "
                "again with a smaller learning rate"
            )
