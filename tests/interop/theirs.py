"""Nets of timm and torchvision with nothing left at 0 or 1, their files, and what they say of an image."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import BasicBlock, Bottleneck, ResNet, downsample_conv
from torch import nn

from fcn_jax.config import ModelConfig
from tests.nets.golden_nets import MEAN, STD, golden_config


def shake(net: nn.Module, seed: int = 0, *, gain: float = 1.5) -> nn.Module:
    """Random weights, biases, scales and running statistics; evaluating.

    `gain` is the variance of a kernel times its inputs. It has to keep the logits near 1, and apart from each other.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif name.endswith("gamma"):
            tensor.uniform_(0.2, 0.6, generator=generator)
        elif tensor.ndim > 1:
            tensor.normal_(0, (gain / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("weight"):
            tensor.uniform_(0.5, 1.2, generator=generator)
        else:
            tensor.normal_(0, 0.2, generator=generator)
    return net.eval()


def save(net: nn.Module, path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)


def logits_of(net: nn.Module, image: np.ndarray) -> np.ndarray:
    x = (image.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    with torch.inference_mode():
        return net(torch.from_numpy(x.transpose(2, 0, 1)[None]))[0].numpy()


def narrow_efficientnet(c: ModelConfig, *, same: bool) -> nn.Module:
    squeeze = "" if same else "_se0.25"
    stages = [[f"ds_r1_k3_s1_e1_c8{squeeze}"], [f"ir_r2_k5_s2_e4_c12{squeeze}"]]
    return EfficientNet(
        decode_arch_def(stages),
        num_classes=c.num_classes,
        num_features=16,
        stem_size=8,
        fix_stem=True,
        pad_type="same" if same else "",
        act_layer=nn.ReLU6 if same else nn.SiLU,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3 if same else 1e-5),
        round_chs_fn=lambda channels: channels,
    )


def golden_net(name: str) -> nn.Module:
    """timm's net of a golden config; its classes fix a resnet's stem at 64 channels, so a narrow one is put in."""
    c = golden_config(name).model
    match name:
        case "convnext_linear" | "convnext_convolution":
            conv_mlp = name == "convnext_convolution"
            return ConvNeXt(depths=c.blocks, dims=c.channels, num_classes=c.num_classes, conv_mlp=conv_mlp)
        case "convnext_v2":
            options: dict[str, Any] = {"conv_mlp": True, "use_grn": True, "ls_init_value": None}
            return ConvNeXt(depths=c.blocks, dims=c.channels, num_classes=c.num_classes, **options)
        case "resnet_d":
            options = {"stem_width": c.channels[0] // 2, "stem_type": "deep", "avg_down": True}
            return ResNet(BasicBlock, c.blocks, channels=c.channels, num_classes=c.num_classes, **options)
        case "efficientnet" | "efficientnet_same":
            return narrow_efficientnet(c, same=name == "efficientnet_same")
        case "resnet_basic":
            net = ResNet(BasicBlock, c.blocks, channels=c.channels, num_classes=c.num_classes)
            net.layer1[0] = BasicBlock(c.channels[0], c.channels[0])
        case "resnet_bottleneck":
            net = ResNet(Bottleneck, c.blocks, channels=c.channels, num_classes=c.num_classes)
            shortcut = downsample_conv(c.channels[0], 4 * c.channels[0], kernel_size=1)
            net.layer1[0] = Bottleneck(c.channels[0], c.channels[0], downsample=shortcut)
        case _:
            raise AssertionError(name)
    net.conv1 = nn.Conv2d(3, c.channels[0], 7, stride=2, padding=3, bias=False)
    net.bn1 = nn.BatchNorm2d(c.channels[0])
    return net
