"""TFDS data sets by name: found, or prepared first; if they cannot be prepared here, one line says why and how.

A data set that is not prepared yet is prepared in the form that random access needs.
"""

import contextlib
import difflib
import os
import sys
import textwrap
import threading
from importlib.util import find_spec
from pathlib import Path
from statistics import mode
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np

from fcn_jax.config import UserError
from fcn_jax.system.console import hushing_tfds, say

SECONDS_TO_ANSWER = 8.0
"""Longest wait for an answer of the host that a data set is downloaded from."""


def open_builder(name: str) -> Any:
    """Return the builder of `NAME[/CONFIG][:VERSION]`; prepare its data if that was not done before.

    Raises:
        UserError: there is no such data set, or it cannot be prepared here.
    """
    _describe_sound_without_tensorflow()
    builder = _make_builder(name)
    if not builder.is_prepared():
        _prepare(builder, name)
    return builder


def _describe_sound_without_tensorflow() -> None:
    """Let TFDS describe sound where TensorFlow is missing: it is asked only for the name of a type of NumPy."""
    from tensorflow_datasets.core.features import audio_feature

    if find_spec("tensorflow") is None:
        audio_feature.tf = SimpleNamespace(dtypes=SimpleNamespace(as_dtype=np.dtype))


def _make_builder(name: str) -> Any:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    data_dir = os.environ.get("TFDS_DATA_DIR")
    try:
        with hushing_tfds():
            return tfds.builder(name, data_dir=data_dir)
    except DatasetNotFoundError as error:
        names = tfds.list_builders(with_community_datasets=False)
        raise UserError(
            f"config.data.source is tfds:{name}, but TFDS has no data set of that name, and none is prepared in "
            f"{data_dir or '~/tensorflow_datasets'}{_close(name.partition('/')[0], names)}"
        ) from error
    except ImportError as error:  # Only the builder's code may need TensorFlow; prepared files do not.
        with contextlib.suppress(Exception), hushing_tfds():
            return read_only_builder.builder_from_files(name, data_dir=data_dir)
        reason = f"{one_line(error)}; {_remedy(name)}"
        raise UserError(f"tfds:{name} is not prepared, and its builder cannot run here: {reason}") from error
    except Exception as error:  # An unknown config is a ValueError, an unknown version an AssertionError, and so on.
        reason = _unknown_config(name) or f"which TFDS refuses: {one_line(error)}"
        raise UserError(f"config.data.source is tfds:{name}, {reason}") from error


def _unknown_config(name: str) -> str:
    """Say what is wrong with the CONFIG of a name; empty if nothing is."""
    import tensorflow_datasets as tfds

    base, _, config = name.partition(":")[0].partition("/")
    with contextlib.suppress(Exception), hushing_tfds():
        configs = list(tfds.builder_cls(base).builder_configs)
        if config and config not in configs:
            return f"but {base} has no config {config}" + (_close(config, configs) or f"; it has {', '.join(configs)}")
    return ""


def _prepare(builder: Any, name: str) -> None:
    """Prepare a data set on this machine; if it needs a download, only if there is a network.

    If no host answers, TFDS repeats a download for minutes, and no setting changes that. So the host of most files is
    asked first. If it does not answer, only files downloaded before are used, and no download is repeated.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    hosts = ["://".join(urlsplit(url)[:2]) for url in builder.url_infos or {} if "//" in url]
    online = not hosts or _answers(mode(hosts))
    if online:
        say(f"preparing tfds:{name} in {builder.data_dir}")
    elif builder.MANUAL_DOWNLOAD_INSTRUCTIONS or _has_downloads(builder):
        downloader.MAX_RETRIES = 0
        tfds.disable_progress_bar()
    else:
        missing = f"tfds:{name} is not prepared in {builder.data_dir}"
        raise UserError(f"{missing}, and {mode(hosts)} cannot be reached from here; {_remedy(name)}")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with contextlib.redirect_stdout(sys.stderr if online else None):
            builder.download_and_prepare(file_format="array_record", download_config=config)
    except Exception as error:  # A builder's own code may raise anything.
        raise UserError(f"tfds:{name} cannot be prepared here: {one_line(error)}; {_remedy(name)}") from error


def _has_downloads(builder: Any) -> bool:
    """Return whether any file of a data set was downloaded before."""
    from tensorflow_datasets.core.download.resource import get_dl_fname

    root = str(builder.data_dir).removesuffix(builder.info.full_name)
    names = [get_dl_fname(url, info.checksum) for url, info in builder.url_infos.items()]
    return any(Path(root, "downloads", place, name).exists() for name in names for place in ("", builder.name))


def _answers(url: str) -> bool:
    """Return whether a host gives any answer, directly or through the proxy that the environment names."""
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError):
            with contextlib.suppress(HTTPError):
                urlopen(Request(url, method="HEAD"), timeout=SECONDS_TO_ANSWER).close()
            answered.set()

    # The lookup of a host name has no time limit, so a thread that hangs in it is left behind.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER)
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


def one_line(error: Exception) -> str:
    return textwrap.shorten(str(error), 400, placeholder=" …") or type(error).__name__
