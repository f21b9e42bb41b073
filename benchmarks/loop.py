"""The whole loop of `make train` beside PyTorch with its batches in memory, in turns.

    python benchmarks/loop.py --torch=PYTHON > benchmarks/loop.md

Images a second of the training steps of the default config, waiting for input included: with its random changes, and
without; of the epochs that it takes, and of further ones. PyTorch takes the same step (the same net, all images padded
to the largest canvas) on one batch that stays in memory, so it reads nothing. PYTHON is an interpreter with
benchmarks/peers/requirements.txt.
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
ROUNDS, EPOCHS = 5, 3
WITHOUT = [f"--config.data.augment.{name}=0" for name in ("rotate", "shear", "stretch")]
WAYS = {"with random changes": [], "without random changes": WITHOUT}


def images_per_second(flags: list[str]) -> tuple[float, float]:
    """Return images a second of the epochs that `make train` takes, and of EPOCHS more, whose images are in memory."""
    first = NETS["mnist"].config().train.epochs
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "fcn_jax", "train", "--config=configs/mnist.py", f"--workdir={workdir}/run"]
        command += [f"--config.train.epochs={first + EPOCHS}", *flags]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        rows = [json.loads(line) for line in (Path(workdir) / "run/metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["kind"] == "train"]
    return _mean([row for row in rows if row["epoch"] <= first]), _mean([row for row in rows if row["epoch"] > first])


def _mean(rows: list[dict[str, float]]) -> float:
    """Return the mean speed over logged rows, each of which stands for the steps since the one before."""
    begin = rows[0]["step"] - (rows[1]["step"] - rows[0]["step"])
    steps = [row["step"] - before for row, before in zip(rows, [begin, *(row["step"] for row in rows)], strict=False)]
    seconds = [number / row["images_per_second"] for number, row in zip(steps, rows, strict=True)]
    return sum(steps) / sum(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", required=True)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    net = NETS["mnist"]
    torch = Torch(arguments.torch, net.config(), net)
    taken: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for way, flags in WAYS.items():
            for when, rate in zip(("", ", images in memory"), images_per_second(flags), strict=True):
                taken.setdefault(f"this repository, {way}{when}", []).append(rate)
        for name, ms in torch.milliseconds(40).items():
            taken.setdefault(name, []).append(1e3 * net.rows / ms)
    torch.close()
    print("# The whole loop\n")
    print(
        "`make train` beside PyTorch with a batch in memory. In its first epoch a run decodes its images; then they\n"
        f"stay in memory, as {EPOCHS} further epochs show. Medians of {arguments.rounds} rounds in turns, with the "
        f"lowest and the highest.\n{os.cpu_count()} CPU cores ({platform.machine()}), Python "
        f"{platform.python_version()}. Written by `benchmarks/loop.py`.\n"
    )
    print("| loop | images/s | ratio to PyTorch, padded |\n|-|-|-|")
    base = taken["PyTorch, padded"]
    for name, rates in taken.items():
        ratio = statistics.median(one / other for one, other in zip(rates, base, strict=True))
        print(f"| {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) | {ratio:.2f} |")


if __name__ == "__main__":
    main()
