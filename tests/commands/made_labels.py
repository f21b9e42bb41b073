"""Pictures with several labels that a net can learn from a few of them, in a table."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("left", "top", "wide")
EXAMPLES = {"train": 96, "validation": 32, "test": 33}


def write_table(folder: Path) -> str:
    """Write pictures with a bright top, a bright left side, or both, some of them wide; return the `data.source`.

    One more of test is a copy of the first of train that lacks its labels and has the others.
    """
    folder.mkdir(parents=True)
    rng, rows, number = np.random.default_rng(0), ["path,label,split,weight"], 0
    for split, examples in EXAMPLES.items():
        for _ in range(examples - (split == "test")):
            height, width = rng.integers(12, 20, 2)
            pixels = rng.integers(0, 60, (height, width)).astype(np.uint8)
            left, top = rng.random(2) < 0.4
            pixels[: 5 * top] += 100
            pixels[:, : 5 * left] += 90
            Image.fromarray(pixels).save(folder / f"{number}.png")
            labels = [name for name, has in zip(CLASSES, (left, top, width > height), strict=True) if has]
            rows.append(f"{number}.png,{';'.join(labels)},{split},{rng.integers(1, 9) / 4}")
            number += 1
    (folder / f"{number}.png").write_bytes((folder / "0.png").read_bytes())
    others = set(CLASSES) - set(rows[1].split(",")[1].split(";"))
    rows.append(f"{number}.png,{';'.join(sorted(others))},test,1")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return f"table:{folder / 'table.csv'}"
