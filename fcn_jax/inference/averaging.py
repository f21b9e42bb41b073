"""Test-time averaging: a net sees several views of an example, and the mean of its probabilities is the answer.

A view has a scale and may be mirrored. `evaluate.average_scales` and `evaluate.flip` say which views there are.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import overridden
from fcn_jax.config_rules import validate


class View(NamedTuple):
    """How a net sees an example in evaluation."""

    scale: float
    """The factor on its size."""
    is_mirrored: bool


def views_of(scale: float, average_scales: Sequence[float], flip: str) -> tuple[View, ...]:
    """Return the views of a config's fields `evaluate.scale`, `average_scales` and `flip`."""
    mirrored = {"none": (False,), "mirrored": (True,), "both": (False, True)}[flip]
    return tuple(View(scale * factor, side) for factor in average_scales or (1.0,) for side in mirrored)


class Averaging(NamedTuple):
    """The views that a command line asks for; None: those of the run's config."""

    scales: tuple[float, ...] | None = None
    flip: str | None = None

    def on(self, config: Config) -> Config:
        """Return a config with these views.

        Raises:
            UserError: a value is not allowed.
        """
        asked = {"evaluate.average_scales": self.scales, "evaluate.flip": self.flip}
        changed = overridden(config, {path: value for path, value in asked.items() if value is not None})
        validate(changed)
        return changed


AS_THE_RUN = Averaging()
ONE_VIEW = Averaging(scales=(), flip="none")


@runtime_checkable
class HasViews(Protocol):
    """What has the fields of `EvaluateConfig` that say which views there are."""

    @property
    def scale(self) -> float: ...

    @property
    def average_scales(self) -> tuple[float, ...]: ...

    @property
    def flip(self) -> str: ...


def describe_views(seen: HasViews) -> str:
    """Return the views in words, such as `scale 1` or `scales 0.8, 1.25, both mirrored and not`."""
    scales = dict.fromkeys(f"{view.scale:g}" for view in views_of(seen.scale, seen.average_scales, seen.flip))
    sides = {"none": "", "mirrored": ", mirrored", "both": ", both mirrored and not"}[seen.flip]
    return f"scale{'s' if len(scales) > 1 else ''} {', '.join(scales)}{sides}"


def parse_scales(text: str, *, flag: str) -> tuple[float, ...]:
    """Parse scales such as `0.5,1,2`; keep each one once.

    Args:
        flag: the flag that gives them, for the error.

    Raises:
        UserError: a part of the text is not a number.
    """
    scales = []
    for part in text.split(","):
        try:
            scales.append(float(part))
        except ValueError:
            raise UserError(
                f"--{flag}={text}: {part!r} is no number; give one scale or several, such as --{flag}=0.8,1,1.25"
            ) from None
    return tuple(dict.fromkeys(scales))


def configs_of_views(config: Config) -> list[Config]:
    """Return a config for every view that evaluation averages over; a config with one view comes back as it is."""
    evaluate = config.evaluate
    views = views_of(evaluate.scale, evaluate.average_scales, evaluate.flip)
    if len(views) == 1 and not evaluate.average_scales:
        return [config]
    return [
        overridden(
            config,
            {
                "evaluate.scale": view.scale,
                "evaluate.average_scales": (),
                "evaluate.flip": "mirrored" if view.is_mirrored else "none",
            },
        )
        for view in views
    ]


def averaged(logits: Sequence[Float[np.ndarray, "*n k"]], labels: str) -> Float[np.ndarray, "*n k"]:
    """Return the logits of the mean probabilities of some views; one view's logits come back as they are.

    Args:
        labels: what the net's labels are: see `DataConfig.labels`. Each of several labels has a probability of its own.
    """
    if len(logits) == 1:
        return logits[0]
    views = np.stack(logits).astype(np.float64)
    if labels == "several":
        mean = _log_mean_exp(-np.logaddexp(0, -views)) - _log_mean_exp(-np.logaddexp(0, views))
    else:
        mean = _log_mean_exp(views - np.logaddexp.reduce(views, axis=-1, keepdims=True))
    return mean.astype(np.float32)


def _log_mean_exp(values: Float[np.ndarray, "views *n k"]) -> Float[np.ndarray, "*n k"]:
    return np.logaddexp.reduce(values, axis=0) - np.log(len(values))
