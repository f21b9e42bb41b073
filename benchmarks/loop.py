"""The whole loop of `make train` beside PyTorch with its batches in memory, in turns.

    python benchmarks/loop.py --torch=PYTHON > benchmarks/loop.md

Images a second of the training steps of the default config, waiting for input included: with its random changes, and
without. PyTorch takes the same step (the same net, all images padded to the largest canvas) on one batch that stays in
memory, so it reads nothing. PYTHON is an interpreter with benchmarks/peers/requirements.txt.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.step import NETS, Torch

ROOT = Path(__file__).parents[1]
ROUNDS = 5
WITHOUT = [f"--config.data.augment.{name}=0" for name in ("rotate", "shear", "stretch")]
WAYS = {"with random changes": [], "without random changes": WITHOUT}


def images_per_second(flags: list[str], *, epochs: int) -> float:
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "fcn_jax", "train", "--config=configs/mnist.py", f"--workdir={workdir}/run"]
        command += [f"--config.train.epochs={epochs}", *flags]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        return json.loads((Path(workdir) / "run/summary.json").read_text())["images_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    net = NETS["mnist"]
    torch = Torch(arguments.torch, net.config(), net)
    taken: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for way, flags in WAYS.items():
            taken.setdefault(f"this repository, {way}", []).append(images_per_second(flags, epochs=arguments.epochs))
        for name, ms in torch.milliseconds(40).items():
            taken.setdefault(name, []).append(1e3 * net.rows / ms)
    torch.close()
    print("# The whole loop\n")
    print(
        f"`make train` for {arguments.epochs} epochs beside PyTorch with a batch in memory; medians of "
        f"{arguments.rounds} rounds in turns, with the lowest and the highest.\n{os.cpu_count()} CPU cores "
        f"({platform.machine()}), Python {platform.python_version()}. Written by `benchmarks/loop.py`.\n"
    )
    print("| loop | images/s | ratio to PyTorch, padded |\n|-|-|-|")
    base = taken["PyTorch, padded"]
    for name, rates in taken.items():
        ratio = statistics.median(one / other for one, other in zip(rates, base, strict=True))
        print(f"| {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) | {ratio:.2f} |")


if __name__ == "__main__":
    main()
