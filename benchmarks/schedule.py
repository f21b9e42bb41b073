"""Training with the schedule that is chosen by default, against an older checkout, in pairs on the same cores.

    apt-get install asterisk-core-sounds-en-wav asterisk-core-sounds-fr-wav
    python benchmarks/schedule.py --old=CHECKOUT --gtsrb=DIR --speech=DIR > benchmarks/schedule.md

CHECKOUT is a folder with an older commit of this repository and a link to the same .venv. The folder given as --gtsrb
holds DIR/{train,test}/<class>/*. The one given as --speech is filled with the spoken prompts of the two packages
(8 kHz, CC BY-SA 3.0): one voice a language, so its accuracy says little. Missing arguments leave out their rows.
Takes about an hour on two CPU cores.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parents[1]
PROMPTS = {"en": "en_US_f_Allison", "fr": "fr_CA_f_June"}
SOUNDS = Path("/usr/share/asterisk/sounds")
SEEDS = 5


@dataclass(frozen=True)
class Pair:
    """Two settings of the same training."""

    name: str
    config: str
    old: str
    """What the old checkout runs with."""
    old_flags: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """Flags of both."""


EIGHT = tuple(f"--config.schedule.{field}" for field in ("max_buckets=8", "num_programs=1", "rows_multiple_of=8"))


def collect_prompts(folder: Path) -> None:
    """Copy the prompts of every language into a folder of its own."""
    for language, voice in PROMPTS.items():
        (folder / language).mkdir(parents=True, exist_ok=True)
        for path in sorted((SOUNDS / voice).rglob("*.wav")):
            shutil.copyfile(path, folder / language / "_".join(path.relative_to(SOUNDS / voice).parts))


def train(checkout: Path, config: str, flags: tuple[str, ...]) -> dict:
    """Train in a process of its own; return the summary, and the blocks of all training programs."""
    with tempfile.TemporaryDirectory() as workdir:
        command = [str(ROOT / ".venv/bin/python"), "-m", "fcn_jax", "train", f"--config={config}", *flags]
        command += [f"--workdir={workdir}/run", "--config.machine.cache_dir=", "--config.train.evaluate_every_epochs=0"]
        subprocess.run(command, cwd=checkout, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        read = {
            name: json.loads((Path(workdir) / "run" / f"{name}.json").read_text()) for name in ("summary", "config")
        }
        epochs = read["config"]["train"]["epochs"]
        return {**read["summary"], "epoch_seconds": read["summary"]["train_seconds"] / epochs}


def rows(pair: Pair, old: Path, seeds: int) -> Iterator[str]:
    """Yield the rows of a pair: the old and the new setting take turns, seed by seed."""
    found: dict[str, list[dict]] = {pair.old: [], "the default": []}
    for seed in range(seeds):
        flags = (*pair.flags, f"--config.seed={seed}")
        found[pair.old].append(train(old, pair.config, (*flags, *pair.old_flags)))
        found["the default"].append(train(ROOT, pair.config, flags))
        print(
            f"{pair.name}, seed {seed}: {[round(r[-1]['epoch_seconds'], 2) for r in found.values()]}", file=sys.stderr
        )
    ratios = [new["epoch_seconds"] / old["epoch_seconds"] for old, new in zip(*found.values(), strict=True)]
    for name, runs in found.items():
        accuracy = 100 * np.array([run["accuracy"] for run in runs])
        ratio = f"{np.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if name == "the default" else "1"
        yield (
            f"| {pair.name} | {name} | {np.mean([run['fill'] for run in runs]):.3f} "
            f"| {np.median([run['epoch_seconds'] for run in runs]):.2f} | {ratio} "
            f"| {np.median([run['compile_seconds'] for run in runs]):.0f} "
            f"| {accuracy.mean():.2f} ± {accuracy.std(ddof=1):.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--gtsrb", type=Path)
    parser.add_argument("--speech", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--gtsrb_epochs", type=int, default=3)
    parser.add_argument("--speech_epochs", type=int, default=16)
    arguments = parser.parse_args()
    pairs = []
    if arguments.speech:
        collect_prompts(arguments.speech)
        config = f"configs/signals.py:{arguments.speech.resolve()}"
        few = (f"--config.train.epochs={arguments.speech_epochs}",)
        pairs.append(
            Pair("1,129 spoken prompts", config, "8 buckets, 2 programs, rows of 8, as the config was", (), few)
        )
    if arguments.gtsrb:
        config = f"configs/gtsrb.py:{arguments.gtsrb.resolve()}"
        few = (f"--config.train.epochs={arguments.gtsrb_epochs}",)
        pairs.append(Pair("GTSRB", config, "8 buckets, 1 program, rows of 8", EIGHT, few))
    print("# The default schedule against older ones\n")
    print(
        "The seconds of an epoch are those of training, without compiling. Each pair ran in turn, seed by seed; the\n"
        "ratio is the median over the seeds, with the smallest and the largest. Accuracy is that of the test split\n"
        f"after {arguments.gtsrb_epochs} epochs of GTSRB or {arguments.speech_epochs} of the prompts, in percent, with "
        f"the standard deviation over\n{arguments.seeds} seeds. The prompts have one voice a language, so their "
        "accuracy says little.\n"
        f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}, jax "
        f"{jax.__version__}. Written by `benchmarks/schedule.py`.\n"
    )
    print("| data | schedule | run fill | s an epoch | ratio | compiling, s | accuracy |\n|-|-|-|-|-|-|-|")
    for pair in pairs:
        print(*rows(pair, arguments.old, arguments.seeds), sep="\n", flush=True)


if __name__ == "__main__":
    main()
