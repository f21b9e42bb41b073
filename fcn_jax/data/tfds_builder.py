"""A TFDS builder whose data is prepared, or one line that says why it is not and what to do.

TFDS retries a download for minutes where there is no network, so every host is asked first, for seconds. What needs no
download (files fetched before, generated data) is prepared without a network, too.
"""

import contextlib
import difflib
import io
import logging
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fcn_jax.config import UserError
from fcn_jax.system.console import say

SECONDS_TO_ANSWER = 8.0
MOST_ASKED = 8
USUAL_ROOT = "https://storage.googleapis.com"
"""Asked where a data set does not say where it downloads from."""


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


def open_builder(name: str) -> Any:
    """The builder of `NAME[/CONFIG][:VERSION]`, its data prepared if it was not.

    Raises:
        UserError: there is no such data set, or it cannot be prepared here.
    """
    builder = _make_builder(name)
    if not builder.is_prepared():
        _prepare(builder, name)
    return builder


def _make_builder(name: str) -> Any:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    data_dir = os.environ.get("TFDS_DATA_DIR")
    try:
        with quiet():
            return tfds.builder(name, data_dir=data_dir)
    except DatasetNotFoundError as error:
        names = tfds.list_builders(with_community_datasets=False)
        raise UserError(
            f"config.data.source is tfds:{name}, but TFDS has no data set of that name, and none is prepared in "
            f"{data_dir or '~/tensorflow_datasets'}{_close(name.partition('/')[0], names)}"
        ) from error
    except ImportError as error:  # The code needs TensorFlow, say; the prepared files don't.
        with contextlib.suppress(Exception), quiet():
            return read_only_builder.builder_from_files(name, data_dir=data_dir)
        reason = f"{_one_line(error)}; {_remedy(name)}"
        raise UserError(f"tfds:{name} is not prepared, and its builder cannot run here: {reason}") from error
    except Exception as error:  # An unknown config is a ValueError, an unknown version an AssertionError, and so on.
        reason = _unknown_config(name) or f"which TFDS refuses: {_one_line(error)}"
        raise UserError(f"config.data.source is tfds:{name}, {reason}") from error


def _unknown_config(name: str) -> str:
    """What is wrong with the CONFIG of a name; empty if nothing is."""
    import tensorflow_datasets as tfds

    base, _, config = name.partition(":")[0].partition("/")
    with contextlib.suppress(Exception), quiet():
        configs = list(tfds.builder_cls(base).builder_configs)
        if config and config not in configs:
            return f"but {base} has no config {config}" + (_close(config, configs) or f"; it has {', '.join(configs)}")
    return ""


def _prepare(builder: Any, name: str) -> None:
    import tensorflow_datasets as tfds

    roots = {_root(url) for url in builder.url_infos or {} if "//" in url} or {USUAL_ROOT}
    online = _any_answers(sorted(roots)[:MOST_ASKED])
    if online:
        say(f"preparing tfds:{name} in {builder.data_dir}")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with contextlib.redirect_stdout(sys.stderr if online else None), _giving_up_early(bars=online):
            builder.download_and_prepare(file_format="array_record", download_config=config)
    except _NoAnswerError as error:
        reason = f"{error} cannot be reached from here; {_remedy(name)}"
        raise UserError(f"tfds:{name} is not prepared in {builder.data_dir}, and {reason}") from error
    except Exception as error:  # Whatever a builder's own code raises.
        raise UserError(f"tfds:{name} cannot be prepared here: {_one_line(error)}; {_remedy(name)}") from error


class _NoAnswerError(OSError):
    pass


@contextlib.contextmanager
def _giving_up_early(*, bars: bool) -> Iterator[None]:
    """A download from a host that does not answer fails at once."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    original = downloader._open_url

    def open_url(url: str, **options: Any) -> Any:
        if url.startswith("http") and not _any_answers([_root(url)]):
            raise _NoAnswerError(_root(url))
        return original(url, **options)

    downloader._open_url = open_url
    if not bars:
        tfds.disable_progress_bar()
    try:
        yield
    finally:
        downloader._open_url = original
        if not bars:
            tfds.enable_progress_bar()


def _root(url: str) -> str:
    scheme, host, *_ = urlsplit(url)
    return f"{scheme}://{host}"


def _any_answers(urls: list[str]) -> bool:
    """Whether one of them answers, whatever it says, directly or through the proxy of the environment."""
    answered = threading.Event()

    def ask(url: str) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=SECONDS_TO_ANSWER).close()
        except urllib.error.HTTPError:
            pass
        except OSError:
            return
        answered.set()

    # Looking up a name knows no time limit, so a thread that does not come back is left behind.
    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SECONDS_TO_ANSWER
    while not answered.is_set() and time.monotonic() < deadline and any(thread.is_alive() for thread in threads):
        answered.wait(0.05)
    return answered.is_set()


def _remedy(name: str) -> str:
    where = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return (
        'on a machine that can, run: python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}').download_and_prepare(file_format='array_record')\", and copy its "
        f"~/tensorflow_datasets/{name.partition(':')[0].partition('/')[0]} into {where} here, "
        "or set TFDS_DATA_DIR to where it is"
    )


def _close(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, set(names), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 400 else f"{text[:400]} …"
