"""Files that only save time: any of them may be missing, damaged or impossible to write, and the run goes on.

What is lost is made anew, and then it replaces what was there. A folder of such files is worth one line to the user at
most, whatever happens in it.
"""

import contextlib
import hashlib
import io
import os
import secrets
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np

from fcn_jax.config import MachineConfig
from fcn_jax.system.console import say

DIGEST_BYTES = hashlib.sha256().digest_size

_told: set[Path] = set()
"""The folders of which the user was told something."""
_telling = threading.Lock()


def cache_folder(machine: MachineConfig) -> Path | None:
    """Return the folder of the caches; None if the config names none, or if it cannot be made or written to."""
    if not machine.cache_dir:
        return None
    folder = Path(machine.cache_dir)
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: this user has no home. ValueError: a NUL.
        _tell_once(folder, f"{folder} cannot be written ({_reason(error)}): nothing is cached, which costs only time")
        return None


def use_compilation_cache(machine: MachineConfig) -> None:
    """Make JAX reuse programs that an earlier process compiled, if there is a folder for caches."""
    import jax  # Imported late: planning needs a cache, but no JAX.

    folder = cache_folder(machine)
    if folder is None:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # What JAX says of a program that it cannot use is of no interest: it is compiled again, and replaced.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
    with contextlib.suppress(ImportError):  # A JAX that changes these names keeps the programs its own way.
        from jax._src import compilation_cache

        setattr(compilation_cache, "get_file_cache", lambda path: (_Programs(Path(path)), path))  # noqa: B010


class _Programs:
    """A folder of compiled programs in place of JAX's own, which never replaces a damaged file."""

    def __init__(self, folder: Path):
        self._path = folder  # JAX reads this name.

    def get(self, key: str) -> bytes | None:
        stored = load_arrays(self._path / f"{key}.npz")
        return stored["program"].tobytes() if stored else None

    def put(self, key: str, value: bytes) -> None:
        keep_arrays(self._path / f"{key}.npz", program=np.frombuffer(value, np.uint8))


def load_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Return what `keep_arrays` wrote; None if it is missing or damaged. A damaged file is removed."""
    try:
        stored = path.read_bytes()
        content = stored[:-DIGEST_BYTES]
        if _digest(content) != stored[-DIGEST_BYTES:]:
            raise ValueError("it is damaged")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        return None
    except Exception as error:  # Another version may have kept something else; NumPy raises many kinds then.
        _tell_once(path.parent, f"{path} cannot be used ({_reason(error)}): it is made anew, as is any other like it")
        with contextlib.suppress(OSError):
            path.unlink()
        return None


def keep_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays whole or not at all, even while others write the same file."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    temporary = path.with_name(f".{os.getpid()}.{secrets.token_hex(4)}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.getvalue() + _digest(content.getvalue()))
        temporary.replace(path)
    except OSError as error:
        _tell_once(path.parent, f"{path} cannot be written ({_reason(error)}): it is not cached, which costs only time")
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _digest(content: bytes) -> bytes:
    """Return the digest that a file ends with: an .npz file alone does not tell every damage."""
    return hashlib.sha256(content).digest()


def _tell_once(folder: Path, line: str) -> None:
    """Print a line, unless one about this folder was printed before."""
    with _telling:
        if folder not in _told:
            _told.add(folder)
            say(line)


def _reason(error: Exception) -> str:
    """Return the reason of an error in one line."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()) or type(error).__name__
