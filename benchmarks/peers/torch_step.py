"""The same training step in PyTorch; `benchmarks/step.py --torch=PYTHON` runs it, with that interpreter, in turns.

It reads one line of JSON with the net and the blocks, says `ready`, and then answers each line with the milliseconds of
a step: of all images on the largest canvas ("padded"), and of one forward pass for each block ("blocks"). The memory
format is channels_last, the optimiser SGD with momentum.
"""

import json
import sys
import time

import torch
from torch import nn


def make_net(net: dict) -> nn.Module:
    """Make convolutions with BatchNorm and ReLU, the average, and a dense layer."""
    layers: list[nn.Module] = []
    features = net["input_channels"]
    for width, kernel, stride, padding in net["convolutions"]:
        layers += [nn.Conv2d(features, width, kernel, stride, padding, bias=False), nn.BatchNorm2d(width)]
        layers.append(nn.ReLU(inplace=True))
        features = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, net["classes"])]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


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
        return image, torch.randint(0, asked["net"]["classes"], (rows,))

    ways = {"padded": [batch(*largest)], "blocks": [batch(*block) for block in blocks]}

    def step(batches) -> None:
        optimizer.zero_grad(set_to_none=True)
        for image, label in batches:
            (loss(model(image), label) * (len(label) / total)).backward()
        optimizer.step()

    print("ready", flush=True)
    for line in sys.stdin:
        calls = int(line)
        taken = {}
        for way, batches in ways.items():
            step(batches)
            began = time.perf_counter()
            for _ in range(calls):
                step(batches)
            taken[way] = 1e3 * (time.perf_counter() - began) / calls
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
