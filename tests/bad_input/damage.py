"""Ways to spoil bytes and JSON, as hypothesis strategies."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

SIZES_OF_NOTHING = (b"", b"\0", b"\n", b"\xff\xfe", b"\0" * 4096)
DEEP = 100_000
RAW_JSON = (
    *(b"", b"{", b"null", b"[]", b"{}", b"0", b'"text"', b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"\xff\xfe{}"),
    *(b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b'"\\ud800"', b'{"a": 1, "a": 2}', b"\0" * 100),
)
"""Contents that take the place of a whole file."""


def damaged(content: bytes) -> SearchStrategy[bytes]:
    """`content` cut off, flipped, overwritten, torn out, doubled; or something else in its place."""
    places = st.sampled_from(range(len(content) + 1))
    few = st.binary(min_size=1, max_size=32)

    @st.composite
    def spoiled(draw: st.DrawFn) -> bytes:
        start, spoilt = draw(places), bytearray(content)
        match draw(st.sampled_from(("cut", "flip", "overwrite", "remove", "insert", "double", "zero", "beginning"))):
            case "cut":
                del spoilt[start:]
            case "flip":
                for place in draw(st.lists(st.sampled_from(range(max(1, len(content)))), min_size=1, max_size=4)):
                    spoilt[place : place + 1] = bytes(
                        byte ^ 1 << draw(st.sampled_from(range(8))) for byte in content[place : place + 1]
                    )
            case "overwrite":
                patch = draw(few)
                spoilt[start : start + len(patch)] = patch
            case "remove":
                del spoilt[start : start + draw(st.integers(1, 64))]
            case "insert":
                spoilt[start:start] = draw(few)
            case "double":
                spoilt += content
            case "zero":
                spoilt[start:] = bytes(len(content) - start)
            case _:  # Where formats say what they are, and how long.
                place = draw(st.sampled_from(range(min(64, len(content)) + 1)))
                spoilt[place : place + 4] = draw(
                    st.sampled_from((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
                )
        return bytes(spoilt)

    return st.one_of(*[spoiled()] * 8, st.sampled_from(SIZES_OF_NOTHING), st.binary(max_size=200))


NUMBERS = st.one_of(
    st.sampled_from((0, -1, 1, 2**31, 2**32, 2**63, -(2**63), 10**30, 10**400, 0.5, 1e308, 1e-320)),
    st.floats(),
    st.integers(),
)
TEXTS = st.one_of(
    st.sampled_from(("", " ", "none", "../..", "\0", "\ud800", "a" * 10_000, "é\u202e")), st.text(max_size=12)
)
VALUES: SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)
"""Values that damage JSON."""


def changed_json(content: bytes) -> SearchStrategy[bytes]:
    """A JSON file with another value at some place, without one, or with one more; or another file."""
    places = list(_places(json.loads(content)))

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        values = json.loads(content)
        parent, key = _holder(values, draw(st.sampled_from(places)))
        match draw(st.sampled_from(("replace", "replace", "replace", "remove", "add"))):
            case "replace":
                parent[key] = draw(st.one_of(VALUES, _like(parent[key]), _like(parent[key])))
            case "remove":
                del parent[key]
            case _ if isinstance(parent, dict):
                parent[draw(TEXTS)] = draw(VALUES)
            case _:
                parent.append(draw(VALUES))
        return json.dumps(values).encode()

    return st.one_of(*[changed()] * 6, damaged(content), st.sampled_from(RAW_JSON))


def _like(value: Any) -> SearchStrategy[Any]:
    """Odd values of the same type."""
    match value:
        case bool():
            return st.just(not value)
        case int():
            return st.one_of(
                st.sampled_from((0, -1, 1, 2, 7, 255, 65536, 2**31, 2**63, 10**30)), st.integers(-300, 300)
            )
        case float():
            return st.one_of(st.sampled_from((0.0, -1.0, 1e-9, 1e9, 1e308, float("nan"), float("inf"))), st.floats())
        case str():
            return TEXTS
        case list():
            return st.sampled_from(([], value * 2, value[:1], [value], [0], [-1], [1, 2, 3], [0.5] * 3))
        case _:
            return VALUES


def changed_lines(content: bytes) -> SearchStrategy[bytes]:
    """A file of JSON lines, one of which is changed; or it is spoiled as bytes."""
    lines = content.splitlines()

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        number = draw(st.sampled_from(range(len(lines))))
        return b"\n".join([*lines[:number], draw(changed_json(lines[number])), *lines[number + 1 :], b""])

    return st.one_of(*[changed()] * 3, damaged(content))


def _places(values: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value inside."""
    match values:
        case dict():
            items = values.items()
        case list():
            items = enumerate(values)
        case _:
            return
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _holder(values: Any, path: tuple) -> tuple[Any, Any]:
    """Return the container of the value at a path, and its key there."""
    for key in path[:-1]:
        values = values[key]
    return values, path[-1]
