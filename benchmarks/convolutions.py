"""The two ways to compute a convolution, measured for every layer of some configs, beside the way that `auto` takes.

    python -m benchmarks.convolutions > benchmarks/convolutions.md

It takes forward pass and gradient of each convolution alone, on a block of the config's typical canvas, in turns.
`prefers_patches` in fcn_jax/core/convolution.py holds what follows from this: the same config and seed compute in the
same way on every CPU. `--config.model.convolution=direct` or `patches` takes one way for all layers.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from configs import folder, mnist, resnet18
from fcn_jax.config import Config
from fcn_jax.core.convolution import Convolution, convolve_direct, convolve_patches, prefers_patches
from fcn_jax.core.geometry import Window, format_size
from fcn_jax.nets.model import make_model, trace_shapes
from fcn_jax.system.machine import keep_freed_memory, usable_cores

ROUNDS = 5


@dataclass(frozen=True)
class Case:
    """A convolution and the maps that it gets."""

    rows: int
    size: tuple[int, int]
    features: tuple[int, int]
    window: Window

    def __str__(self) -> str:
        w = self.window
        return (
            f"{w.kernel}×{w.kernel}, stride {w.stride}, {self.features[0]} → {self.features[1]} channels, "
            f"{self.rows} × {format_size(self.size)}"
        )


NETS: dict[str, tuple[Callable[[], Config], int, tuple[int, int]]] = {
    "mnist": (lambda: mnist.get_config(""), 512, (20, 16)),
    "folder": (lambda: folder.get_config("."), 64, (96, 128)),
    "resnet18": (lambda: resnet18.get_config(""), 8, (160, 160)),
}
"""{name: (config, rows and canvas of a block)}"""


def cases_of(config: Config, rows: int, size: tuple[int, int]) -> Iterator[Case]:
    """Yield every convolution of a net once, with the canvas that reaches it; the classifier is left out."""
    model = make_model(config, rank=2)
    convolutions = [layer for _, layer in nnx.iter_graph(model) if isinstance(layer, Convolution) and layer.groups == 1]
    reached: dict[int, tuple[int, ...]] = {config.data.channels: size}
    for record in trace_shapes(config, size):
        if record.canvas:
            reached.setdefault(record.channels, record.canvas)
    seen = set()
    for layer in convolutions:
        features = (layer.kernel.shape[-2], layer.kernel.shape[-1])
        canvas = reached.get(features[0])
        if canvas is None or features[1] == config.model.num_classes:
            continue
        case = Case(rows, (canvas[0], canvas[1]), features, layer.window)
        if case not in seen and min(canvas) + 2 * layer.window.padding >= layer.window.kernel:
            seen.add(case)
            yield case


def steps_of(case: Case) -> dict[str, Callable[[], Any]]:
    """Return, for each way, a function that computes the output and both gradients."""
    kernel_shape = (*[case.window.kernel] * 2, *case.features)
    x = jax.random.normal(jax.random.key(0), (case.rows, *case.size, case.features[0]))
    kernel = jax.random.normal(jax.random.key(1), kernel_shape)
    ways = {
        "direct": lambda x, kernel: convolve_direct(x, kernel, case.window),
        "patches": lambda x, kernel: convolve_patches(x, kernel, case.window),
    }

    def step_of(way):
        gradient = jax.jit(jax.value_and_grad(lambda x, kernel: jnp.square(way(x, kernel)).mean(), argnums=(0, 1)))
        return lambda: jax.block_until_ready(gradient(x, kernel))

    return {name: step_of(way) for name, way in ways.items()}


def milliseconds(step: Callable[[], Any]) -> float:
    calls, began = 0, time.perf_counter()
    while calls < 3 or time.perf_counter() - began < 0.1:
        step()
        calls += 1
    return 1e3 * (time.perf_counter() - began) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    keep_freed_memory()
    print("# The two ways to compute a convolution\n")
    print(
        f"Forward pass and gradient of each convolution alone, float32, {jax.default_backend()} ({platform.machine()}, "
        f"{usable_cores()} cores), jax {jax.__version__};\nmilliseconds, medians of {ROUNDS} rounds in turns. Written "
        "by `benchmarks/convolutions.py`. On GPU and TPU `auto` always takes XLA's own way.\n"
    )
    print("| net | convolution | direct | patches | `auto` takes | its time to the faster |\n|-|-|-|-|-|-|")
    ratios = []
    for name, (make_config, rows, size) in NETS.items():
        for case in cases_of(make_config(), rows, size):
            steps = steps_of(case)
            taken: dict[str, list[float]] = {way: [] for way in steps}
            for step in steps.values():
                step()
            for _ in range(ROUNDS):
                for way, step in steps.items():
                    taken[way].append(milliseconds(step))
            median = {way: statistics.median(times) for way, times in taken.items()}
            auto = "patches" if prefers_patches(case.features[0], case.window) else "direct"
            ratios.append(median[auto] / min(median.values()))
            print(
                f"| {name} | {case} | {median['direct']:.2f} | {median['patches']:.2f} | {auto} | {ratios[-1]:.2f} |",
                flush=True,
            )
    print(f"\n`auto` takes {statistics.geometric_mean(ratios):.2f} times the time of the faster way, in the mean.")


if __name__ == "__main__":
    main()
