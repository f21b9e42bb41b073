"""JSON that somebody else may have written, read so that it can do no more than fail with a ValueError."""

import json
from typing import Any


def parse_json(text: str) -> Any:
    """What a text says.

    Raises:
        ValueError: it is no JSON, or nested so deeply that no writer of ours made it.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
