"""Examples that cannot be used.

An example found bad while the sizes are measured is left out of the plan. One found bad while it is read becomes a
filler row. Both kinds are named and counted, and too many of them stop the run.
"""

import json
from pathlib import Path

from fcn_jax.config import UserError
from fcn_jax.system.disk import parse_json, writing
from fcn_jax.system.processes import gather


class BadExampleError(UserError):
    """An example that cannot be used; the message is the reason."""


class BadExamples:
    """The bad examples of one split.

    Args:
        split: name of the split.
        num_examples: number of examples in the split, good and bad.
        max_fraction: largest fraction of them that may be bad.
    """

    def __init__(self, split: str, num_examples: int, *, max_fraction: float):
        self._split, self._num_examples, self._max_fraction = split, num_examples, max_fraction
        self._reasons: dict[str, str] = {}
        self._taken: set[str] = set()
        self._written: set[str] = set()

    def __len__(self) -> int:
        return len(self._reasons)

    def add(self, name: str, reason: str) -> None:
        """Note a bad example; the same example in another epoch counts once."""
        self._reasons.setdefault(name, reason)

    def take_new(self) -> dict[str, str]:
        """Return {name: reason} of the bad examples met since the last call, for other processes to add."""
        reasons = dict(self._reasons)  # A copy, here and below: the loader's threads may add to it meanwhile.
        new = {name: reason for name, reason in reasons.items() if name not in self._taken}
        self._taken |= new.keys()
        return new

    def check(self) -> None:
        """Check that the config allows so many bad examples.

        Raises:
            UserError: there are more; the message names the first three.
        """
        if len(self) > self._max_fraction * self._num_examples:
            first = "; ".join(f"{name}: {reason}" for name, reason in list(self._reasons.items())[:3])
            raise UserError(
                f"{len(self):,} of the {self._num_examples:,} examples of {self._split} are bad, more than "
                f"config.data.max_bad_fraction={self._max_fraction} allows: {first}"
            )

    def write_new(self, path: Path) -> None:
        """Append the bad examples that the file does not name yet, one JSON line each."""
        reasons = dict(self._reasons)
        if reasons.keys() <= self._written:
            return
        if path.exists():
            self._written |= {
                parse_json(line)["name"] for line in path.read_text(encoding="utf-8").split("\n") if line.endswith("}")
            }
        with writing(path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            for name, reason in reasons.items():
                if name not in self._written:
                    row = {"split": self._split, "name": name, "reason": reason}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._written |= reasons.keys()


def share(bad: BadExamples) -> None:
    """Tell every process about the bad examples that any process has met since the last call."""
    for reasons in gather(bad.take_new()):
        for name, reason in reasons.items():
            bad.add(name, reason)
