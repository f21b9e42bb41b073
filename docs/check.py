"""Run every command of README.md and docs/*.md in its small form, and the notebook.

python -m docs.check [PAGE...]     (from the checkout, in a few minutes; make docs-check)

Each page gets a copy of the checkout with made pictures, recordings and tables, and its blocks run there in their
order. Where a console block runs as the page has it, its output has to be the one that the page shows.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import nbformat
import numpy as np
import pyarrow
import soundfile
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image
from pyarrow import parquet
from rich.console import Console

from docs.blocks import ROOT, Block, blocks_of, console_commands, pages, problems, script_of, small, unfenced_commands

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
SECONDS = 600
"""A block that takes longer has failed."""
PAGES_AT_A_TIME = 2


@dataclass(frozen=True)
class Line:
    """What is said of a block."""

    text: str
    outcome: Literal["passed", "not run", "failed"]


STYLES = {"passed": "green", "not run": "yellow", "failed": "red"}


def main(arguments: Sequence[str]) -> int:
    """Check the pages that are named, or all, and the notebook; returns the exit code."""
    chosen = [Path(argument).resolve() for argument in arguments] or [*pages(), NOTEBOOK]
    console, started, num_failures = Console(soft_wrap=True), time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(PAGES_AT_A_TIME) as pool:
        for page, lines in zip(chosen, pool.map(partial(check, folder=Path(folder)), chosen), strict=True):
            console.print(page.relative_to(ROOT), style="bold")
            for line in lines:
                console.print(f"  {line.text}", style=STYLES[line.outcome], markup=False, highlight=False)
            num_failures += sum(line.outcome == "failed" for line in lines)
    console.print(f"{num_failures} failures in {time.monotonic() - started:.0f} s")
    return 1 if num_failures else 0


def check(page: Path, *, folder: Path) -> list[Line]:
    """Check one page, or a notebook, in a workspace of its own below a folder."""
    workspace = make_workspace(folder / page.name)
    env = environment(folder)
    return list((check_notebook if page.suffix == ".ipynb" else check_page)(page, workspace, env))


def check_page(page: Path, workspace: Path, env: dict[str, str]) -> Iterator[Line]:
    """Run the blocks of a page."""
    for number in unfenced_commands(page):
        yield Line(f"{page.name}:{number}: this command is in no block", "failed")
    blocks = list(blocks_of(page))
    for block in blocks:
        yield from check_block(block, workspace, env)
    if any(block.language == "pycon" for block in blocks) and not any("-m doctest" in block.text for block in blocks):
        done = run([sys.executable, "-m", "doctest", str(page)], workspace, env)
        yield Line(f"doctest {done.stdout}", "failed" if done.returncode else "passed")


def check_block(block: Block, workspace: Path, env: dict[str, str]) -> Iterator[Line]:
    started = time.monotonic()
    failures = problems(block) or (list(run_block(block, workspace, env)) if block.is_run else [])
    for failure in failures:
        yield Line(failure, "failed")
    what = f"line {block.line}, {block.language}"
    if block.needs or block.tested_by:
        yield Line(f"{what}: needs {block.needs}" if block.needs else f"{what}: see {block.tested_by}", "not run")
    elif block.is_run and not failures:
        yield Line(f"{what}: {time.monotonic() - started:.0f} s", "passed")


def check_notebook(path: Path, workspace: Path, env: dict[str, str]) -> Iterator[Line]:
    """Execute a notebook in its folder of a workspace."""
    started = time.monotonic()
    try:
        execute(path, workspace, env)
        yield Line(f"all cells: {time.monotonic() - started:.0f} s", "passed")
    except CellExecutionError as error:
        yield Line(str(error), "failed")


def execute(path: Path, workspace: Path, env: dict[str, str]) -> nbformat.NotebookNode:
    """The notebook with new outputs."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(workspace / path.relative_to(ROOT).parent)}}
    client = NotebookClient(notebook, timeout=SECONDS, startup_timeout=SECONDS, coalesce_streams=True, resources=where)
    return client.execute(env=env)


def run_block(block: Block, workspace: Path, env: dict[str, str]) -> Iterator[str]:
    """What went wrong, a text for each failure."""
    if block.language == "python":
        done = run([sys.executable, "-c", block.text], workspace, env)
        if done.returncode:
            yield f"{block.place}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    elif block.language == "bash":
        script = small(script_of(block))
        done = run(["bash", "-euo", "pipefail", "-c", script], workspace, env)
        if done.returncode:
            yield f"{block.place}: exit code {done.returncode} of\n{script}\n{done.stdout}{done.stderr}"
    else:
        for command in console_commands(block):
            script = small(command.text)
            done = run(["bash", "-euo", "pipefail", "-c", script], workspace, env)
            expected = 2 if command.shown.startswith("python -m ") else 0
            if done.returncode != expected:
                yield f"{block.place}: exit code {done.returncode} of\n{script}\n{done.stdout}{done.stderr}"
            elif script == command.text and not agrees(command.shown, done.stdout or done.stderr):
                yield f"{block.place}: another output of\n{script}\n{done.stdout or done.stderr}"


