"""A disk that takes no more is one line that names the file; a read that may pass is tried again."""

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fcn_jax.config import UserError
from fcn_jax.data.bad_examples import BadExampleError, BadExamples
from fcn_jax.system import disk
from fcn_jax.system.disk import expanded, make_folder, reading_again, write_atomically, write_bytes, write_json, writing
from fcn_jax.train.log import MetricsWriter, read_metrics
from tests.limits import file_size_limit


def test_the_old_text_stays(tmp_path):
    write_json(tmp_path / "summary.json", 1)
    with file_size_limit(100), pytest.raises(ValueError, match=r"summary\.json cannot be written \(File too large\)"):
        write_json(tmp_path / "summary.json", list(range(1000)))
    assert (tmp_path / "summary.json").read_text() == "1\n"


def test_the_old_bytes_stay_and_no_other_file(tmp_path):
    write_bytes(tmp_path / "net", b"old")
    with file_size_limit(100), pytest.raises(ValueError, match=r"net cannot be written \(File too large\)"):
        write_bytes(tmp_path / "net", bytes(1000))
    assert (tmp_path / "net").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_several_writers_at_once_leave_one_whole_text(tmp_path):
    texts = {letter * 200_000 for letter in "abcd"}
    with ThreadPoolExecutor(len(texts)) as threads:
        for _ in range(20):
            list(threads.map(lambda text: write_atomically(tmp_path / "page", text), texts))
            assert (tmp_path / "page").read_text() in texts


def test_a_device_stays_a_device():
    write_bytes(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()


def test_logging(tmp_path):
    with MetricsWriter(tmp_path, step=0) as writer:
        writer.write(1, "train", {"loss": 1.0})
        with file_size_limit(100), pytest.raises(ValueError, match=r"metrics\.jsonl cannot be written"):
            writer.write(2, "train", {"loss": [1.0] * 100})
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["loss"] == 1
    with MetricsWriter(tmp_path, step=1) as writer:
        writer.write(2, "train", {"loss": 1.0})
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]


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


class Flaky:
    """A read that raises some errors, one after the other, and then returns 7."""

    def __init__(self, *errors: Exception):
        self._errors, self.tries = list(errors), 0

    def __call__(self) -> int:
        self.tries += 1
        if self._errors:
            raise self._errors.pop(0)
        return 7


def wrapped(number: int) -> Exception:
    try:
        try:
            raise OSError(number, "as the disk says it")
        except OSError as error:
            raise BadExampleError("as we say it") from error
    except BadExampleError as error:
        return error


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses that are made, of no length."""
    made = []
    monkeypatch.setattr(disk.time, "sleep", made.append)
    monkeypatch.setattr(disk, "_failed_in_a_row", 0)
    return made


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ETIMEDOUT", "EAGAIN", "EBUSY", "ECONNRESET", "EHOSTUNREACH"])
def test_a_read_that_may_pass_is_tried_again_after_growing_pauses(pauses, name):
    number = getattr(errno, name)
    read = Flaky(OSError(number, "passing"), wrapped(number))
    assert reading_again(read) == 7
    assert pauses == sorted(pauses)
    assert (read.tries, len(pauses)) == (3, 2)
    assert sum(pauses) < 1


@pytest.mark.parametrize("name", ["ENOENT", "EACCES", "EISDIR", "ENOTDIR", "ENAMETOOLONG"])
def test_a_read_that_fails_for_good_is_not_tried_again(pauses, name):
    for read in (Flaky(OSError(getattr(errno, name), "for good")), Flaky(wrapped(getattr(errno, name)))):
        with pytest.raises((OSError, BadExampleError), match=r"for good|as we say it"):
            reading_again(read)
        assert (read.tries, pauses) == (1, [])


def test_a_dead_disk_does_not_cost_a_pause_for_every_file(pauses):
    for _ in range(1000):
        with pytest.raises(OSError, match="dead"):
            reading_again(Flaky(*[OSError(errno.EIO, "dead")] * 9))
    assert len(pauses) == disk.MOST_IN_A_ROW * len(disk.PAUSES)
    assert reading_again(Flaky()) == 7
    assert reading_again(Flaky(OSError(errno.EIO, "passing"))) == 7


def test_a_home_that_does_not_exist():
    with pytest.raises(UserError, match=r"~nobody_of_this_name/x cannot be found .*: give a path without ~"):
        expanded("~nobody_of_this_name/x")
