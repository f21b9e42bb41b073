"""Initial weights from a published file: safetensors, with tensors named as in timm or torchvision.

The file fills the whole net or nothing. Every tensor of the file must have a place in the net, and every place its
tensor; otherwise an error names the first one that has not. The one exception is the classifier: if its shape differs,
it keeps its random initial weights. Nothing is unpickled, because pickled files can run code.
"""

from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array
from safetensors import SafetensorError, safe_open

from fcn_jax.config import UserError
from fcn_jax.core.convolution import Convolution
from fcn_jax.core.layers import count_parameters
from fcn_jax.core.net import ClassifyFirst, Head, Model, Net, PoolFirst
from fcn_jax.core.norms import BatchNorm, LayerNorm
from fcn_jax.core.pooling import AveragePool
from fcn_jax.core.random_layers import StochasticDepth
from fcn_jax.nets.convnext import ConvNextBlock, LayerScale, ResponseNorm
from fcn_jax.nets.efficientnet import InvertedResidual
from fcn_jax.nets.heads import AttentionHead, NormedAverage, NormFirst, PyramidHead
from fcn_jax.nets.published_families import ConvNeXt, EfficientNet, Published, ResNet, each
from fcn_jax.nets.resnet import Residual
from fcn_jax.nets.squeeze_excite import SqueezeExcite

NamedLayers = Iterator[tuple[str, nnx.Module]]
Places = dict[str, nnx.Variable]

CONVNEXT_BRANCH = ("conv_dw", "norm", "mlp.fc1", "mlp.act", "mlp.fc2", "gamma")
CONVNEXT_V2_BRANCH = ("conv_dw", "norm", "mlp.fc1", "mlp.act", "mlp.grn", "mlp.fc2")
"""Names in timm of the layers of a `ConvNextBlock`, in their order; the second are those with a `ResponseNorm`."""
EFFICIENTNET_BRANCH = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
EFFICIENTNET_BRANCH_UNEXPANDED = ("conv_dw", "bn1", "conv_pw", "bn2")
"""Names in timm of the layers of an `InvertedResidual`, in their order; the second are those without an expansion."""


def published_places(net: Net, c: Published) -> tuple[Places, Places]:
    """Return {name of a tensor in the file: variable of the net}, for all layers before the classifier, and for it."""
    match c:
        case ResNet():
            layers, classifier = _resnet_layers(net, c), "fc"
        case ConvNeXt():
            layers, classifier = _convnext_layers(net, c), "head.fc"
        case EfficientNet():
            layers, classifier = _efficientnet_layers(net, c), "classifier"
        case _:
            raise AssertionError(c)
    places = {}
    for name, layer in layers:
        places |= _places_of(name, layer)
    return places, _places_of(classifier, classifier_of(net.head))


def _blocks_of(c: Published) -> list[tuple[int, int]]:
    """Return (stage, block) of every block, both from 0."""
    numbers = each(len(c.channels), c.blocks)
    return [(stage, block) for stage, number in enumerate(numbers) for block in range(number)]


def _published_layers(block: Residual | ConvNextBlock | InvertedResidual) -> list[nnx.Module]:
    """Return the layers of a branch that have a name in the file; what drops the branch at random has none."""
    return [layer for layer in block.branch if not isinstance(layer, StochasticDepth)]


def _resnet_layers(net: Net, c: ResNet) -> NamedLayers:
    stem = ("conv1.0", "conv1.1", "conv1.3", "conv1.4", "conv1.6", "bn1") if c.deep_stem else ("conv1", "bn1")
    yield from zip(stem, net.layers, strict=False)
    residuals = [layer for layer in net.layers if isinstance(layer, Residual)]
    for (stage, block), residual in zip(_blocks_of(c), residuals, strict=True):
        name = f"layer{stage + 1}.{block}"
        for position, layer in enumerate(_published_layers(residual)):
            if isinstance(layer, SqueezeExcite):
                yield f"{name}.se.fc1", layer.reduce
                yield f"{name}.se.fc2", layer.expand
            else:
                yield f"{name}.{'bn' if position % 2 else 'conv'}{position // 2 + 1}", layer
        # With pools in shortcuts, those that need none have an identity in the place of the pool.
        with_parameters = [layer for layer in residual.shortcut if not isinstance(layer, AveragePool)]
        for position, layer in enumerate(with_parameters, start=1 if c.pool_shortcut else 0):
            yield f"{name}.downsample.{position}", layer


