"""The page about PyTorch: differences within seeds, and no page before all rows of this version."""

from experiments.ablations.size_and_class import SIZE_AND_CLASS
from experiments.pytorch_page import (
    LEVELS,
    NORMS,
    PAGE,
    ROWS,
    SEEDS,
    VERSION,
    append_row,
    missing,
    read_rows,
    write_page,
)
from experiments.report import results_of

LOSS = {"1": 0.02, "most": 0.5}


def write_rows(directory, *, code=VERSION, seeds=SEEDS):
    rows = [
        {
            "norm": norm,
            "level": level,
            "seed": seed,
            "accuracy": 0.9 + 0.001 * seed - LOSS.get(level, 0) - 0.001 * (seed == 1 and level == "1"),
            "unseen": seed,
            "code": code,
            "torch": "2.0.1+cpu",
        }
        for seed in seeds
        for norm in NORMS
        for level in LEVELS
    ]
    for row in rows:
        append_row(directory, row)


def results(root):
    return results_of(SIZE_AND_CLASS, full=False, root=root)


def test_differences_are_taken_within_seeds(tmp_path):
    write_rows(tmp_path)
    write_page(tmp_path, results(tmp_path))
    page = (tmp_path / PAGE).read_text()
    assert "in PyTorch 2.0.1, 5 seeds" in page
    assert "| GroupNorm, shuffled | 90.20 ± 0.16 | baseline |  |  | 4 |" in page
    assert "| no norm, 1 | 88.18 ± 0.18 | −2.02 [−2.08, −1.96] | – | – | 4 |" in page
    assert "| BatchNorm, most | 40.20 ± 0.16 | −50.00 [−50.00, −50.00] | – | – | 4 |" in page


def test_the_results_of_this_code_stand_beside_them(tmp_path):
    write_rows(tmp_path)
    write_page(tmp_path, results_of(SIZE_AND_CLASS, full=False))
    (line,) = [line for line in (tmp_path / PAGE).read_text().splitlines() if line.startswith("| no norm, 1 |")]
    there, here, gap = (float(cell.split("[")[0].replace("−", "-")) for cell in line.split("|")[3:6])
    assert here < -1
    assert abs(gap - (there - here)) < 0.02


def test_the_page_waits_for_all_rows_of_this_version(tmp_path, capsys):
    write_rows(tmp_path, code="of last year")
    with (tmp_path / ROWS).open("a") as file:
        file.write('{"norm": "Batch')
    write_rows(tmp_path, seeds=SEEDS[:-1])
    rows = read_rows(tmp_path)
    assert {row["code"] for row in rows.values()} == {VERSION}
    assert missing(rows) == [(norm, level, SEEDS[-1]) for norm in NORMS for level in LEVELS]
    write_page(tmp_path, results(tmp_path))
    assert not (tmp_path / PAGE).exists()
    assert f"24 of 120 rows are missing in {tmp_path / ROWS}" in "".join(capsys.readouterr())
    write_rows(tmp_path, seeds=SEEDS[-1:])
    write_page(tmp_path, results(tmp_path))
    assert (tmp_path / PAGE).exists()
