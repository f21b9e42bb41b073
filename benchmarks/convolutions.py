"""The two ways to compute a convolution, measured for every layer of some configs, beside the way that `auto` takes.

    python -m benchmarks.convolutions > benchmarks/convolutions.md

It takes forward pass and gradient of each convolution alone, on a block of the config's typical canvas, in turns.
`prefers_patches` in fcn_jax/core/convolution.py holds what follows from this: the same config and seed compute in the
same way on every CPU. `--config.model.convolution=direct` or `patches` takes one way for all layers, and `measured`
takes what is faster on the machine that trains.
"""

import argparse
import platform
import statistics
from collections.abc import Callable

import jax

from configs import folder, gtsrb, mnist, resnet18
from fcn_jax.config import Config
from fcn_jax.core.convolution import prefers_patches
from fcn_jax.system.machine import keep_freed_memory, usable_cores
from fcn_jax.train.convolution_ways import ROUNDS, convolutions_of, milliseconds_of_ways

NETS: dict[str, tuple[Callable[[], Config], int, tuple[int, int]]] = {
    "mnist": (lambda: mnist.get_config(""), 512, (20, 16)),
    "folder": (lambda: folder.get_config("."), 64, (96, 128)),
    "gtsrb": (lambda: gtsrb.get_config("."), 64, (48, 48)),
    "resnet18": (lambda: resnet18.get_config(""), 8, (160, 160)),
}
"""{name: (config, rows and canvas of a block)}"""


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
        for case in convolutions_of(make_config(), [(rows, size)]):
            median = milliseconds_of_ways(case)
            auto = "patches" if prefers_patches(case.features, case.window) else "direct"
            ratios.append(median[auto] / min(median.values()))
            print(
                f"| {name} | {case} | {median['direct']:.2f} | {median['patches']:.2f} | {auto} | {ratios[-1]:.2f} |",
                flush=True,
            )
    print(f"\n`auto` takes {statistics.geometric_mean(ratios):.2f} times the time of the faster way, in the mean.")


if __name__ == "__main__":
    main()
