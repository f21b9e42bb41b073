"""What others call the tensors of our layers: timm's names, and of resnets torchvision's too, which are the same.

A net is a row of (their name of a layer, our layer), a layer {their name of a tensor: our variable, its place}. Names
are written out, in the order in which our layers stand: nothing is guessed from shapes.
"""

from collections.abc import Iterator, Sequence

from flax import nnx

from fcn_jax.models.convnext import ConvNextBlock, LayerScale
from fcn_jax.models.convolution import Convolution
from fcn_jax.models.heads import (
    AttentionHead,
    ClassifyFirst,
    Head,
    NormedAverage,
    NormFirst,
    PoolFirst,
    PyramidHead,
)
from fcn_jax.models.layers import count_parameters
from fcn_jax.models.net import Net
from fcn_jax.models.norms import BatchNorm, LayerNorm
from fcn_jax.models.resnet import Residual

NamedLayers = Iterator[tuple[str, nnx.Module]]
Places = dict[str, nnx.Variable]

CONVNEXT_BRANCH = ("conv_dw", "norm", "mlp.fc1", "mlp.act", "mlp.fc2", "gamma")
"""Of the layers of a `ConvNextBlock`."""


def published_places(net: Net, family: str, blocks: Sequence[int]) -> tuple[Places, Places]:
    """{their name of a tensor: our variable}, of all layers before the classifier, and of the classifier.

    Args:
        family: `resnet` or `convnext`.
        blocks: of every stage.
    """
    match family:
        case "resnet":
            layers, classifier = _resnet_layers(net, blocks), "fc"
        case "convnext":
            layers, classifier = _convnext_layers(net, blocks), "head.fc"
        case _:
            raise AssertionError(family)
    places = {}
    for name, layer in layers:
        places |= _places_of(name, layer)
    return places, _places_of(classifier, classifier_of(net.head))


def _resnet_layers(net: Net, blocks: Sequence[int]) -> NamedLayers:
    yield "conv1", net.layers[0]
    yield "bn1", net.layers[1]
    names = [f"layer{stage}.{block}" for stage, number in enumerate(blocks, start=1) for block in range(number)]
    residuals = [layer for layer in net.layers if isinstance(layer, Residual)]
    for name, residual in zip(names, residuals, strict=True):
        for position, layer in enumerate(residual.branch):
            yield f"{name}.{'bn' if position % 2 else 'conv'}{position // 2 + 1}", layer
        for position, layer in enumerate(residual.shortcut):
            yield f"{name}.downsample.{position}", layer


def _convnext_layers(net: Net, blocks: Sequence[int]) -> NamedLayers:
    layers = iter(net.layers)
    for stage, number in enumerate(blocks):
        entry = f"stages.{stage}.downsample" if stage else "stem"
        yield f"{entry}.0", next(layers)
        yield f"{entry}.1", next(layers)
        for block in range(number):
            ours = next(layers)
            assert isinstance(ours, ConvNextBlock), ours
            for name, layer in zip(CONVNEXT_BRANCH, ours.branch, strict=True):
                yield f"stages.{stage}.blocks.{block}.{name}", layer
    assert isinstance(net.head, NormedAverage | NormFirst), net.head
    yield "head.norm", net.head.norm


def classifier_of(head: Head) -> Convolution:
    """The layer of a head that makes classes."""
    match head:
        case ClassifyFirst() | PoolFirst() | NormedAverage() | AttentionHead() | PyramidHead():
            return head.classifier
        case NormFirst():
            return classifier_of(head.head)
        case _:
            raise AssertionError(head)


def _places_of(name: str, layer: nnx.Module) -> Places:
    """{their name: our variable} of one layer."""
    match layer:
        case Convolution(bias=None):
            return {f"{name}.weight": layer.kernel}
        case Convolution(bias=nnx.Param() as bias):
            return {f"{name}.weight": layer.kernel, f"{name}.bias": bias}
        case BatchNorm():
            return {
                f"{name}.weight": layer.scale,
                f"{name}.bias": layer.bias,
                f"{name}.running_mean": layer.mean,
                f"{name}.running_var": layer.var,
            }
        case LayerNorm():
            return {f"{name}.weight": layer.scale, f"{name}.bias": layer.bias}
        case LayerScale():
            return {name: layer.scale}
        case _:
            assert not count_parameters(layer), layer
            return {}
