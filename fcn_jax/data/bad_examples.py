"""Examples that cannot be used: found while indexing they are left out of the plan, found while reading they become
filler rows. Either way they are named, counted, and too many of them stop the run.
"""

import json
from pathlib import Path

from fcn_jax.config import UserError
from fcn_jax.system.disk import parse_json, writing
from fcn_jax.system.processes import gather


class BadExampleError(UserError):
    """One example cannot be read; the message is the reason."""


class BadExamples:
    """The bad examples of one split.

    Args:
        split: its name.
        num_examples: of the split, good and bad.
        max_fraction: of them that may be bad.
    """

    def __init__(self, split: str, num_examples: int, *, max_fraction: float):
        self._split, self._num_examples, self._max_fraction = split, num_examples, max_fraction
        self._reasons: dict[str, str] = {}
        self._taken: set[str] = set()
        self._written: set[str] = set()

    def __len__(self) -> int:
        return len(self._reasons)

    def add(self, name: str, reason: str) -> None:
        """An example met again in another epoch counts once."""
        self._reasons.setdefault(name, reason)

    def take_new(self) -> dict[str, str]:
        """{name: reason} of those met since the last time, for other processes to add."""
        reasons = dict(self._reasons)  # A copy: the loader's threads may add to it meanwhile, here and below.
        new = {name: reason for name, reason in reasons.items() if name not in self._taken}
        self._taken |= new.keys()
        return new

    def check(self) -> None:
        """
        Raises:
            UserError: there are more of them than the config allows; it names the first.
        """
        if len(self) > self._max_fraction * self._num_examples:
            first = "; ".join(f"{name}: {reason}" for name, reason in list(self._reasons.items())[:3])
            raise UserError(
                f"{len(self):,} of the {self._num_examples:,} examples of {self._split} are bad, more than "
                f"config.data.max_bad_fraction={self._max_fraction} allows: {first}"
            )

    def write_new(self, path: Path) -> None:
        """Append those that the file does not name yet, a JSON line each."""
        reasons = dict(self._reasons)
        if reasons.keys() <= self._written:
            return
        if path.exists():
            self._written |= {
                parse_json(line)["name"] for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")
            }
        with writing(path), path.open("a", encoding="utf-8") as file:
            for name, reason in reasons.items():
                if name not in self._written:
                    row = {"split": self._split, "name": name, "reason": reason}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._written |= reasons.keys()


def share(bad: BadExamples) -> None:
    """Let every process know of the bad examples that any has met since the last time."""
    for reasons in gather(bad.take_new()):
        for name, reason in reasons.items():
            bad.add(name, reason)
