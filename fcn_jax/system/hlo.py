"""What a compiled program moves and launches, counted from the text of its optimised HLO.

XLA's own count of bytes leaves out nothing: it has buffers that never leave a TPU's scratch memory, and it is missing
for GPUs. Here every instruction of the program counts the bytes of its operands and of its results, unless they lie in
scratch memory (layouts with S(1)). What a fusion holds inside itself does not count. The body of a loop counts as often
as it runs. So the bytes are those that go through the main memory of one device, or a little more: an instruction that
reads a part of an operand counts the whole.
"""

import math
import re
from dataclasses import dataclass, field
from typing import NamedTuple

FREE = frozenset(
    {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id",
     "opt-barrier", "iota"}
)  # fmt: skip
"""Opcodes that move nothing, or hardly anything."""
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
SCRATCH = "S(1)"

COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
SHAPE = re.compile(r"\b([a-z]+)(\d*)\w*\[([\d,]*)\](\{[^}]*\})?")
TRIPS = re.compile(r'known_trip_count\\?":\{\\?"n\\?":\\?"(\d+)')


class Traffic(NamedTuple):
    """What one call of a program costs one device."""

    bytes: float = 0.0
    """Bytes read and written in main memory."""
    launches: int = 0
    """Instructions that run one after the other; on a GPU, about the number of kernels."""
    fusions: int = 0
    collectives: int = 0
    """Reductions and other exchanges between devices."""

    def __add__(self, other: "Traffic") -> "Traffic":  # type: ignore[override]
        return Traffic(
            self.bytes + other.bytes,
            self.launches + other.launches,
            self.fusions + other.fusions,
            self.collectives + other.collectives,
        )

    def times(self, number: int) -> "Traffic":
        return Traffic(number * self.bytes, number * self.launches, number * self.fusions, number * self.collectives)


@dataclass(frozen=True)
class Instruction:
    """One instruction of a computation."""

    name: str
    shapes: str
    """The type of its result, as HLO writes it."""
    opcode: str
    operands: tuple[str, ...]
    attributes: str


@dataclass
class Module:
    """The computations of a program by name, and the name of the one that it begins with."""

    computations: dict[str, list[Instruction]] = field(default_factory=dict)
    entry: str = ""


def traffic_of(text: str) -> Traffic:
    """Return what a program costs.

    Args:
        text: its optimised HLO, as `compiled.as_text()` gives it.
    """
    module = parse(text)
    return _traffic(module, module.entry, {})


def parse(text: str) -> Module:
    """Parse the text of an HLO module."""
    module, current = Module(), ""
    for line in text.splitlines():
        if found := COMPUTATION.match(line):
            current = found[2]
            module.computations[current] = []
            module.entry = current if found[1] else module.entry
        elif current and (found := INSTRUCTION.match(line)):
            module.computations[current].append(_instruction(found[1], found[2]))
    assert module.entry, "the text has no ENTRY computation"
    return module


def _instruction(name: str, rest: str) -> Instruction:
    """Parse what follows the name: `type opcode(operands), attributes`."""
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    shapes, rest = rest[:end], rest[end:].lstrip()
    begin = rest.index("(")
    close = _closing(rest, begin)
    operands = re.findall(r"%([\w.\-]+)", rest[begin:close])
    return Instruction(name, shapes, rest[:begin], tuple(operands), rest[close + 1 :])


def _closing(text: str, begin: int) -> int:
    """Return the place of the parenthesis that closes the one at `begin`."""
    depth = 0
    for place in range(begin, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    raise AssertionError(f"no closing parenthesis in {text!r}")


def bytes_of(shapes: str) -> float:
    """Return the bytes of a type, or of all in a tuple, that lie in main memory."""
    total = 0.0
    for kind, bits, sides, layout in SHAPE.findall(shapes):
        if kind == "token" or SCRATCH in layout:
            continue
        size = 1 if kind == "pred" else int(bits) / 8
        total += size * math.prod(int(side) for side in sides.split(",") if side)
    return total


def _traffic(module: Module, name: str, known: dict[str, Traffic]) -> Traffic:
    if name not in known:
        instructions = module.computations[name]
        shapes = {instruction.name: instruction.shapes for instruction in instructions}
        known[name] = sum((_of(i, module, shapes, known) for i in instructions), start=Traffic())
    return known[name]


def _of(instruction: Instruction, module: Module, shapes: dict[str, str], known: dict[str, Traffic]) -> Traffic:
    opcode, attributes = instruction.opcode, instruction.attributes
    if opcode in FREE or opcode.endswith(("-done", "-update")):
        return Traffic()
    if opcode == "while":
        trips = TRIPS.search(attributes)
        body = re.search(r"body=%?([\w.\-]+)", attributes)
        assert body
        return _traffic(module, body[1], known).times(int(trips[1]) if trips else 1)
    if opcode == "conditional":
        branches = re.search(r"branch_computations=\{([^}]*)\}", attributes)
        named = (
            branches[1] if branches else " ".join(re.findall(r"(?:true|false)_computation=(%?[\w.\-]+)", attributes))
        )
        return max(_traffic(module, branch, known) for branch in re.findall(r"[\w.\-]+", named))
    if opcode in ("call", "async-start"):
        called = re.search(r"(?:to_apply|calls)=%?([\w.\-]+)", attributes)
        assert called
        return _traffic(module, called[1], known)
    result = instruction.shapes
    if opcode.endswith("-start") and result.startswith("("):
        result = (SHAPE.search(result) or [""])[0]  # The rest are the operands again.
    moved = bytes_of(result) + sum(bytes_of(shapes.get(name, "")) for name in instruction.operands)
    return Traffic(moved, 1, int(opcode == "fusion"), int(opcode.startswith(COLLECTIVES)))
