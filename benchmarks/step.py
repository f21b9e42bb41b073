"""One training step: this repository's beside those of plain flax and of PyTorch, in one run.

    python benchmarks/step.py --net=mnist --torch=PYTHON                measured on this machine, in turns
    python benchmarks/step.py --net=resnet50 --target=tpu:v5e:1x1       from compilation alone
    python benchmarks/step.py --net=resnet50 --target=gpu:h100:1

Of a target it says what one device moves and launches; here, what a step takes, and which part of the speed of a large
matrix product (measured in the same run) it reaches. Operations are those of the convolutions and the dense layer, a
multiplication and an addition counting two, three times for a step, however they are computed. The others pad all
images to the largest canvas. PYTHON is an interpreter with benchmarks/peers/requirements.txt.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.peers import plain_flax
from configs import gtsrb, mnist, resnet18, resnet50
from fcn_jax.config import Config
from fcn_jax.config_fields import overridden
from fcn_jax.core.block import Block, abstract_block
from fcn_jax.core.step import abstract_state, initial_state, make_train_step, split_model
from fcn_jax.nets.families import FCN, ResNet, each
from fcn_jax.nets.model import make_model, trace_shapes, with_type
from fcn_jax.system.hlo import traffic_of
from fcn_jax.system.machine import keep_freed_memory, peak_mib, usable_cores
from fcn_jax.system.targets import Target, absent_target, present_target
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.placement import with_sharding
from fcn_jax.train.setup import make_mesh

ROUNDS = 5


@dataclass(frozen=True)
class Net:
    """A net, and a block for it."""

    config: Callable[[], Config]
    blocks: tuple[tuple[int, int, int], ...]
    """Rows, height and width of each block."""
    square: int = 0
    """Side to which PyTorch resizes all images instead of padding them; 0: it pads them."""

    @property
    def rows(self) -> int:
        return sum(rows for rows, _, _ in self.blocks)

    @property
    def canvas(self) -> tuple[int, int]:
        """The canvas that holds every image."""
        return max(height for _, height, _ in self.blocks), max(width for _, _, width in self.blocks)

    def __str__(self) -> str:
        return " + ".join(f"{rows} × {height}×{width}" for rows, height, width in self.blocks)


MNIST = ((32, 20, 8), (74, 20, 12), (83, 20, 14), (97, 20, 16), (81, 20, 18), (145, 20, 20))
"""The step of `make train`."""
SIDES = {24: 12, 28: 9, 32: 9, 36: 7, 40: 6, 44: 4, 48: 3, 56: 4, 60: 3, 68: 2, 76: 2, 88: 1, 96: 1, 128: 1}
GTSRB = tuple((rows, side, side) for side, rows in SIDES.items())
"""A step of `configs/gtsrb.py` on its data, which chooses about these sides and rows."""
NETS = {
    "mnist": Net(lambda: mnist.get_config(""), MNIST),
    "mnist_padded": Net(lambda: mnist.get_config(""), ((512, 20, 20),)),
    "resnet18": Net(lambda: resnet18.get_config(""), ((64, 224, 224),)),
    "resnet50": Net(lambda: resnet50.get_config(""), ((64, 224, 224),)),
    "imagenet": Net(lambda: resnet50.get_config(""), ((12, 192, 256), (28, 224, 224), (16, 256, 192), (8, 160, 288))),
    "gtsrb": Net(lambda: overridden(gtsrb.get_config("."), {"model.num_classes": 43}), GTSRB, square=48),
    "small": Net(lambda: resnet18.get_config(""), ((2, 48, 64), (2, 64, 64))),
}


@dataclass(frozen=True)
class Program:
    """A compiled step."""

    name: str
    compiled: Any
    compile_seconds: float
    arguments: Callable[[], tuple]
    """Arrays to call it with."""


def compile_step(name: str, step, state, *batch, arguments) -> Program:
    began = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(state, *batch).compile()
    return Program(name, compiled, time.perf_counter() - began, arguments)


def programs_of(config: Config, net: Net, target: Target, *, platform: str) -> list[Program]:
    """Compile the step of this repository, and that of plain flax."""
    config = with_type(config, platform)
    mesh = make_mesh(target.devices)
    everywhere, by_rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("rows",)))
    optimizer = make_optimizer(config.train, warmup_steps=10, total_steps=1000)
    devices, channels = len(target.devices), config.data.channels
    rows = net.rows * devices
    rng = np.random.default_rng(0)

    def images(rows: int, canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        image = rng.integers(0, 256, (rows, *canvas, channels)).astype(np.uint8)
        return image, rng.integers(0, config.model.num_classes, rows).astype(np.int32)

    def whole_block(rows: int, canvas: tuple[int, int]) -> Block:
        image, label = images(rows, canvas)
        size, weight = np.full((rows, 2), canvas, np.int32), np.ones(rows, np.float32)
        return Block(image, size, label, weight, np.arange(rows, dtype=np.int32))

    blocks = tuple(whole_block(rows * devices, (height, width)) for rows, height, width in net.blocks)
    image, label = images(rows, net.canvas)

    def compiled(name, model, make_step, batch, arrays) -> Program:
        graphdef, params, stats = split_model(model)
        state = abstract_state(params, stats, optimizer, average=False)
        state = jax.tree.map(lambda array: with_sharding(array, everywhere), state)

        def fresh() -> tuple:
            state = initial_state(params, stats, optimizer, average=False)
            return jax.tree.map(jnp.copy, state), *jax.tree.map(jnp.asarray, arrays)

        return compile_step(name, make_step(graphdef), state, *batch, arguments=fresh)

    ours = make_model(config, rank=2, platform=platform, devices=devices)
    dtype = jnp.dtype(config.model.dtype)
    assert isinstance(config.model, FCN | ResNet)
    plain = plain_flax.make_net(config.model, channels, dtype=dtype)
    placed = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=by_rows) for x in (image, label)]
    return [
        compiled(
            "this repository",
            ours,
            lambda graphdef: make_train_step(graphdef, optimizer, config.train, mean_examples=rows),
            [tuple(abstract_block(len(b.label), b.image.shape[1:3], channels, sharding=by_rows) for b in blocks)],
            [blocks],
        ),
        compiled(
            "plain flax",
            plain,
            lambda graphdef: plain_flax.make_step(graphdef, optimizer, label_smoothing=config.train.label_smoothing),
            placed,
            [image, label],
        ),
    ]


def report_traffic(programs: list[Program]) -> None:
    print(
        "| step | GFLOP by XLA | GB moved | launches | fusions | collectives | MiB | compiled, s |\n|-|-|-|-|-|-|-|-|"
    )
    for program in programs:
        traffic = traffic_of(program.compiled.as_text())
        try:
            gflop = f"{program.compiled.cost_analysis()['flops'] / 1e9:,.0f}"
        except (jax.errors.JaxRuntimeError, TypeError, KeyError):
            gflop = "-"
        print(
            f"| {program.name} | {gflop} | {traffic.bytes / 1e9:.2f} | {traffic.launches:,} | {traffic.fusions:,} "
            f"| {traffic.collectives} | {peak_mib(program.compiled):,.0f} | {program.compile_seconds:.0f} |"
        )


def milliseconds(program: Program, calls: int) -> float:
    """Return the milliseconds of a step."""
    state, *batch = program.arguments()
    state = program.compiled(state, *batch)[0]
    jax.block_until_ready(state)
    began = time.perf_counter()
    for _ in range(calls):
        state = program.compiled(state, *batch)[0]
    jax.block_until_ready(state)
    return 1e3 * (time.perf_counter() - began) / calls


def roof(dtype) -> float:
    """Return the operations a second of a large matrix product."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    x = jnp.ones((side, side), dtype)
    multiply = jax.jit(lambda a: a @ a)
    multiply(x).block_until_ready()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        multiply(x).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


