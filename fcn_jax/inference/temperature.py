"""Temperature scaling: logits are divided by one number, fitted on validation, so that probabilities become honest.

Source: Guo et al., "On calibration of modern neural networks", arXiv:1706.04599. It never changes which class is the
most probable one. The file temperature.json of a workdir keeps the number.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from fcn_jax.config import UserError
from fcn_jax.config_fields import from_dict
from fcn_jax.system.console import say
from fcn_jax.system.disk import parse_json, write_json, writing

LOWEST, HIGHEST = 0.05, 20.0
FILE = "temperature.json"


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature."""

    temperature: float
    step: int
    """Training step of the checkpoint that it was fitted for."""
    views: str
    """How the net saw the examples: see `describe_views`."""
    split: str
    examples: int
    """Number of examples that it was fitted on."""
    loss_before: float
    loss_after: float
    """Their mean loss, in nats."""

    def describe(self) -> str:
        """Return a line for people."""
        return (
            f"temperature {self.temperature:.3f}, fitted on {self.examples:,} examples of {self.split}: their loss is "
            f"{self.loss_after:.4f} with it, {self.loss_before:.4f} without"
        )


def fit_temperature(
    mean_loss: Callable[[float], float], *, step: int, views: str, split: str, examples: int
) -> Temperature:
    """Fit the temperature with the least loss.

    Args:
        mean_loss: the mean loss of the examples at a temperature, in nats.
    """
    bounds = (np.log(LOWEST), np.log(HIGHEST))
    found = minimize_scalar(lambda log: mean_loss(float(np.exp(log))), bounds=bounds, method="bounded")
    temperature = float(np.exp(found.x))
    return Temperature(temperature, step, views, split, examples, mean_loss(1.0), mean_loss(temperature))


def write_temperature(workdir: Path, fitted: Temperature | None) -> None:
    """Keep a temperature in a workdir; None: forget the one that is kept."""
    path = workdir / FILE
    if fitted is None:
        with writing(path):
            path.unlink(missing_ok=True)
    else:
        write_json(path, asdict(fitted))


def read_temperature(workdir: Path, *, step: int, views: str) -> float:
    """Return the temperature that a workdir keeps for a checkpoint and some views, and say so; 1 if it keeps none.

    Raises:
        UserError: the file is damaged.
    """
    path = workdir / FILE
    if not path.exists():
        return 1.0
    remedy = "run evaluate --temperature=fit again, or delete the file"
    try:
        kept = from_dict(Temperature, parse_json(path.read_text(encoding="utf-8")), prefix=str(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): {remedy}") from error
    if not LOWEST <= kept.temperature <= HIGHEST:
        raise UserError(f"{path} is damaged: temperature {kept.temperature} is not {LOWEST:g} to {HIGHEST:g}: {remedy}")
    for then, now in ((f"step {kept.step}", f"step {step}"), (kept.views, views)):
        if then != now:
            say(f"{path} was fitted for {then}, but {now} is used here, so it has no effect: {remedy}")
            return 1.0
    say(f"probabilities use a {kept.describe()}")
    return kept.temperature
