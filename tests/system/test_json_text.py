"""JSON of unknown origin fails with a ValueError."""

import pytest

from fcn_jax.system.disk import parse_json


def test_what_is_json_is_read():
    assert parse_json('{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 100_000, "9" * 5000])
def test_what_is_not_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
