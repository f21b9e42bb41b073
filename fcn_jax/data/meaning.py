"""The meaning of a net's numbers: its classes in the order of the logits, and the values that it was trained on.

It belongs to the net. Every checkpoint and artifact holds it, and other data is compared with it before it is used.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from fcn_jax.config import UserError
from fcn_jax.data.classes import compare_classes, first_names
from fcn_jax.data.source import Source


@dataclass(frozen=True)
class Meaning:
    """The meaning of a net's input and output."""

    label_names: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    sampling_rate: int | None
    """Samples a second of every signal; None: images, or unknown."""
    value_range: tuple[float, float] | None
    """The lowest and the highest value of an example before it is normalised; None: unknown."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> "Meaning":
        """Read what `to_json` returned.

        Raises:
            UserError: the values have another form.
        """
        if not isinstance(values, dict) or values.keys() != {item.name for item in fields(cls)}:
            raise UserError("it does not say the classes, the sampling rate and the value range of its net")
        limits = values["value_range"]
        return cls(tuple(values["label_names"]), values["sampling_rate"], limits and (limits[0], limits[1]))


def meaning_of(source: Source) -> Meaning:
    """Return the meaning that a net has which is trained on a source."""
    return Meaning(source.label_names, source.sampling_rate, source.value_range)


def check_meaning(source: Source, net: Meaning, *, data: str) -> None:
    """Check that examples mean what they meant when the net was trained; what is unknown on one side is not compared.

    Args:
        data: the config's `data.source`, for messages.

    Raises:
        UserError: the classes, the sampling rate or the value range differ.
    """
    if source.label_names != net.label_names:
        changed = compare_classes(source.label_names, net.label_names) or "their order differs"
        raise UserError(f"the classes of {data} are not those of the net ({first_names(net.label_names)}): {changed}")
    if source.sampling_rate and net.sampling_rate and source.sampling_rate != net.sampling_rate:
        raise UserError(
            f"the signals of {data} have {source.sampling_rate:,} samples a second, but the net was trained with "
            f"{net.sampling_rate:,}: resample the files to that"
        )
    if source.value_range and net.value_range and source.value_range != net.value_range:
        raise UserError(
            f"the values of {data} go from {source.value_range[0]:g} to {source.value_range[1]:g}, but the net was "
            f"trained with values from {net.value_range[0]:g} to {net.value_range[1]:g}: scale them to that"
        )
