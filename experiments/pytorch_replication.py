"""The ablation size_and_class once more in PyTorch, with no code of this net, its masks or its schedule.

.venv-interop/bin/python -m experiments.pytorch_replication     (safe to stop and start again; writes pytorch.md)

All digits stand on the same 28×28 canvas, so here too nothing but the members of a batch differs between the arms. The
digits, their random changes, the shape of the net, its initial spread, the loss and the optimiser are those of the
short form of size_and_class. Batches of one group are drawn as torchvision's reference training of detectors draws
them, by the GroupedBatchSampler of references/detection/group_by_aspect_ratio.py: in random order, and a group that
cannot fill its last batch fills it with examples that it has shown before. There are as many batches as without groups,
so groups that are far from a full batch show nothing. The groups are those that size_and_class puts on one canvas, or
every shape.
"""

import hashlib
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Sampler

from experiments.ablations.size_and_class import SIZE_AND_CLASS, against, arm_name, rule_of
from experiments.metrics import ACCURACY
from experiments.page import notices
from experiments.plan import ArmRun, code_version
from experiments.report import directory_of, results_of
from experiments.results import Results
from experiments.statistics import difference_of_independent, paired_difference, spread
from experiments.words import difference_text, mean_and_deviation
from fcn_jax.config_fields import overridden
from fcn_jax.core.canvas_choice import choose_canvases
from fcn_jax.data.dataset import Dataset, open_dataset
from fcn_jax.reports.html import Table
from fcn_jax.system.disk import write_atomically

RESULTS = directory_of(SIZE_AND_CLASS, full=False)
ROWS, PAGE = RESULTS / "pytorch.jsonl", RESULTS / "pytorch.md"
CODE = hashlib.sha256(Path(__file__).read_bytes() + code_version().encode()).hexdigest()[:16]
"""Version of the code of a row; others do not count."""
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BatchNorm": lambda channels: nn.BatchNorm2d(channels),
    "GroupNorm": lambda channels: nn.GroupNorm(channels // 8, channels),
    "no norm": lambda channels: nn.Identity(),
}
LEVELS = ("shuffled", "every shape", "by size", "class as by size", "0", "0.3", "1", "most")
"""What the batches hold: any examples, those of one shape, or those of one canvas at a level of size_and_class."""
SEEDS = range(5)
CONFIG = ArmRun(SIZE_AND_CLASS, SIZE_AND_CLASS.short, SIZE_AND_CLASS.arms[0], 0).config
EPOCHS, BATCH = CONFIG.train.epochs, CONFIG.schedule.examples_per_step
SIDE, CANVASES = 28, 10


class GroupedBatchSampler(Sampler[list[int]]):
    """A sampler of batches whose examples are all of one group, as many batches as without groups.

    Args:
        order: sampler of the examples.
        group: the group of every example.
        size: examples in a batch.
    """

    def __init__(self, order: Sampler[int], group: Sequence[int], size: int):
        self.order, self.group, self.size = order, group, size

    def __len__(self) -> int:
        return len(self.order) // self.size  # pyright: ignore[reportArgumentType]

    def __iter__(self) -> Iterator[list[int]]:
        open_batch, shown, left = defaultdict(list), defaultdict(list), len(self)
        for example in self.order:
            own = self.group[example]
            open_batch[own].append(example)
            shown[own].append(example)
            if len(open_batch[own]) == self.size:
                left -= 1
                yield open_batch.pop(own)
        for own in sorted(open_batch, key=lambda own: -len(open_batch[own]))[:left]:
            yield (open_batch[own] + shown[own] * self.size)[: self.size]


