"""A cache is never needed: whatever is wrong with it costs time and one line, never the run."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax._src import compilation_cache

from fcn_jax.config import MachineConfig
from fcn_jax.system import cache
from fcn_jax.system.cache import cache_folder, keep_arrays, load_arrays, use_compilation_cache
from tests.limits import file_size_limit

ARRAYS = {"rows": np.arange(40).reshape(10, 4), "paths": np.array([f"train/cat/{number}.png" for number in range(10)])}


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(cache, "_told", set())


def test_what_is_kept_is_loaded(tmp_path, capfd):
    keep_arrays(tmp_path / "new" / "sizes.npz", **ARRAYS)
    loaded = load_arrays(tmp_path / "new" / "sizes.npz")
    assert loaded is not None
    assert loaded.keys() == ARRAYS.keys()
    assert all((loaded[name] == ARRAYS[name]).all() for name in ARRAYS)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sizes.npz"]
    assert load_arrays(tmp_path / "none" / "sizes.npz") is None
    assert capfd.readouterr().err == ""


@given(st.data())
def test_damage_is_found(tmp_path_factory, data):
    """A changed byte, wherever it is, or a cut."""
    folder = tmp_path_factory.mktemp("cache")
    keep_arrays(folder / "sizes.npz", **ARRAYS)
    whole = (folder / "sizes.npz").read_bytes()
    place, mask = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    flipped = whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :]
    for harmed in (flipped, whole[:place]):
        (folder / "sizes.npz").write_bytes(harmed)
        assert load_arrays(folder / "sizes.npz") is None
        assert not (folder / "sizes.npz").exists()


def test_a_folder_is_worth_one_line(tmp_path, capfd):
    for number in range(3):
        (tmp_path / f"{number}.npz").write_bytes(b"PK")
        assert load_arrays(tmp_path / f"{number}.npz") is None
        keep_arrays(tmp_path / f"{number}.npz", **ARRAYS)
        assert load_arrays(tmp_path / f"{number}.npz") is not None
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / '0.npz'} cannot be used")
    assert "is made anew" in line


def test_a_full_disk(tmp_path, capfd):
    keep_arrays(tmp_path / "sizes.npz", rows=np.arange(3))
    with file_size_limit(1000):
        keep_arrays(tmp_path / "sizes.npz", rows=np.arange(1000))
    loaded = load_arrays(tmp_path / "sizes.npz")
    assert loaded is not None
    assert len(loaded["rows"]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["sizes.npz"]
    (line,) = capfd.readouterr().err.splitlines()
    assert "sizes.npz cannot be written (File too large): it is not cached" in line


def test_a_folder_in_place_of_the_file(tmp_path, capfd):
    (tmp_path / "sizes.npz").mkdir()
    assert load_arrays(tmp_path / "sizes.npz") is None
    keep_arrays(tmp_path / "sizes.npz", **ARRAYS)
    assert [path.name for path in tmp_path.iterdir()] == ["sizes.npz"]
    assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("text", ["{}/file/below", "{}/file", "/proc/fcn_jax", "~nobody_of_this_name/cache", "a\0b"])
def test_a_folder_that_cannot_be(tmp_path, capfd, text):
    (tmp_path / "file").write_bytes(b"")
    machine = MachineConfig(cache_dir=text.format(tmp_path))
    assert cache_folder(machine) is None
    assert cache_folder(machine) is None
    (line,) = capfd.readouterr().err.splitlines()
    assert "nothing is cached" in line


def test_a_home_that_cannot_be_written(monkeypatch, capfd):
    monkeypatch.setenv("HOME", "/dev/null")
    assert cache_folder(MachineConfig()) is None
    assert "/dev/null/.cache/fcn_jax cannot be written (Not a directory): nothing is cached" in capfd.readouterr().err


def test_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(MachineConfig()) == tmp_path / ".cache" / "fcn_jax"
    assert cache_folder(MachineConfig(cache_dir="")) is None
    assert not list(Path(tmp_path / ".cache" / "fcn_jax").iterdir())


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder of programs, compiled by `compile_one`, that only this test uses."""
    names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
    monkeypatch.setattr(compilation_cache, "get_file_cache", compilation_cache.get_file_cache)
    compilation_cache.reset_cache()
    use_compilation_cache(MachineConfig(cache_dir=str(tmp_path / "cache")))
    yield tmp_path / "cache" / "programs"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def compile_one():
    zeros = np.zeros(3, np.float32)
    program = jax.jit(lambda x: x * 3 + 1).lower(zeros).compile()
    assert program(zeros).tolist() == [1.0] * 3


def harms(whole):
    middle = len(whole) // 2
    yield whole[:middle]
    yield whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    yield b""


def test_a_damaged_program_is_replaced(programs, capfd):
    """JAX alone warns of it in every later run, because it never replaces a file."""
    compile_one()
    files = list(programs.iterdir())
    whole = [file.read_bytes() for file in files]
    assert len(files) >= 1
    for number in range(3):
        for file, content in zip(files, whole, strict=True):
            file.write_bytes(list(harms(content))[number])
        compile_one()
        assert sorted(programs.iterdir()) == sorted(files)
        assert all(load_arrays(file) for file in files)
    (line,) = capfd.readouterr().err.splitlines()
    assert "is made anew" in line


def test_threads_share_a_damaged_entry(programs, capfd):
    """Some of them read it before and some after another one removed or replaced it."""
    compile_one()
    files = list(programs.iterdir())
    for file in files:
        file.write_bytes(b"damaged")
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(compile_one) for _ in range(16)]:
            done.result()
    compile_one()
    assert sorted(programs.iterdir()) == sorted(files)
    assert all(load_arrays(file) for file in files)
    (line,) = capfd.readouterr().err.splitlines()
    assert "is made anew" in line


def test_a_program_of_another_kind_is_replaced(programs, capfd):
    """Its file is whole, but JAX cannot use what it holds."""
    compile_one()
    files = list(programs.iterdir())
    for file in files:
        keep_arrays(file, program=np.zeros(100, np.uint8))
    compile_one()
    assert min(file.stat().st_size for file in files) > 1000
    assert capfd.readouterr().err == ""


def test_a_program_that_cannot_be_kept(programs, capfd):
    programs.parent.mkdir(exist_ok=True)
    programs.write_bytes(b"a file in place of the folder")
    compile_one()
    assert len(capfd.readouterr().err.splitlines()) == 1
