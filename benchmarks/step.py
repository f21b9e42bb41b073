"""One training step of one block without padding: this repository's beside plain flax's, in one run.

    python benchmarks/step.py --net=mnist                               measured on this machine, in turns
    python benchmarks/step.py --net=resnet50 --target=tpu:v5e:1x1       from compilation alone
    python benchmarks/step.py --net=resnet50 --target=gpu:h100:1

Of a target it says what one device moves and launches; here, what a step takes, and which part of the speed of a large
matrix product (measured in the same run) it reaches. Operations are those of the convolutions and the dense layer, a
multiplication and an addition counting two, three times for a step, however they are computed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.peers import plain_flax
from configs import mnist, resnet18, resnet50
from fcn_jax.config import Config
from fcn_jax.core.block import Block, abstract_block
from fcn_jax.core.step import abstract_state, initial_state, make_train_step, split_model
from fcn_jax.nets.families import FCN, ResNet
from fcn_jax.nets.model import make_model, trace_shapes, with_type
from fcn_jax.system.hlo import traffic_of
from fcn_jax.system.machine import keep_freed_memory, peak_mib
from fcn_jax.system.targets import Target, absent_target, present_target
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.setup import make_mesh

ROUNDS = 5


@dataclass(frozen=True)
class Net:
    """A net, and a block for it."""

    config: Callable[[], Config]
    rows: int
    side: int


NETS = {
    "mnist": Net(lambda: mnist.get_config(""), 512, 20),
    "resnet18": Net(lambda: resnet18.get_config(""), 64, 224),
    "resnet50": Net(lambda: resnet50.get_config(""), 64, 224),
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
    rows, canvas = net.rows * len(target.devices), (net.side, net.side)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (rows, *canvas, config.data.channels)).astype(np.uint8)
    label = rng.integers(0, config.model.num_classes, rows).astype(np.int32)
    weight, size = np.ones(rows, np.float32), np.full((rows, 2), canvas, np.int32)
    block = Block(image, size, label, weight, np.arange(rows, dtype=np.int32))

    def compiled(name, model, make_step, batch, arrays) -> Program:
        graphdef, params, stats = split_model(model)
        state = abstract_state(params, stats, optimizer, average=False, place=everywhere)

        def fresh() -> tuple:
            state = initial_state(params, stats, optimizer, average=False)
            return jax.tree.map(jnp.copy, state), *jax.tree.map(jnp.asarray, arrays)

        return compile_step(name, make_step(graphdef), state, *batch, arguments=fresh)

    ours = make_model(config, rank=2, platform=platform)
    dtype = jnp.dtype(config.model.dtype)
    assert isinstance(config.model, FCN | ResNet)
    plain = plain_flax.make_net(config.model, config.data.channels, dtype=dtype)
    placed = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=by_rows) for x in (image, label)]
    return [
        compiled(
            "this repository",
            ours,
            lambda graphdef: make_train_step(graphdef, optimizer, config.train, mean_examples=rows),
            [(abstract_block(rows, canvas, config.data.channels, sharding=by_rows),)],
            [(block,)],
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
    """Return the operations of a step, with convolutions counted as direct ones."""
    records = trace_shapes(config, (net.side, net.side))
    return (
        6
        * net.rows
        * sum(
            kernel_size(record.parameters, record.channels) * np.prod(record.canvas, dtype=float)
            for record in records
            if record.layer.startswith("Convolution")
        )
    )


def kernel_size(parameters: int, channels: int) -> int:
    """Return the parameters of a convolution without its bias."""
    return parameters - parameters % channels


def report_times(programs: list[Program], config: Config, net: Net, calls: int) -> None:
    flops, dtype = operations(config, net), jnp.dtype(config.model.dtype)
    taken: dict[str, list[float]] = {program.name: [] for program in programs}
    roofs = []
    for _ in range(ROUNDS):
        roofs.append(roof(dtype))
        for program in programs:
            taken[program.name].append(milliseconds(program, calls))
    print("| step | ms (lowest, highest) | examples/s | GFLOP/s | of the matrix product |\n|-|-|-|-|-|")
    for name, each in taken.items():
        ms = statistics.median(each)
        rate = flops / ms * 1e3
        print(
            f"| {name} | {ms:.1f} ({min(each):.1f}, {max(each):.1f}) | {1e3 * net.rows / ms:,.0f} | {rate / 1e9:.0f} "
            f"| {rate / statistics.median(roofs):.2f} |"
        )
    print(f"\nThe matrix product: {statistics.median(roofs) / 1e9:.0f} GFLOP/s.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=NETS, default="mnist")
    parser.add_argument("--target", help="devices to compile for, such as tpu:v5e:1x1 or gpu:h100:8")
    parser.add_argument("--rows", type=int, help="examples of a device")
    parser.add_argument("--norm", choices=("batch", "group"), default="batch")
    parser.add_argument("--calls", type=int, default=20)
    arguments = parser.parse_args()
    keep_freed_memory()
    net = NETS[arguments.net]
    if arguments.rows:
        net = Net(net.config, arguments.rows, net.side)
    config = net.config()
    config.model.norm = arguments.norm
    target = absent_target(arguments.target) if arguments.target else present_target()
    platform = arguments.target.split(":")[0] if arguments.target else jax.default_backend()
    programs = programs_of(config, net, target, platform=platform)
    print(f"{arguments.net}, {net.rows} × {net.side}×{net.side} on each of {len(target.devices)} × {target.name}\n")
    report_traffic(programs)
    if not arguments.target:
        print()
        report_times(programs, with_type(config, platform), net, arguments.calls)


if __name__ == "__main__":
    main()
