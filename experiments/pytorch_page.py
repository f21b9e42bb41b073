"""The page about size_and_class in PyTorch: the rows of `pytorch_replication` beside the results of this code.

The page needs no PyTorch, so that `report` writes it anew whenever the results of this code change.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from experiments.ablations.size_and_class import SIZE_AND_CLASS, against, arm_name
from experiments.metrics import ACCURACY
from experiments.page import notices
from experiments.plan import DECIDES_RESULTS, ArmRun, code_version
from experiments.results import Results
from experiments.statistics import difference_of_independent, paired_difference, spread
from experiments.words import difference_text, mean_and_deviation
from fcn_jax.reports.html import Table
from fcn_jax.system.console import say
from fcn_jax.system.disk import write_atomically

RUN = ArmRun(SIZE_AND_CLASS, SIZE_AND_CLASS.short, SIZE_AND_CLASS.arms[0], 0)
"""The run whose digits, net and training are taken over, with steps of any examples."""
VERSION = RUN.key(code_version(patterns=(*DECIDES_RESULTS, "experiments/pytorch_replication.py")))
"""The version of a row: its config and its code. Rows of another version do not count."""
NORMS = ("BatchNorm", "GroupNorm", "no norm")
LEVELS = ("shuffled", "every shape", "by size", "class as by size", "0", "0.3", "1", "most")
"""What the batches hold: any examples, those of one shape, or those of one canvas at a level of size_and_class."""
SEEDS = range(5)
COLUMNS = (
    "arm",
    "accuracy in PyTorch, %",
    "difference to shuffled [95 %]",
    "the same here",
    "PyTorch − here",
    "examples never shown",
)
ROWS, PAGE = "pytorch.jsonl", "pytorch.md"
COMMAND = ".venv-interop/bin/python -m experiments.pytorch_replication"

Rows = Mapping[tuple[str, str, int], dict]
"""{(norm, level, seed): row}"""


def read_rows(directory: Path) -> dict[tuple[str, str, int], dict]:
    """Return the rows of this version in a folder of results."""
    path = directory / ROWS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [row for line in lines if (row := _row(line)) and row["code"] == VERSION]
    return {(row["norm"], row["level"], row["seed"]): row for row in rows}


def append_row(directory: Path, row: dict) -> None:
    """Append a row, on a line of its own even if the last line was cut off."""
    with (directory / ROWS).open("a+", encoding="utf-8") as file:
        file.seek(0)
        text = file.read()
        file.write(f"{'' if not text or text.endswith(chr(10)) else chr(10)}{json.dumps(row)}\n")


def _row(line: str) -> dict | None:
    """Return the row of a line; None for a line that a stopped process left cut off."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def missing(rows: Rows) -> list[tuple[str, str, int]]:
    """Return what is still to be trained, seed by seed."""
    return [
        (norm, level, seed) for seed in SEEDS for norm in NORMS for level in LEVELS if (norm, level, seed) not in rows
    ]


def write_page(directory: Path, ours: Results) -> None:
    """Write the page beside the rows. While rows are missing, say so and leave the page as it is."""
    rows = read_rows(directory)
    if left := len(missing(rows)):
        say(
            f"{left} of {left + len(rows)} rows are missing in {directory / ROWS}: {PAGE} stays as it is; run {COMMAND}"
        )
    else:
        write_atomically(directory / PAGE, page(rows, ours))


def page(rows: Rows, ours: Results) -> str:
    """Return the table: accuracy in PyTorch, its difference to shuffled batches, and the same difference here."""
    lines = tuple(_line(rows, ours, norm, level) for norm in NORMS for level in LEVELS)
    versions = sorted({row["torch"].split("+")[0] for row in rows.values()})
    warnings = "".join(f"> {line}\n\n" for line in notices(ours))
    return (
        f"# size_and_class in PyTorch\n\n{warnings}Batches of one group against shuffled batches, in PyTorch "
        f"{' and '.join(versions)}, {len(SEEDS)} seeds. A batch is of one canvas of size_and_class, or of one shape. "
        "Points of test accuracy and 95 % intervals: over pairs of seeds, and Welch's for the last difference.\n"
        "\nFour things differ from this code. Batches come when they are full, so at the most the classes come nearly "
        "in turn, while steps here come in random order. A last batch that is not full is filled with examples that "
        "were shown before, or dropped. All digits stand on one canvas of 28×28, and the net sees the padding. The "
        "initial parameters are other draws. The nets are also trained less far: shuffled "
        "batches reach less than shuffled steps of this code.\n\n"
        f"    {COMMAND}\n\n"
        f"{Table(COLUMNS, lines).to_markdown()}"
    )


def _line(rows: Rows, ours: Results, norm: str, level: str) -> tuple[str, ...]:
    values, shuffled = ({seed: rows[norm, of, seed]["accuracy"] for seed in SEEDS} for of in (level, "shuffled"))
    cells = ("baseline", "", "")
    if level != "shuffled":
        there, here = {seed: values[seed] - shuffled[seed] for seed in SEEDS}, _gaps(ours, norm, level)
        found = (
            paired_difference(values, shuffled),
            paired_difference(here, dict.fromkeys(here, 0.0)),
            difference_of_independent([*there.values()], [*here.values()]),
        )
        cells = tuple("–" if one is None else difference_text(ACCURACY, one) for one in found)
    unseen = max(rows[norm, level, seed]["unseen"] for seed in SEEDS)
    return (f"{norm}, {level}", mean_and_deviation(ACCURACY, spread([*values.values()])), *cells, str(unseen))


def _gaps(ours: Results, norm: str, level: str) -> dict[int, float]:
    """Return {seed: what steps of one canvas differ from shuffled steps} of this code; empty without such steps."""
    values, shuffled = (ours.values(arm, ACCURACY) for arm in (arm_name("bucketed", norm, level), against(norm)))
    return {seed: values[seed] - shuffled[seed] for seed in values.keys() & shuffled.keys()}
