"""Pictures to put into folders."""

import numpy as np
import pytest
from PIL import Image


def picture(path, size=(12, 10), *, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    pixels = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
    pixels.convert(mode).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 6), ("validation", 2), ("test", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                picture(tmp_path / "pets" / split / name / f"{number}.png", (9 + number, 12))
    return tmp_path / "pets"