def _convnext_layers(net: Net, c: ConvNeXt) -> NamedLayers:
    layers = iter(net.layers)
    names = CONVNEXT_V2_BRANCH if c.response_norm else CONVNEXT_BRANCH
    for stage, block in _blocks_of(c):
        if block == 0:
            entry = f"stages.{stage}.downsample" if stage else "stem"
            yield f"{entry}.0", next(layers)
            yield f"{entry}.1", next(layers)
        ours = next(layers)
        assert isinstance(ours, ConvNextBlock), ours
        for name, layer in zip(names, _published_layers(ours), strict=True):
            yield f"stages.{stage}.blocks.{block}.{name}", layer
    assert isinstance(net.head, NormedAverage | NormFirst), net.head
    yield "head.norm", net.head.norm


def _efficientnet_layers(net: Net, c: EfficientNet) -> NamedLayers:
    yield from zip(("conv_stem", "bn1"), net.layers, strict=False)
    residuals = [layer for layer in net.layers if isinstance(layer, InvertedResidual)]
    for (stage, block), residual in zip(_blocks_of(c), residuals, strict=True):
        names = iter(EFFICIENTNET_BRANCH if len(_convolutions(residual)) == 3 else EFFICIENTNET_BRANCH_UNEXPANDED)
        for layer in _published_layers(residual):
            if isinstance(layer, SqueezeExcite):
                yield f"blocks.{stage}.{block}.se.conv_reduce", layer.reduce
                yield f"blocks.{stage}.{block}.se.conv_expand", layer.expand
            else:
                yield f"blocks.{stage}.{block}.{next(names)}", layer
    yield from zip(("conv_head", "bn2"), list(net.layers)[-2:], strict=True)


def _convolutions(residual: InvertedResidual) -> list[Convolution]:
    return [layer for layer in residual.branch if isinstance(layer, Convolution)]


def classifier_of(head: Head) -> Convolution:
    """Return the layer of a head that outputs the classes."""
    match head:
        case ClassifyFirst() | PoolFirst() | NormedAverage() | AttentionHead() | PyramidHead():
            return head.classifier
        case NormFirst():
            return classifier_of(head.head)
        case _:
            raise AssertionError(head)


def _places_of(name: str, layer: nnx.Module) -> Places:
    """Return {name of a tensor in the file: variable of the net} for one layer."""
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
        case LayerNorm() | ResponseNorm():
            return {f"{name}.weight": layer.scale, f"{name}.bias": layer.bias}
        case LayerScale():
            return {name: layer.scale}
        case _:
            assert not count_parameters(layer), layer
            return {}


FLOATS = ("F16", "F32", "F64")
"""Types of a safetensors file that weights may have: the floating-point types that NumPy has too."""
REMEDY = "let config.model be the net of the file (name, channels, blocks, bottleneck, stem), or choose another file"

Tensors = dict[str, np.ndarray]


def load_pretrained(model: Model, c: Published) -> str:
    """Fill a model with the weights of the file `init_from`; return a line that says what was filled.

    Raises:
        UserError: the file cannot be read, or is of another net; the message names the first tensor that does not fit.
    """
    try:
        path = Path(c.init_from).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"config.model.init_from is {c.init_from}, but that user has no home: give another path"
        ) from error
    tensors = read_tensors(path)
    places, classifier = published_places(model.net, c)
    note = _why_newly_drawn(classifier, tensors)
    if note:
        tensors = {name: tensor for name, tensor in tensors.items() if name not in classifier}
    else:
        places |= classifier
    check_tensors(tensors, places, path)
    for name, place in places.items():
        place[...] = _as_ours(tensors[name], place)
    filled = sum(place.size for place in places.values() if isinstance(place, nnx.Param))
    return f"initial weights: {filled:,} of {count_parameters(model):,} parameters from {path}{note}"