def operations(config: Config, net: Net) -> float:
    """Return the operations of a step, with convolutions counted as direct ones and all images on their own canvas."""
    total = 0.0
    for rows, *canvas in net.blocks:
        for record in trace_shapes(config, tuple(canvas)):
            if record.layer.startswith("Convolution"):
                positions = np.prod(record.canvas, dtype=float)
                total += 6 * rows * kernel_size(record.parameters, record.channels) * positions
    return total


def kernel_size(parameters: int, channels: int) -> int:
    """Return the parameters of a convolution without its bias."""
    return parameters - parameters % channels


class Torch:
    """PyTorch's step, in a process of its own."""

    def __init__(self, python: str, config: Config, net: Net):
        c = config.model
        shape: dict[str, Any] = {"input_channels": config.data.channels, "classes": c.num_classes}
        if isinstance(c, ResNet):
            shape |= {"channels": c.channels, "blocks": c.blocks, "bottleneck": c.bottleneck}
        else:
            assert isinstance(c, FCN)
            columns = (each(len(c.channels), values) for values in (c.kernel, c.stride, c.padding))
            shape["convolutions"] = list(zip(c.channels, *columns, strict=True))
            shape |= {"adaptive_pool": c.adaptive_pool, "adaptive_pool_after": c.adaptive_pool_after}
        asked = {"threads": usable_cores(), "blocks": net.blocks, "net": shape, "square": net.square}
        command = [python, str(Path(__file__).parent / "peers" / "torch_step.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say(json.dumps(asked))
        assert self._line() == "ready"

    def _say(self, line: str) -> None:
        assert self._process.stdin
        print(line, file=self._process.stdin, flush=True)

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def milliseconds(self, calls: int) -> dict[str, float]:
        self._say(str(calls))
        return {f"PyTorch, {way}": taken for way, taken in json.loads(self._line()).items()}

    def close(self) -> None:
        self._process.terminate()


def report_times(programs: list[Program], config: Config, net: Net, calls: int, torch: Torch | None) -> None:
    flops, dtype = operations(config, net), jnp.dtype(config.model.dtype)
    taken: dict[str, list[float]] = {}
    roofs = []
    for _ in range(ROUNDS):
        roofs.append(roof(dtype))
        for program in programs:
            taken.setdefault(program.name, []).append(milliseconds(program, calls))
        for name, found in torch.milliseconds(calls).items() if torch else ():
            taken.setdefault(name, []).append(found)
    print("| step | ms (lowest, highest) | examples/s | true Mpx/s | GFLOP/s | of the matrix product |\n|-|-|-|-|-|-|")
    own = sum(rows * height * width for rows, height, width in net.blocks)
    for name, every in taken.items():
        ms = statistics.median(every)
        is_square = name.startswith("PyTorch") and net.square
        rate = "-" if is_square else f"{flops / ms / 1e6:.0f}"
        share = "-" if is_square else f"{flops / ms * 1e3 / statistics.median(roofs):.2f}"
        print(
            f"| {name} | {ms:.1f} ({min(every):.1f}, {max(every):.1f}) | {1e3 * net.rows / ms:,.0f} "
            f"| {(net.rows * net.square**2 if is_square else own) / ms / 1e3:.2f} | {rate} | {share} |"
        )
    print(
        f"\nThe matrix product: {statistics.median(roofs) / 1e9:.0f} GFLOP/s. Operations are {flops / 1e9:.2f} GFLOP, "
        "those of the images on their own canvases."
    )


def report_memory(program: Program) -> None:
    """Print the memory that a program was predicted to need, and what was in use at most, where the device counts."""
    jax.block_until_ready(program.compiled(*program.arguments()))
    used = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    measured = f"at most {used / 2**20:,.0f} MiB were in use" if used else "this device does not count what is in use"
    print(f"\nMemory of {program.name}: {peak_mib(program.compiled):,.0f} MiB predicted; {measured}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=NETS, default="mnist")
    parser.add_argument("--target", help="devices to compile for, such as tpu:v5e:1x1 or gpu:h100:8")
    parser.add_argument("--torch", help="an interpreter that has PyTorch")
    parser.add_argument("--norm", choices=("batch", "group"), default="batch")
    parser.add_argument("--calls", type=int, default=20)
    arguments = parser.parse_args()
    keep_freed_memory()
    net = NETS[arguments.net]
    config = net.config()
    config.model.norm = arguments.norm
    target = absent_target(arguments.target) if arguments.target else present_target()
    platform = arguments.target.split(":")[0] if arguments.target else jax.default_backend()
    programs = programs_of(config, net, target, platform=platform)[: 1 if net.square else 2]
    print(f"{arguments.net}, {net} on each of {len(target.devices)} × {target.name}\n")
    report_traffic(programs)
    if not arguments.target:
        report_memory(programs[0])
        print()
        torch = Torch(arguments.torch, config, net) if arguments.torch else None
        report_times(programs, with_type(config, platform), net, arguments.calls, torch)
        if torch:
            torch.close()


if __name__ == "__main__":
    main()
