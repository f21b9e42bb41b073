"""What a run costs, so that `schedule_search` can choose buckets and programs: from a table, or measured here.

The table has the rates of each kind of device. A net's costs follow from its multiplications and its layers. So the
same config chooses the same buckets on every machine with that kind of device. A run keeps its costs in config.json,
and goes on with them on any device.
"""

import math
import time
from dataclasses import dataclass, replace

import jax
import numpy as np

from fcn_jax.config import Config
from fcn_jax.core.block import Block, filler_block, value_type
from fcn_jax.core.schedule_search import Costs
from fcn_jax.core.step import make_loss, split_model
from fcn_jax.nets.model import make_model, trace_shapes


@dataclass(frozen=True)
class Rates:
    """The speed of a kind of device in training, in seconds."""

    multiplication: float
    """One multiplication of the forward pass, with its share of the backward pass."""
    compile_layer: float
    """Compiling one layer of one block of a training program."""
    layer_step: float
    """Starting one layer of one block in one step."""


RATES = {
    "cpu": Rates(1e-10, 0.12, 5e-5),
    "gpu": Rates(1e-13, 0.1, 4e-5),
    "tpu": Rates(1e-12, 0.3, 5e-6),
}
"""Rates by platform. benchmarks/costs.md has what was timed. cpu: two cores. gpu: one H100. tpu: one v5e chip, from its
peak and from what its compiler takes on a few cores, since no TPU was at hand."""
EVALUATION_SHARE = 0.5
"""Seconds of compiling a bucket for evaluation / seconds of compiling a block of a training step."""


def costs_of(config: Config, sizes: np.ndarray, *, platform: str) -> Costs:
    """Return the costs that the config keeps; else measure them if it says so, or take them from the table.

    Args:
        sizes: [n, r] sizes of the data; one that is about as large as the mean stands for all.
    """
    if config.schedule.costs:
        return Costs(*config.schedule.costs)
    area = sizes.prod(axis=1, dtype=np.int64)
    size = tuple(sizes[np.abs(area - area.mean()).argmin()].tolist())
    return (
        measured_costs(config, size) if config.schedule.measure_costs else table_costs(config, size, platform=platform)
    )


def table_costs(config: Config, size: tuple[int, ...], *, platform: str) -> Costs:
    """Return the costs of a config's net, from the table.

    Args:
        size: a size that is common in the data.
        platform: the kind of device: cpu, gpu or tpu; any other counts as gpu.
    """
    rates = RATES.get(platform, RATES["gpu"])
    records = trace_shapes(config, size)
    multiplications = sum(record.parameters * math.prod(record.canvas) for record in records) / math.prod(size)
    layers = sum(record.parameters > 0 for record in records)
    return Costs(
        position=multiplications * rates.multiplication,
        compile_block=layers * rates.compile_layer,
        compile_evaluation=layers * rates.compile_layer * EVALUATION_SHARE,
        block_step=layers * rates.layer_step,
    )


def measured_costs(config: Config, size: tuple[int, ...]) -> Costs:
    """Measure the costs of a config's net on the first device of this process; this compiles three small steps."""
    graphdef, params, stats = split_model(make_model(config, rank=len(size)))
    gradient = jax.jit(jax.grad(make_loss(graphdef, config.train, labels=config.data.labels), has_aux=True))
    rows = max(1, config.schedule.examples_per_step // 4)

    def seconds(*rows_of_blocks: int) -> tuple[float, float]:
        """Return the seconds of compiling a step of these blocks, and of taking it."""
        blocks = tuple(_whole_block(config, number, size) for number in rows_of_blocks)
        began = time.perf_counter()
        step = gradient.lower(params, stats, blocks).compile()
        compiled = time.perf_counter() - began
        return compiled, min(_timed(lambda: step(params, stats, blocks)) for _ in range(5))

    (compile_one, small), (compile_two, two), (_, large) = seconds(rows), seconds(rows, rows), seconds(2 * rows)
    compile_block = max(0.0, compile_two - compile_one)
    return Costs(
        position=max(large - small, 0.1 * large) / (rows * math.prod(size)),
        compile_block=compile_block,
        compile_evaluation=EVALUATION_SHARE * compile_block,
        block_step=max(0.0, two - large),
    )


def _whole_block(config: Config, rows: int, size: tuple[int, ...]) -> Block:
    """Return a block of examples that fill their canvas."""
    data = config.data
    targets = None if data.labels == "one" else config.model.num_classes
    empty = filler_block(rows, size, data.channels, value_type(len(size), data.pixel_range), targets=targets)
    block = replace(empty, size=np.full_like(empty.size, size), weight=np.ones_like(empty.weight))
    return jax.tree.map(jax.numpy.asarray, block)


def _timed(call) -> float:
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began
