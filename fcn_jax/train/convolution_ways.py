"""The faster way of every convolution of a net, timed on this machine: `model.convolution=measured`.

Forward pass and gradient of each convolution are timed alone, on the largest block that reaches it. A run keeps the
ways in config.json, and computes in them ever after: it resumes to the same bits.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import jaxprs_in_params

from fcn_jax.config import Config
from fcn_jax.config_fields import overridden
from fcn_jax.core.block import abstract_block, value_type
from fcn_jax.core.convolution import convolve_direct, convolve_patches
from fcn_jax.core.geometry import Window, format_size
from fcn_jax.nets.model import abstract_model, way_name
from fcn_jax.system.console import say

ROUNDS = 5
SECONDS_OF_A_ROUND = 0.05


@dataclass(frozen=True)
class Case:
    """A convolution, and the block of maps that it gets."""

    rows: int
    size: tuple[int, ...]
    features: tuple[int, int]
    window: Window

    @property
    def positions(self) -> int:
        return self.rows * math.prod(self.size)

    def __str__(self) -> str:
        before, after = self.features
        window = self.window.describe(len(self.size))
        return f"{window}, {before} → {after} channels, {self.rows} × {format_size(self.size)}"


def with_measured_ways(config: Config, blocks: Sequence[tuple[int, tuple[int, ...]]]) -> Config:
    """Return the config with the faster way of every convolution, and say how many take which.

    Args:
        blocks: rows and canvas of every block of a step.
    """
    began = time.perf_counter()
    dtype = jnp.dtype(config.model.dtype)
    ways = {case: min(times.items(), key=lambda item: item[1])[0] for case, times in _timed(config, blocks, dtype)}
    patches = sum(way == "patches" for way in ways.values())
    say(
        f"convolutions: {len(ways)} timed in {time.perf_counter() - began:.0f} s; {patches} are faster by patches, "
        f"{len(ways) - patches} direct"
    )
    names = tuple(way_name(way, case.features, case.window) for case, way in ways.items())
    return overridden(config, {"model.convolution_ways": names})


def _timed(
    config: Config, blocks: Sequence[tuple[int, tuple[int, ...]]], dtype: Any
) -> Iterator[tuple[Case, dict[str, float]]]:
    for case in convolutions_of(config, blocks):
        yield case, milliseconds_of_ways(case, dtype)


def milliseconds_of_ways(case: Case, dtype: Any = jnp.float32) -> dict[str, float]:
    """Return the milliseconds of forward pass and gradient for each way, {way: median of rounds in turns}."""
    x = jax.random.normal(jax.random.key(0), (case.rows, *case.size, case.features[0]), dtype)
    kernel = jax.random.normal(jax.random.key(1), (*[case.window.kernel] * len(case.size), *case.features), dtype)

    def step_of(way: Callable[..., jax.Array]) -> Callable[[], Any]:
        gradient = jax.jit(jax.value_and_grad(lambda x, k: jnp.square(way(x, k, case.window)).mean(), argnums=(0, 1)))
        return lambda: jax.block_until_ready(gradient(x, kernel))

    steps = {"direct": step_of(convolve_direct), "patches": step_of(convolve_patches)}
    taken: dict[str, list[float]] = {way: [] for way in steps}
    for step in steps.values():
        step()  # Compiles it.
    for _ in range(ROUNDS):
        for way, step in steps.items():
            taken[way].append(_milliseconds(step))
    return {way: statistics.median(times) for way, times in taken.items()}


def _milliseconds(step: Callable[[], Any]) -> float:
    calls, began = 0, time.perf_counter()
    while calls < 2 or time.perf_counter() - began < SECONDS_OF_A_ROUND:
        step()
        calls += 1
    return 1e3 * (time.perf_counter() - began) / calls


def convolutions_of(config: Config, blocks: Sequence[tuple[int, tuple[int, ...]]]) -> list[Case]:
    """Return the convolutions of a net that could take either way, each once, with the largest block that reaches it.

    Args:
        blocks: rows and canvas of every block of a step.
    """
    direct = overridden(config, {"model.convolution": "direct"})
    graphdef, state = nnx.split(abstract_model(direct, rank=len(blocks[0][1])))
    values = value_type(len(blocks[0][1]), config.data.pixel_range)
    step = tuple(abstract_block(rows, canvas, config.data.channels, values) for rows, canvas in blocks)

    def logits(state, step):
        return [prediction.logits for prediction in nnx.merge(graphdef, state)(step, training=False)]

    largest: dict[tuple[tuple[int, int], Window], Case] = {}
    for case in _cases_in(jax.make_jaxpr(logits)(state, step).jaxpr):
        known = largest.get((case.features, case.window))
        if known is None or case.positions > known.positions:
            largest[case.features, case.window] = case
    return list(largest.values())


def _cases_in(jaxpr: Any) -> Iterator[Case]:
    """Yield the convolutions of a program with one group of channels, in their order."""
    for equation in jaxpr.eqns:
        for inner in jaxprs_in_params(equation.params):
            yield from _cases_in(inner)
        if equation.primitive.name == "conv_general_dilated" and equation.params["feature_group_count"] == 1:
            x, kernel = (variable.aval.shape for variable in equation.invars)
            window = Window(
                kernel[0],
                stride=equation.params["window_strides"][0],
                dilation=equation.params["rhs_dilation"][0],
                padding=equation.params["padding"][0][0],
            )
            yield Case(x[0], tuple(x[1:-1]), (kernel[-2], kernel[-1]), window)
