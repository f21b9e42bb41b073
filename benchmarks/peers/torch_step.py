"""The same training step in PyTorch; `benchmarks/step.py --torch=PYTHON` runs it, with that interpreter, in turns.

It reads one line of JSON with the net and the blocks, says `ready`, and then answers each line with the milliseconds of
a step: of all images on the largest canvas ("padded"), and of one forward pass for each block ("blocks"). The memory
format is channels_last, the optimiser SGD with momentum. On a GPU it computes in bfloat16 (AMP), and a third way is
the padded step through `torch.compile`.
"""

import json
import sys
import time
from contextlib import nullcontext

import torch
from torch import nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make_net(net: dict) -> nn.Module:
    """Make the layers before the average, then the average and a dense layer."""
    layers, features = make_resnet(net) if "blocks" in net else make_row(net)
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, net["classes"])]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last, device=DEVICE)


def make_row(net: dict) -> tuple[list[nn.Module], int]:
    """Make convolutions in a row, with BatchNorm and ReLU; return them and their last number of channels."""
    layers, features = [], net["input_channels"]
    for number, (width, kernel, stride, padding) in enumerate(net["convolutions"]):
        if net["adaptive_pool"] and number == net["adaptive_pool_after"]:
            layers.append(nn.AdaptiveAvgPool2d(net["adaptive_pool"]))
        layers += convolution(features, width, kernel, stride, padding), nn.ReLU(inplace=True)
        features = width
    return layers, features


def convolution(features: int, width: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Sequential:
    """Make a convolution with BatchNorm."""
    padding = kernel // 2 if padding is None else padding
    return nn.Sequential(nn.Conv2d(features, width, kernel, stride, padding, bias=False), nn.BatchNorm2d(width))


class Residual(nn.Module):
    """A residual block, version 1.5."""

    def __init__(self, features: int, width: int, stride: int, *, bottleneck: bool):
        super().__init__()
        out = 4 * width if bottleneck else width
        kernels = [(1, 1), (3, stride), (1, 1)] if bottleneck else [(3, stride), (3, 1)]
        widths = [width, width, out] if bottleneck else [width, out]
        layers, before = [], features
        for (kernel, step), after in zip(kernels, widths, strict=True):
            layers += convolution(before, after, kernel, step), nn.ReLU(inplace=True)
            before = after
        self.inner = nn.Sequential(*layers[:-1])
        self.shortcut = convolution(features, out, 1, stride) if (features, 1) != (out, stride) else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.inner(x) + self.shortcut(x))


def make_resnet(net: dict) -> tuple[list[nn.Module], int]:
    """Make a ResNet for large images; return its layers and its last number of channels."""
    layers = [convolution(net["input_channels"], net["channels"][0], 7, 2), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    features, wider = net["channels"][0], 4 if net["bottleneck"] else 1
    for stage, (width, number) in enumerate(zip(net["channels"], net["blocks"], strict=True)):
        for block in range(number):
            stride = 2 if stage and not block else 1
            layers.append(Residual(features, width, stride, bottleneck=net["bottleneck"]))
            features = wider * width
    return layers, features


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    torch.set_num_threads(asked["threads"])
    blocks = [tuple(block) for block in asked["blocks"]]
    model = make_net(asked["net"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    channels = asked["net"]["input_channels"]
    total = sum(rows for rows, _, _ in blocks)
    largest = (total, max(block[1] for block in blocks), max(block[2] for block in blocks))

    def batch(rows: int, height: int, width: int):
        image = torch.rand(rows, channels, height, width).contiguous(memory_format=torch.channels_last)
        return image.to(DEVICE), torch.randint(0, asked["net"]["classes"], (rows,)).to(DEVICE)

    def part(image, label):
        with torch.autocast("cuda", torch.bfloat16) if DEVICE == "cuda" else nullcontext():
            return loss(model(image), label) * (len(label) / total)

    padded = [batch(*largest)]
    ways = {"padded": (part, padded), "blocks": (part, [batch(*block) for block in blocks])}
    if side := asked["square"]:
        ways = {f"{side}×{side}": (part, [batch(total, side, side)])}
    if DEVICE == "cuda":
        ways["padded, torch.compile"] = (torch.compile(part), padded)

    def step(way: str) -> None:
        compute, batches = ways[way]
        optimizer.zero_grad(set_to_none=True)
        for image, label in batches:
            compute(image, label).backward()
        optimizer.step()

    def finish() -> float:
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    print("ready", flush=True)
    for line in sys.stdin:
        calls = int(line)
        taken = {}
        for way in ways:
            step(way)
            began = finish()
            for _ in range(calls):
                step(way)
            taken[way] = 1e3 * (finish() - began) / calls
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
