"""Initial weights from a file that others made: safetensors, with the names of `published_names.py`.

All or nothing: every tensor of the file has its place and every place its tensor, or an error names the first that
has not. The one exception is the classifier, which stays newly drawn where its shape is another. Nothing is unpickled.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array
from safetensors import SafetensorError, safe_open

from fcn_jax.config import ModelConfig
from fcn_jax.models.layers import count_parameters
from fcn_jax.models.model import Model, each
from fcn_jax.models.published_names import Places, published_places

FLOATS = ("F16", "F32", "F64")
"""What numpy has of the types of a safetensors file, of those that weights come in."""
REMEDY = "let config.model be the net of the file (name, channels, blocks, bottleneck, stem), or choose another file"

Tensors = dict[str, np.ndarray]


def load_pretrained(model: Model, c: ModelConfig) -> str:
    """Fill the model of a config with the weights of its `init_from`; returns a line that says what was filled.

    Raises:
        ValueError: the file cannot be read, or is of another net: the first tensor that is missing, extra or misshapen.
    """
    path = Path(c.init_from).expanduser()
    tensors = read_tensors(path)
    places, classifier = published_places(model.net, c.name, each(len(c.channels), c.blocks))
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
    """What is to be said of a classifier that the file has not, or in another shape; '' of one to be filled."""
    found = [name for name in classifier if name in tensors]
    if not found:
        return f"; the head stays newly drawn: the file has no {next(iter(classifier))}"
    for name in found:
        if not _fits(tensors[name], classifier[name]):
            here = _shape_of_theirs(classifier[name])[: tensors[name].ndim]
            return f"; the head stays newly drawn: {name} is {tensors[name].shape} in the file and {here} here"
    return ""


def read_tensors(path: Path) -> Tensors:
    """All tensors of a safetensors file but BatchNorm's counts of batches, which nothing reads.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise ValueError(
            f"config.model.init_from is {str(path)!r}, but there is no such file: give a .safetensors file"
        )
    try:
        with safe_open(path, framework="np") as file:
            names = [name for name in file.keys() if not name.endswith("num_batches_tracked")]  # noqa: SIM118
            for name in names:
                kind = file.get_slice(name).get_dtype()
                if kind not in FLOATS:
                    raise ValueError(
                        f"config.model.init_from is {str(path)!r}, whose {name} is of type {kind}, but weights must be "
                        f"one of {', '.join(FLOATS)}: save them as float32"
                    )
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"config.model.init_from is {str(path)!r}, which is no safetensors file ({error}): convert it first; "
            "nothing else is read, for pickled files can run code"
        ) from error


def check_tensors(tensors: Tensors, places: Places, path: Path) -> None:
    """Every tensor has its place, every place its tensor, and they have the same shape.

    Raises:
        ValueError: the first that has not, how many more, and what to do.
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
        raise ValueError(f"config.model.init_from is {str(path)!r}, which {' and '.join(faults)}: {REMEDY}")


def _first_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _shape_of_theirs(place: nnx.Variable) -> tuple[int, ...]:
    """PyTorch has [outputs, inputs, *window] where we have [*window, inputs, outputs]; vectors are vectors."""
    if place.ndim == 1:
        return place.shape
    *window, inputs, outputs = place.shape
    return (outputs, inputs, *window)


def _fits(theirs: np.ndarray, place: nnx.Variable) -> bool:
    """A dense layer's [outputs, inputs] serves a 1×1 convolution."""
    needed = _shape_of_theirs(place)
    return theirs.shape == needed or (theirs.ndim == 2 and (*theirs.shape, *[1] * (place.ndim - 2)) == needed)


def _as_ours(theirs: np.ndarray, place: nnx.Variable) -> Array:
    if place.ndim > 1:
        theirs = np.moveaxis(theirs.reshape(_shape_of_theirs(place)), (0, 1), (-1, -2))
    return jnp.asarray(theirs, place.dtype)