def make_net(norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """Return the default net of this code in PyTorch's own layers."""
    layers, before = [], 1
    for channels in (32, 64, 128):
        layers += [nn.Conv2d(before, channels, 4, stride=2, padding=1), norm(channels), nn.ReLU()]
        before = channels
    head = nn.Conv2d(before, 10, 1)
    net = nn.Sequential(*layers, head, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear" if layer is head else "relu")
            nn.init.zeros_(cast(torch.Tensor, layer.bias))
    return net


@dataclass(frozen=True)
class Digits:
    """A split on the 28×28 canvas."""

    dataset: Dataset

    @cached_property
    def classes(self) -> torch.Tensor:
        return torch.from_numpy(self.dataset.classes).long()

    def images(self, epoch: int) -> torch.Tensor:
        """Return all digits as they are in an epoch, [n, 1, 28, 28]."""
        block = self.dataset.block(np.arange(len(self.dataset)), (SIDE, SIDE), epoch=epoch)
        scaled = torch.from_numpy(block.image).permute(0, 3, 1, 2).float() / 255
        return (scaled - CONFIG.data.mean[0]) / CONFIG.data.std[0]


def read(split: str, *, seed: int, training: bool) -> Digits:
    return Digits(open_dataset(overridden(CONFIG, {"seed": seed}), split, smallest_input=8, training=training))


def groups_of(level: str, dataset: Dataset, seed: int) -> list[int]:
    """Return the group of every training example."""
    sizes = dataset.views.sizes(0)
    match level:
        case "shuffled":
            return [0] * len(sizes)
        case "every shape":
            return np.unique(sizes, axis=0, return_inverse=True)[1].ravel().tolist()
        case _:
            schedule = replace(CONFIG.schedule, canvases=rule_of(level), max_buckets=CANVASES)
            return choose_canvases(sizes, dataset.classes, schedule, seed=seed).canvas.tolist()


def rate(step: int, *, warmup: int, total: int) -> float:
    """Return the factor on the learning rate: a linear warm-up, then a cosine to 0."""
    return step / warmup if step < warmup else (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def train(norm: str, level: str, seed: int, test: Digits) -> tuple[float, int]:
    """Train one net; return its accuracy on the test split, and how many training examples it was never shown."""
    digits, config = read(CONFIG.data.train_split, seed=seed, training=True), CONFIG.train
    torch.manual_seed(seed)
    net = make_net(NORMS[norm])
    kernels = [value for value in net.parameters() if value.ndim > 1]
    others = [value for value in net.parameters() if value.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    order = torch.utils.data.RandomSampler(range(len(digits.dataset)))
    batches = GroupedBatchSampler(order, groups_of(level, digits.dataset, seed), BATCH)
    factor = partial(rate, warmup=round(config.warmup_epochs * len(batches)), total=EPOCHS * len(batches))
    schedule, shown = torch.optim.lr_scheduler.LambdaLR(optimizer, factor), set()
    for epoch in range(EPOCHS):
        images = digits.images(epoch)
        for batch in batches:
            loss = functional.cross_entropy(
                net(images[batch]), digits.classes[batch], label_smoothing=config.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            shown.update(batch)
    net.eval()
    with torch.no_grad():
        said = torch.cat([net(part).argmax(1) for part in test.images(0).split(1000)])
    return float((said == test.classes).float().mean()), len(digits.dataset) - len(shown)


def main() -> int:
    torch.set_num_threads(1)
    rows = {(row["norm"], row["level"], row["seed"]): row for row in _rows()}
    missing = [
        (norm, level, seed) for seed in SEEDS for norm in NORMS for level in LEVELS if (norm, level, seed) not in rows
    ]
    test = read(CONFIG.data.test_split, seed=0, training=False)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for number, (norm, level, seed) in enumerate(missing, start=1):
        accuracy, unseen = train(norm, level, seed, test)
        row = {"norm": norm, "level": level, "seed": seed, "accuracy": accuracy, "unseen": unseen, "code": CODE}
        rows[norm, level, seed] = row
        with ROWS.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "torch": torch.__version__}) + "\n")
        print(f"{number}/{len(missing)}  {norm}, {level}, seed {seed}: {accuracy:.4f}", flush=True)
    write_atomically(PAGE, page(rows, results_of(SIZE_AND_CLASS, full=False)))
    print(PAGE)
    return 0


def _rows() -> list[dict]:
    """Return the rows that this code made."""
    lines = ROWS.read_text(encoding="utf-8").splitlines() if ROWS.exists() else []
    return [row for row in map(json.loads, lines) if row["code"] == CODE]


def page(rows: Mapping[tuple[str, str, int], dict], ours: Results) -> str:
    """Return the table: accuracy in PyTorch, its difference to shuffled batches, and the same difference here."""
    lines = []
    for norm in NORMS:
        shuffled = {seed: rows[norm, "shuffled", seed]["accuracy"] for seed in SEEDS}
        for level in LEVELS:
            values = {seed: rows[norm, level, seed]["accuracy"] for seed in SEEDS}
            cells = ("baseline", "", "")
            if level != "shuffled":
                there = {seed: values[seed] - shuffled[seed] for seed in SEEDS}
                here = _gaps(ours, norm, level)
                found = (
                    paired_difference(values, shuffled),
                    paired_difference(here, dict.fromkeys(here, 0.0)),
                    difference_of_independent([*there.values()], [*here.values()]),
                )
                cells = tuple("–" if one is None else difference_text(ACCURACY, one) for one in found)
            unseen = max(rows[norm, level, seed]["unseen"] for seed in SEEDS)
            said = mean_and_deviation(ACCURACY, spread([*values.values()]))
            lines.append((f"{norm}, {level}", said, *cells, str(unseen)))
    columns = (
        "arm",
        "accuracy in PyTorch, %",
        "difference to shuffled [95 %]",
        "the same here",
        "PyTorch − here",
        "examples never shown",
    )
    warnings = "".join(f"> {line}\n\n" for line in notices(ours))
    return (
        f"# size_and_class in PyTorch\n\n{warnings}Batches of one group against shuffled batches, in PyTorch "
        f"{torch.__version__.split('+')[0]}, {len(SEEDS)} seeds. A batch is of one canvas of size_and_class, or of one "
        "shape. Points of test accuracy and 95 % intervals: over pairs of seeds, and Welch's for the last difference.\n"
        "\nThree things differ from this code. Batches come when they are full, so at the most the classes come nearly "
        "in turn, while steps here come in random order. A last batch that is not full is filled with examples that "
        "were shown before, or dropped. The initial parameters are other draws.\n\n"
        "    .venv-interop/bin/python -m experiments.pytorch_replication\n\n"
        f"{Table(columns, tuple(lines)).to_markdown()}"
    )


def _gaps(ours: Results, norm: str, level: str) -> dict[int, float]:
    """Return {seed: what steps of one canvas differ from shuffled steps} of this code; empty without such steps."""
    values, shuffled = (ours.values(arm, ACCURACY) for arm in (arm_name("bucketed", norm, level), against(norm)))
    return {seed: values[seed] - shuffled[seed] for seed in values.keys() & shuffled.keys()}


if __name__ == "__main__":
    sys.exit(main())
