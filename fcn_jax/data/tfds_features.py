"""Which feature of a TFDS data set is the example and which its label: the supervised pair, or the only two."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fcn_jax.data.images import check_image_channels


@dataclass(frozen=True)
class Features:
    source: str
    """As the user calls it."""
    value: str
    label: str
    rank: int
    """2: an image; 1: a signal."""
    channels: int | None
    """Of a signal; None: unknown."""
    label_names: tuple[str, ...]

    def check_channels(self, channels: int) -> None:
        """
        Raises:
            ValueError: examples cannot be brought to them.
        """
        if self.rank == 2:
            check_image_channels(channels)
        elif channels not in (1, self.channels):
            raise ValueError(
                f"config.data.channels is {channels}, but the signals of {self.source} have {self.channels}: "
                f"set config.data.channels={self.channels}, or 1 for their mean"
            )


def find_features(info: Any, source: str) -> Features:
    """
    Raises:
        ValueError: no example or label can be told, or values of another kind.
    """
    import tensorflow_datasets as tfds

    features = dict(info.features)
    labels = [name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    values = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
    values = values or [name for name, feature in features.items() if _is_signal(feature)]
    pair = info.supervised_keys
    if isinstance(pair, tuple) and len(pair) == 2 and pair[0] in values and pair[1] in labels:
        values, labels = [pair[0]], [pair[1]]
    if len(values) != 1 or len(labels) != 1:
        told = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise ValueError(
            f"{source} has the features {told}, but it needs one image (or one float signal, [length] or "
            "[length, channels]) and one class label: prepare a data set that has them"
        )
    value, label = features[values[0]], features[labels[0]]
    is_image = isinstance(value, tfds.features.Image)
    return Features(
        source=source,
        value=values[0],
        label=labels[0],
        rank=2 if is_image else 1,
        channels=None if is_image else (*value.shape, 1)[1],
        label_names=tuple(label.names),
    )


def _is_signal(feature: Any) -> bool:
    import tensorflow_datasets as tfds

    if not isinstance(feature, tfds.features.Tensor):
        return False
    shape: Any = feature.shape
    dtype: Any = feature.np_dtype
    is_series = len(shape) in (1, 2) and shape[0] is None and None not in shape[1:]
    return is_series and np.issubdtype(np.dtype(dtype), np.floating)
