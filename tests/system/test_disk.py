"""A disk that takes no more is one line that names the file, wherever something is written."""

import errno
from pathlib import Path

import numpy as np
import pytest

from fcn_jax.config import UserError
from fcn_jax.data.bad_examples import BadExamples
from fcn_jax.system.disk import make_folder, save_arrays, write_atomically, write_json, writing
from fcn_jax.train.log import MetricsWriter, read_metrics
from tests.limits import file_size_limit


def test_the_old_text_stays(tmp_path):
    write_json(tmp_path / "summary.json", 1)
    with file_size_limit(100), pytest.raises(ValueError, match=r"summary\.json cannot be written \(File too large\)"):
        write_json(tmp_path / "summary.json", list(range(1000)))
    assert (tmp_path / "summary.json").read_text() == "1\n"


def test_logging(tmp_path):
    with MetricsWriter(tmp_path, step=0) as writer:
        writer.write(1, "train", {"loss": 1.0})
        with file_size_limit(100), pytest.raises(ValueError, match=r"metrics\.jsonl cannot be written"):
            writer.write(2, "train", {"loss": [1.0] * 100})
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["loss"] == 1
    with MetricsWriter(tmp_path, step=1) as writer:
        writer.write(2, "train", {"loss": 1.0})
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]


def test_caching(tmp_path):
    with file_size_limit(1000), pytest.raises(ValueError, match=r"sizes\.npz cannot be written"):
        save_arrays(tmp_path / "cache" / "sizes.npz", rows=np.arange(1000))
    assert not (tmp_path / "cache" / "sizes.npz").exists()


def test_bad_examples(tmp_path):
    bad = BadExamples("train", 10, max_fraction=1.0)
    bad.add("a.png", "it is cut off " * 100)
    with file_size_limit(100), pytest.raises(ValueError, match=r"bad\.jsonl cannot be written"):
        bad.write_new(tmp_path / "bad.jsonl")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EACCES, "change its permissions"),
        (errno.EISDIR, "a folder has this name"),
        (errno.ENOENT, "make the folder"),
    ],
)
def test_the_remedy_fits_the_error(number, said):
    with pytest.raises(UserError, match=rf"net\.bin cannot be written \(reason\): .*{said}"), writing(Path("net.bin")):
        raise OSError(number, "reason", "net.bin")


def test_a_folder_in_the_way_is_no_full_disk(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match=r"report\.html cannot be written .*: a folder has this name"):
        write_atomically(tmp_path / "report.html", "text")
    assert not list(tmp_path.glob(".*.new"))


def test_a_folder_where_nobody_may_write(tmp_path):
    """Root may write anywhere but to `/proc`."""
    with pytest.raises(UserError, match=r"/proc/.* cannot be written"):
        make_folder(Path("/proc/fcn_jax"))
