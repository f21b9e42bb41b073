"""A run made again is compared with where one more run should fall."""

import pytest

from experiments.check import check, compare
from experiments.plan import all_runs
from experiments.results import select
from tests.experiments.made import made_ablation, made_row

ABLATION = made_ablation()
FORM = ABLATION.short


def results(accuracies, *, code="code"):
    runs = [run for run in all_runs(ABLATION, FORM, range(len(accuracies))) if run.arm.name == "wide"]
    rows = [made_row(run, accuracy=value, code=code) for run, value in zip(runs, accuracies, strict=True)]
    return select(ABLATION, FORM, rows, code)


@pytest.mark.parametrize(("again", "inside"), [(0.91, True), (0.93, True), (0.95, False), (0.87, False)])
def test_one_more_run_falls_inside_or_not(again, inside):
    """0.90, 0.91, 0.92: mean 0.91, deviation 0.01, t 4.30, so 0.91 ± 0.0497 would be expected."""
    committed = results([0.90, 0.91, 0.92])
    shift = 0.02 if again == 0.95 else -0.02 if again == 0.87 else 0
    found, line = compare(committed, results([again + shift]), "wide")
    assert found is inside
    assert ("OUTSIDE" in line) is not inside
    assert "86.03 to 95.97 is expected" in line


def test_an_arm_without_a_result_is_not_inside():
    found, line = compare(results([0.90, 0.92]), results([]), "wide")
    assert not found
    assert "wide: no result" in line


def test_a_spread_takes_two(tmp_path):
    with pytest.raises(ValueError, match="made has 0 committed runs of wide"):
        check(ABLATION, full=False, seed=0, jobs=1, root=tmp_path)
