"""PyTorch beside JAX, on one thread each, so that they do not wait for one another."""

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # Its compiled part is for another build of PyTorch. The nets do not need it; the import does, for two operators.
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

torch.set_num_threads(1)
