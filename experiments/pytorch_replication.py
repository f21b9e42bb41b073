"""The ablation size_and_class once more in PyTorch, with no code of this net, its masks or its schedule.

.venv-interop/bin/python -m experiments.pytorch_replication     (safe to stop and start again; writes pytorch.md)

All digits stand in the middle of the same 28×28 canvas, so here too nothing but the members of a batch differs between
the arms. Batches of one group are drawn as torchvision's reference training of detectors draws them, by the
GroupedBatchSampler of references/detection/group_by_aspect_ratio.py: in random order, and a group that cannot fill its
last batch fills it with examples that it has shown before. The groups are those that size_and_class puts on one canvas,
or every shape.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import nn
from torch.nn import functional
from torch.utils.data import Sampler

from configs import mnist
from experiments.ablations.size_and_class import SIZE_AND_CLASS, arm_name
from experiments.metrics import ACCURACY
from experiments.report import directory_of, results_of
from experiments.results import Results
from experiments.statistics import paired_difference, spread
from experiments.words import difference_text, mean_and_deviation
from fcn_jax.config_fields import overridden
from fcn_jax.core.canvas_choice import choose_canvases
from fcn_jax.data.dataset import open_dataset
from fcn_jax.data.transforms import centred
from fcn_jax.reports.html import Table
from fcn_jax.system.disk import write_atomically

RESULTS = directory_of(SIZE_AND_CLASS, full=False)
ROWS, PAGE = RESULTS / "pytorch.jsonl", RESULTS / "pytorch.md"
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BatchNorm": lambda channels: nn.BatchNorm2d(channels),
    "GroupNorm": lambda channels: nn.GroupNorm(channels // 8, channels),
    "no norm": lambda channels: nn.Identity(),
}
LEVELS = ("shuffled", "every shape", "by size", "0", "0.3", "1", "most")
"""What the batches hold: any examples, those of one shape, or those of one canvas at a level of size_and_class."""
SEEDS = range(5)
EPOCHS, EXAMPLES, BATCH, RATE, DECAY, SMOOTHING = 4, 12_000, 128, 3e-3, 0.05, 0.1
"""Those of the short form of size_and_class."""
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
    """Return the default net of this code in PyTorch's own layers, with its own initial parameters."""
    layers, before = [], 1
    for channels in (32, 64, 128):
        layers += [nn.Conv2d(before, channels, 4, stride=2, padding=1), norm(channels), nn.ReLU()]
        before = channels
    return nn.Sequential(*layers, nn.Conv2d(before, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def read(split: str) -> tuple[torch.Tensor, torch.Tensor, Int[np.ndarray, "n 2"]]:
    """Return the digits of a split in the middle of the canvas, their classes, and their sizes."""
    dataset = open_dataset(mnist.get_config(), split, smallest_input=8, training=False)
    images = np.stack([centred(dataset.example(index), (SIDE, SIDE), 0) for index in range(len(dataset))])
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (scaled - 0.1307) / 0.3081, torch.from_numpy(dataset.classes).long(), dataset.views.sizes(0)


def groups_of(level: str, sizes: Int[np.ndarray, "n 2"], classes: Int[np.ndarray, " n"], seed: int) -> list[int]:
    """Return the group of every training example."""
    match level:
        case "shuffled":
            return [0] * len(sizes)
        case "every shape":
            return np.unique(sizes, axis=0, return_inverse=True)[1].ravel().tolist()
        case _:
            rule = "size" if level == "by size" else f"class:{level}"
            config = overridden(mnist.get_config(), {"schedule.canvases": rule, "schedule.max_buckets": CANVASES})
            return choose_canvases(sizes, classes, config.schedule, seed=seed).canvas.tolist()


def train(norm: str, level: str, seed: int, data: tuple, test: tuple) -> float:
    """Train one net and return its accuracy on the test split."""
    (images, classes, sizes), (test_images, test_classes, _) = data, test
    torch.manual_seed(seed)
    net = make_net(NORMS[norm])
    kernels = [value for value in net.parameters() if value.ndim > 1]
    others = [value for value in net.parameters() if value.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    order = torch.utils.data.RandomSampler(range(len(images)))
    batches = GroupedBatchSampler(order, groups_of(level, sizes, classes.numpy(), seed), BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=EPOCHS * len(batches), pct_start=1 / EPOCHS, div_factor=1e4, cycle_momentum=False
    )
    for _ in range(EPOCHS):
        for batch in batches:
            loss = functional.cross_entropy(net(images[batch]), classes[batch], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        said = torch.cat([net(part).argmax(1) for part in test_images.split(1000)])
    return float((said == test_classes).float().mean())


def main() -> int:
    torch.set_num_threads(1)
    made = {(row["norm"], row["level"], row["seed"]): row["accuracy"] for row in _rows()}
    missing = [
        (norm, level, seed) for seed in SEEDS for norm in NORMS for level in LEVELS if (norm, level, seed) not in made
    ]
    if missing:
        data, test = read(f"train[:{EXAMPLES}]"), read("test")
        for number, (norm, level, seed) in enumerate(missing, start=1):
            accuracy = train(norm, level, seed, data, test)
            made[norm, level, seed] = accuracy
            with ROWS.open("a", encoding="utf-8") as file:
                row = {"norm": norm, "level": level, "seed": seed, "accuracy": accuracy, "torch": torch.__version__}
                file.write(json.dumps(row) + "\n")
            print(f"{number}/{len(missing)}  {norm}, {level}, seed {seed}: {accuracy:.4f}", flush=True)
    write_atomically(PAGE, page(made, results_of(SIZE_AND_CLASS, full=False)))
    print(PAGE)
    return 0


def _rows() -> list[dict]:
    return [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()] if ROWS.exists() else []


def page(made: dict[tuple[str, str, int], float], ours: Results) -> str:
    """Return the table: accuracy in PyTorch, its difference to shuffled batches, and the same difference here."""
    rows = []
    for norm in NORMS:
        for level in LEVELS:
            values, shuffled = ({seed: made[norm, which, seed] for seed in SEEDS} for which in (level, "shuffled"))
            said = mean_and_deviation(ACCURACY, spread([*values.values()]))
            cells = ("", "", "")
            if level != "shuffled":
                theirs = paired_difference(values, shuffled)
                here = ours.difference(arm_name("bucketed", norm, level), f"shuffled, {norm}", ACCURACY)
                there = {seed: values[seed] - shuffled[seed] for seed in SEEDS}
                both = paired_difference(there, _gaps(ours, norm, level))
                is_here = level != "every shape"
                cells = (
                    difference_text(ACCURACY, theirs),
                    difference_text(ACCURACY, here) if is_here else "–",
                    difference_text(ACCURACY, both) if is_here else "–",
                )
            rows.append((f"{norm}, {level}", said, str(len(SEEDS)), *cells))
    columns = ("arm", "accuracy in PyTorch, %", "n", "difference to shuffled [95 %]", "the same here", "PyTorch − here")
    return (
        "# size_and_class in PyTorch\n\nBatches of one group against shuffled batches, in PyTorch "
        f"{torch.__version__.split('+')[0]} with the sampler of torchvision's reference training of detectors. "
        "Points of test accuracy, and 95 % intervals over seeds.\n\n"
        "    .venv-interop/bin/python -m experiments.pytorch_replication\n\n"
        f"{Table(columns, tuple(rows)).to_markdown()}"
    )


def _gaps(ours: Results, norm: str, level: str) -> dict[int, float]:
    """Return {seed: what steps of one canvas differ from shuffled steps} of this code."""
    values = ours.values(arm_name("bucketed", norm, level), ACCURACY)
    shuffled = ours.values(f"shuffled, {norm}", ACCURACY)
    return {seed: values[seed] - shuffled[seed] for seed in values.keys() & shuffled.keys()}


if __name__ == "__main__":
    sys.exit(main())