def run(command: Sequence[str], workspace: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command; one that takes too long has the exit code 124."""
    try:
        return subprocess.run(
            command, cwd=workspace, env=env, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"it took more than {SECONDS} s")


def agrees(shown: str, found: str) -> bool:
    """Whether an output is the one that a page shows, where `…` stands for anything; spaces and lines do not count."""
    parts = [re.escape(" ".join(part.split())) for part in shown.split("…")]
    return re.fullmatch(r"\s*.*\s*".join(parts), " ".join(found.split())) is not None


def environment(home: Path) -> dict[str, str]:
    """The environment of commands: this Python first, and a home of their own, so that they leave the user's alone."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Small programs need no optimisation, and without it they compile in half the time.
    fast = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return {**os.environ, **fast, "HOME": str(home), "PATH": path, "COLUMNS": "120"}


def make_workspace(folder: Path) -> Path:
    """A copy of the checkout, with what the pages take from their reader."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").unlink(missing_ok=True)
    (folder / ".venv").symlink_to(sys.prefix)
    make_pictures(folder)
    make_containers(folder)
    make_cubes(folder / "cubes")
    make_recordings(folder / "recordings")
    (folder / "sizes.csv").write_text("height,width,count\n480,640,30\n640,480,20\n500,500,10\n375,500,40\n")
    shutil.copy(folder / "tests/nets/golden/resnet_basic.safetensors", folder / "model.safetensors")
    return folder


def make_pictures(folder: Path) -> None:
    """pictures/train/<class>/*.jpg and a table of them, photo.jpg, more_photos/*.jpg: noise on a class's colour."""
    rng = np.random.default_rng(0)
    rows = ["path,label"]
    for label, colour in (("grass", (40, 160, 60)), ("sky", (70, 120, 220))):
        for number in range(24):
            path = Path("train", label, f"{number // 4}_{number % 4}.jpg")
            save_picture(folder / "pictures" / path, colour, rng)
            rows.append(f"{path},{label}")
    (folder / "pictures" / "table.csv").write_text("\n".join(rows) + "\n")
    save_picture(folder / "photo.jpg", (60, 140, 90), rng)
    for number in range(3):
        save_picture(folder / "more_photos" / f"{number}.jpg", (70, 120, 200), rng)


def make_containers(folder: Path) -> None:
    """The pictures again: pictures.zip, arrays.npz, shards/*.tar and rows/*.parquet."""
    paths = sorted((folder / "pictures").rglob("*.jpg"))
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.relative_to(folder / "pictures"))
    labels = [int(path.parent.name == "sky") for path in paths]
    images = np.stack([np.asarray(Image.open(path).resize((48, 40))) for path in paths])
    np.savez(folder / "arrays.npz", x_train=images, y_train=np.array(labels))
    (folder / "shards").mkdir()
    (folder / "rows").mkdir()
    with tarfile.open(folder / "shards" / "pets-train-000.tar", "w") as shard:
        for number, (path, label) in enumerate(zip(paths, labels, strict=True)):
            for suffix, content in ((".jpg", path.read_bytes()), (".cls", str(label).encode())):
                info = tarfile.TarInfo(f"{number:04d}{suffix}")
                info.size = len(content)
                shard.addfile(info, io.BytesIO(content))
    examples = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    table = pyarrow.table({"image": examples, "label": labels})
    parquet.write_table(table, folder / "rows" / "train-00000-of-00001.parquet")


def make_cubes(folder: Path) -> None:
    """Two classes of images of five channels of 16 bits, train/<class>/*.npy."""
    rng = np.random.default_rng(0)
    for label, level in (("dim", 2000), ("bright", 6000)):
        (folder / "train" / label).mkdir(parents=True)
        for number in range(24):
            values = rng.normal(level, 500, (*rng.integers(40, 60, 2), 5)).clip(0).astype(np.uint16)
            np.save(folder / "train" / label / f"{number}.npy", values)


def save_picture(path: Path, colour: tuple[int, int, int], rng: np.random.Generator) -> None:
    height, width = rng.integers(70, 130, 2)
    pixels = np.array(colour) + rng.normal(0, 30, (height, width, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def make_recordings(folder: Path) -> None:
    """Two classes of short tones, train/<class>/*.wav."""
    rng = np.random.default_rng(0)
    for label, frequency in (("low", 200.0), ("high", 900.0)):
        (folder / "train" / label).mkdir(parents=True, exist_ok=True)
        for number in range(24):
            seconds = np.arange(int(rng.integers(6_000, 12_000))) / 8_000
            tone = 0.3 * np.sin(2 * np.pi * frequency * seconds) + rng.normal(0, 0.02, len(seconds))
            soundfile.write(folder / "train" / label / f"{number}.wav", tone, 8_000)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