def _why_newly_drawn(classifier: Places, tensors: Tensors) -> str:
    """Say why the classifier cannot be filled: the file lacks it, or has it in another shape; '' if it can."""
    found = [name for name in classifier if name in tensors]
    if not found:
        return f"; the head stays newly drawn: the file has no {next(iter(classifier))}"
    for name in found:
        if not _fits(tensors[name], classifier[name]):
            here = _shape_of_theirs(classifier[name])[: tensors[name].ndim]
            return f"; the head stays newly drawn: {name} is {tensors[name].shape} in the file and {here} here"
    return ""


def read_tensors(path: Path) -> Tensors:
    """Read all tensors of a safetensors file, except BatchNorm's batch counts, which nothing uses.

    Raises:
        UserError: there is no such file, it is not safetensors, or it holds a type that weights cannot have.
    """
    if not path.is_file():
        raise UserError(f"config.model.init_from is {str(path)!r}, but there is no such file: give a .safetensors file")
    try:
        with safe_open(path, framework="np") as file:
            names = [name for name in file.keys() if not name.endswith("num_batches_tracked")]  # noqa: SIM118
            for name in names:
                kind = file.get_slice(name).get_dtype()
                if kind not in FLOATS:
                    raise UserError(
                        f"config.model.init_from is {str(path)!r}, whose {name} is of type {kind}, but weights must be "
                        f"one of {', '.join(FLOATS)}: save them as float32"
                    )
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"config.model.init_from is {str(path)!r}, which is no safetensors file ({error}): convert it first; "
            "nothing else is read, for pickled files can run code"
        ) from error


def check_tensors(tensors: Tensors, places: Places, path: Path) -> None:
    """Check that every tensor has its place, every place its tensor, and both the same shape.

    Raises:
        UserError: one has not; the message names the first of each fault and counts the others.
    """
    missing = [name for name in places if name not in tensors]
    extra = [name for name in tensors if name not in places]
    misshapen = [name for name in places if name in tensors and not _fits(tensors[name], places[name])]
    faults = []
    if missing:
        faults.append(f"lacks {_first_of(missing)}, which the net of this config has")
    if extra:
        faults.append(f"holds {_first_of(extra)}, for which the net of this config has no place")
    if misshapen:
        found, needed = tensors[misshapen[0]].shape, _shape_of_theirs(places[misshapen[0]])
        faults.append(f"has {_first_of(misshapen)} of shape {found}, where the net of this config needs {needed}")
    if faults:
        raise UserError(f"config.model.init_from is {str(path)!r}, which {' and '.join(faults)}: {REMEDY}")


def _first_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _shape_of_theirs(place: nnx.Variable) -> tuple[int, ...]:
    """Return the shape in PyTorch, [outputs, inputs, *window], of a kernel [*window, inputs, outputs] or a vector."""
    if place.ndim == 1:
        return place.shape
    *window, inputs, outputs = place.shape
    return (outputs, inputs, *window)


def _fits(theirs: np.ndarray, place: nnx.Variable) -> bool:
    """Return whether a tensor fits; a dense layer's [outputs, inputs] fits a 1×1 convolution too."""
    needed = _shape_of_theirs(place)
    return theirs.shape == needed or (theirs.ndim == 2 and (*theirs.shape, *[1] * (place.ndim - 2)) == needed)


def _as_ours(theirs: np.ndarray, place: nnx.Variable) -> Array:
    if place.ndim > 1:
        theirs = np.moveaxis(theirs.reshape(_shape_of_theirs(place)), (0, 1), (-1, -2))
    return jnp.asarray(theirs, place.dtype)
