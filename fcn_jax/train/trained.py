"""What training left in a workdir, without the data it was trained on: the net, its classes, its buckets."""

from dataclasses import dataclass
from pathlib import Path

import jax
from flax import nnx

from fcn_jax.config import Config
from fcn_jax.config_rules import validate
from fcn_jax.data.buckets import BucketPlan
from fcn_jax.json_text import parse_json
from fcn_jax.models.model import Model, abstract_model
from fcn_jax.train.checkpoint import restore_latest
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.state import abstract_state, split_model
from fcn_jax.train.workdir import LABELS, read_config


@dataclass(frozen=True)
class Trained:
    """A trained net."""

    config: Config
    plan: BucketPlan
    label_names: tuple[str, ...]
    model: Model
    """With what evaluation uses as its parameters."""
    step: int

    @property
    def rank(self) -> int:
        return len(self.plan.shapes[0])


def restore_trained(workdir: Path, *, convolution: str | None = None, strict: bool = False) -> Trained:
    """The newest whole checkpoint of a run, on the first device.

    Args:
        convolution: in place of the run's `model.convolution`.
        strict: the newest of all checkpoints has to be whole.

    Raises:
        ValueError: there is no run, no checkpoint, or a file is missing or damaged.
    """
    config = read_config(workdir)
    config.model.convolution = convolution or config.model.convolution
    validate(config)
    plan = _read_plan(workdir)
    label_names = _read_labels(workdir, config)
    graphdef, params, stats = split_model(abstract_model(config, rank=len(plan.shapes[0])))
    # The number of steps decides the learning rate, not the shape of the state.
    optimizer = make_optimizer(config.train, warmup_steps=0, total_steps=1)
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    average = config.train.ema_decay > 0
    target = abstract_state(params, stats, optimizer, average=average, place=place)
    state = restore_latest(workdir, target, strict=strict)
    model = nnx.merge(graphdef, state.evaluated_params, state.stats)
    return Trained(config, plan, label_names, model, step=int(state.step))


def _read_plan(workdir: Path) -> BucketPlan:
    path = workdir / "plan.json"
    try:
        return BucketPlan.from_json(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be used ({error}): train this workdir again") from error


def _read_labels(workdir: Path, config: Config) -> tuple[str, ...]:
    path, again = workdir / LABELS, "run the train command of this workdir again, which writes it"
    try:
        names = parse_json(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be used ({error}): {again}") from error
    if not isinstance(names, list) or [type(name) for name in names] != [str] * config.model.num_classes:
        raise ValueError(f"{path} holds no list of {config.model.num_classes} names: {again}")
    return tuple(names)
