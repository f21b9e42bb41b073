"""The conversion of a TFDS builder's output into an embedded data set: small files that any machine reproduces.

The bytes depend only on the versions of array-record (its compressor) and TFDS (its JSON files).
"""

import contextlib
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import tensorflow_datasets as tfds
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue] (binary)
from tensorflow_datasets.proto import tf_example_pb2


def check_md5(path: Path, expected: str, *, flag: str) -> None:
    """Check that a file exists and has this MD5.

    Args:
        flag: the flag of the command line that names the file or its folder, for the message.

    Raises:
        ValueError: the file is missing or has another MD5.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: {flag} needs the official file with MD5 {expected}")
    found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if found != expected:
        raise ValueError(f"{path} has MD5 {found}, the official file has {expected}: fetch an undamaged copy")


def repack(source: Path, target: Path, options: str) -> None:
    """Copy the examples of an ArrayRecord file, in order, with the writer's `options` and sorted feature keys."""
    reader = array_record_module.ArrayRecordReader(str(source))
    writer = array_record_module.ArrayRecordWriter(str(target), options)
    for record in reader.read_all():
        # TFDS does not fix the order of the protobuf map. Sorting changes neither content nor length.
        example = tf_example_pb2.Example.FromString(record)  # pyright: ignore[reportAttributeAccessIssue]
        writer.write(example.SerializeToString(deterministic=True))
    writer.close()
    reader.close()


def embed(
    make_builder: Callable[[str], tfds.core.DatasetBuilder], out: Path, *, manual_dir: Path, options: str
) -> Path:
    """Prepare a data set under `out` and return its directory, `out/NAME/VERSION`.

    Args:
        make_builder: makes the builder for a data_dir.
        manual_dir: the folder of the official files.
        options: options of array-record's writer.
    """
    with tempfile.TemporaryDirectory() as scratch:
        builder = make_builder(f"{scratch}/data")
        with contextlib.redirect_stdout(None):  # TFDS would announce a download that does not happen
            builder.download_and_prepare(
                file_format="array_record",
                download_dir=f"{scratch}/downloads",
                download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False),
            )
        prepared = Path(builder.data_dir)
        directory = out / prepared.relative_to(f"{scratch}/data")
        directory.mkdir(parents=True, exist_ok=True)
        for path in sorted(prepared.iterdir()):
            if ".array_record" in path.name:
                repack(path, directory / path.name, options)
            else:
                shutil.copyfile(path, directory / path.name)
    return directory


def run_build(build: Callable[[], Path]) -> int:
    """Run a builder's command, print one line with the result or the error, and return the exit code."""
    tfds.disable_progress_bar()
    try:
        directory = build()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in directory.iterdir())
    print(f"{directory}: {size:,} bytes")
    return 0
