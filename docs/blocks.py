"""The code blocks of README.md and docs/*.md, and the small form in which `docs.check` runs them.

A block is run (bash, console, python), is a session that doctest runs (pycon), or is text. `<!-- needs: ... -->` in the
line before a block says why it cannot run here; `<!-- tested by: tests/... -->` names the test that runs it instead.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = ("bash", "console", "python")
TEXT = ("text", "csv", "json", "bibtex", "diff")

MARK = re.compile(r"<!-- (needs|tested by): (.+) -->")
COMMAND = re.compile(r"(\$ |python -m |make |fcn-jax )")
"""How a line begins that looks like a command."""

PROGRAMS = re.compile(
    r"(python -m (fcn_jax|experiments|doctest) |make |find |export |for |wait$|done$|source \.venv/bin/activate$)"
)
"""What a command of a page may begin with. Anything else has to be marked."""

PLACEHOLDERS = {
    r"configs/signals\.py:DIR": "configs/signals.py:recordings",
    r"(configs/\w+\.py:(?:folder:)?)DIR": r"\1pictures",
    r"(configs/convnext\.py:)PRESET": r"\1atto,folder:pictures",
    r"(configs/efficientnet\.py:)PRESET": r"\1b0,folder:pictures",
    r"(configs/\w+\.py:)SOURCE": r"\1folder:pictures",
    r"table:FILE\.csv": "table:pictures/table.csv",
    r"(configs/\w+\.py:)FILE\.zip": r"\1pictures.zip",
    r"arrays:FILE\.npz": "arrays:arrays.npz",
    r"webdataset:SHARDS": "webdataset:shards",
    r"parquet:ROWS": "parquet:rows",
    r"(configs/\w+\.py:)CUBES": r"\1cubes",
    r"num_classes=N": "num_classes=2",
}
"""What stands in a page for the reader's own files, and the made files that take its place."""

PLACEHOLDER = re.compile(r"(?<![\w$.])[A-Z][A-Z_]*(?![\w=])")
"""A word in capitals that is no variable of the shell."""

LARGE_FIELDS = r"data\.train_split|schedule\.examples_per_step|schedule\.max_buckets|train\.epochs"
"""Fields that `tiny` sets; a page must not make them large again."""

GOLDEN_NET = "--config.model.channels='(4,8,8,12)' --config.model.blocks='(1,2,1,1)'"
"""The net of model.safetensors, which is much smaller than a ResNet-18."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    """Of its first fence, from 1."""
    language: str
    text: str
    needs: str = ""
    tested_by: str = ""

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in RUN and not self.needs and not self.tested_by


@dataclass(frozen=True)
class Command:
    """A command of a console block, and the output that the page shows below it."""

    text: str
    shown: str


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in their order."""
    lines = page.read_text().splitlines()
    start = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        mark = MARK.fullmatch(lines[start - 1]) if start else None
        marks = {mark[1].replace(" ", "_"): mark[2]} if mark else {}
        yield Block(page, start + 1, lines[start][3:].strip(), "\n".join(lines[start + 1 : number]), **marks)
        start = None


def unfenced_commands(page: Path) -> list[int]:
    """Lines, from 1, of commands in an indented block, which nobody would run."""
    return [
        number
        for number, line in enumerate(page.read_text().splitlines(), start=1)
        if line.startswith("    ") and COMMAND.match(line.strip()) and not _is_fenced(page, number)
    ]


def _is_fenced(page: Path, line: int) -> bool:
    return any(block.line < line <= block.line + block.text.count("\n") + 1 for block in blocks_of(page))


def console_commands(block: Block) -> list[Command]:
    """The commands of a console block: lines that begin with `$ ` and go on with `> `, and what stands below each."""
    commands: list[tuple[list[str], list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append(([line[2:]], []))
        elif line.startswith("> ") and commands and not commands[-1][1]:
            commands[-1][0].append(line[2:])
        elif commands:
            commands[-1][1].append(line)
    return [Command("\n".join(text), "\n".join(shown)) for text, shown in commands]


def script_of(block: Block) -> str:
    """The bash script of a bash or console block, as the page has it."""
    if block.language == "console":
        return "\n".join(command.text for command in console_commands(block))
    return block.text


def small(script: str) -> str:
    """The same script in its small form: every training is `tiny`, and made files stand for the reader's own."""
    train = "python -m fcn_jax train --config=configs/mnist.py --workdir=runs/mnist"
    script = re.sub(r"^make train\b", train, script, flags=re.MULTILINE)
    script = re.sub(r"^make ", "make --dry-run ", script, flags=re.MULTILINE)
    script = re.sub(r"(python -m experiments run (?!.*--dry_run)\w+)", r"\1 --dry_run", script)
    for pattern, made in PLACEHOLDERS.items():
        script = re.sub(pattern, made, script)
    return "\n".join(_small_command(command) for command in logical_lines(script))


def _small_command(command: str) -> str:
    if not re.search(r"python -m fcn_jax (train|compile) ", command):
        return command
    command = re.sub(rf"--config\.({LARGE_FIELDS})=\S+\s?", "", command)
    command = re.sub(r"--config=(\S+\.py)(:\S+)?", _tiny_config, command)
    return re.sub(r"(--config\.model\.init_from=\S+)", rf"\1 {GOLDEN_NET}", command)


def _tiny_config(found: re.Match[str]) -> str:
    path, argument = found[1], (found[2] or "")[1:]
    if argument.split(",")[-1] == "tiny":
        return found[0]
    return f"--config={path}:{argument},tiny" if argument else f"--config={path}:tiny"


def logical_lines(script: str) -> list[str]:
    """The lines of a script, each with those that a backslash joins to it."""
    return re.sub(r"\\\n\s*", "", script).splitlines()


def problems(block: Block) -> list[str]:
    """What is wrong with a block, in a line each: it is neither marked nor something that `docs.check` can run."""
    if block.tested_by and not (ROOT / block.tested_by).exists():
        return [f"{block.place}: it is tested by {block.tested_by}, but there is no such file"]
    if block.needs or block.tested_by or block.language in ("python", "pycon"):
        return []
    if block.language in TEXT:
        hidden = [line for line in block.text.splitlines() if COMMAND.match(line)]
        return [f"{block.place}: {line!r} is a command in a block of text: make it a bash block" for line in hidden]
    if block.language not in RUN:
        known = ", ".join((*RUN, "pycon", *TEXT))
        return [f"{block.place}: its language is {block.language!r}, but it must be one of {known}"]
    return [f"{block.place}: {reason}" for line in logical_lines(small(script_of(block))) if (reason := _unready(line))]


def _unready(line: str) -> str:
    """Why a line of a small script cannot run; '' if it can."""
    command = re.sub(r"\s+#.*", "", line).strip()
    remedy = "mark the block with <!-- needs: ... -->, or add a rule to docs/blocks.py"
    if command and not command.startswith("#") and not PROGRAMS.match(command):
        return f"{command!r} begins with a program that no rule knows: {remedy}"
    left = re.search(PLACEHOLDER, command)
    return f"no rule replaces the placeholder {left[0]!r} in {command!r}: {remedy}" if left else ""
