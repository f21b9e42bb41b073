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

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Sampler

from experiments.ablations.size_and_class import SIZE_AND_CLASS, rule_of
from experiments.pytorch_page import PAGE, RUN, VERSION, append_row, missing, read_rows, write_page
from experiments.report import directory_of, results_of
from fcn_jax.config_fields import overridden
from fcn_jax.core.canvas_choice import choose_canvases
from fcn_jax.data.dataset import Dataset, open_dataset

MAKE_NORM: dict[str, Callable[[int], nn.Module]] = {
    "BatchNorm": lambda channels: nn.BatchNorm2d(channels),
    "GroupNorm": lambda channels: nn.GroupNorm(channels // 8, channels),
    "no norm": lambda channels: nn.Identity(),
}
CONFIG = RUN.config
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
    net = make_net(MAKE_NORM[norm])
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
    directory = directory_of(SIZE_AND_CLASS, full=False)
    todo = missing(read_rows(directory))
    test = read(CONFIG.data.test_split, seed=0, training=False)
    directory.mkdir(parents=True, exist_ok=True)
    for number, (norm, level, seed) in enumerate(todo, start=1):
        accuracy, unseen = train(norm, level, seed, test)
        row = {"norm": norm, "level": level, "seed": seed, "accuracy": accuracy, "unseen": unseen, "code": VERSION}
        append_row(directory, {**row, "torch": torch.__version__})
        print(f"{number}/{len(todo)}  {norm}, {level}, seed {seed}: {accuracy:.4f}", flush=True)
    write_page(directory, results_of(SIZE_AND_CLASS, full=False))
    print(directory / PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
