"""What TFDS and its helpers say that is of no use here is kept from the user; results alone go to standard output."""

import contextlib
import io
import logging
from collections.abc import Iterator

USELESS = (
    "was created with group size",  # array_record, of the groups that keep the embedded data small
    "has no dataset_info.json",  # TFDS, of a data set that is about to be prepared
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While TFDS works. It prints, for one, a banner where TensorFlow is missing."""
    logging.getLogger("absl").addFilter(_is_useful)  # for good: array_record speaks up later, too
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _is_useful(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in USELESS)
