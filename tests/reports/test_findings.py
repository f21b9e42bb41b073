"""Each rule stays silent on a run that is well, and speaks up on one that is not."""

import dataclasses

import pytest

from fcn_jax.reports.findings import find_cost, find_learning
from fcn_jax.reports.run_files import read_run
from fcn_jax.system.disk import write_json
from tests.inference.made_run import SUMMARY, made_rows, make_run, run_config, write_rows


def warnings(workdir) -> list[str]:
    files = read_run(workdir)
    return [finding.text for finding in find_learning(files) + find_cost(files) if finding.is_warning]


def test_a_run_that_is_well_has_no_warning(tmp_path):
    make_run(tmp_path / "run")
    assert warnings(tmp_path / "run") == []
    files = read_run(tmp_path / "run")
    assert len(find_learning(files) + find_cost(files)) == 13


COSTS = {
    "waiting": ({"input_wait": 0.2}, "20% of the steps' time was spent waiting for input"),
    "padding": ({"fill": 0.5, "plan_fill": 0.55}, "Most is lost to padding inside the buckets"),
    "filler in the fill": ({"fill": 0.55, "filler_share": 0.4}, "Most is lost to filler: raise"),
    "moved up": ({"fill": 0.5}, "Most is lost to examples placed in larger buckets than their own"),
    "filler": ({"filler_share": 0.15}, "15% of all rows are filler rows"),
    "compiling": ({"compile_seconds": 50.0}, "50.0 s of compiling, 80.0 s of training"),
    "changed code": ({"git_commit": "c0ffee-dirty"}, "changes that are not in commit c0ffee"),
    "unknown code": ({"git_commit": None}, "its commit is not known"),
}


@pytest.mark.parametrize(("summary", "said"), COSTS.values(), ids=COSTS.keys())
def test_what_costs_too_much_is_said(tmp_path, summary, said):
    make_run(tmp_path / "run", summary=summary)
    assert said in warnings(tmp_path / "run")[0]


VALIDATIONS = {
    "falls": ({7: {"accuracy": 0.9}}, "fallen by more than chance: the last is 90.00%, the best was 97.98% at epoch 7"),
    "loss rises": ({7: {"loss": 0.4}}, "Validation loss has risen by 100% since its lowest value"),
    "is far below": ({n: {"accuracy": 0.92 if n == 7 else 0.0} for n in range(8)}, "6.0 percentage points above"),
    "still rises": ({n: {"accuracy": 0.9} for n in range(6)}, "in the last quarter of the run, from 90.00% to"),
    "is none": ({3: {"loss": float("nan")}}, "At epoch 4 the loss of an evaluation is nan"),
}


@pytest.mark.parametrize(("changes", "said"), VALIDATIONS.values(), ids=VALIDATIONS.keys())
def test_a_validation_that_goes_wrong_is_said(tmp_path, changes, said):
    make_run(tmp_path / "run")
    rows = made_rows()
    validations = [row for row in rows if row["kind"] == "validation"]
    for number, values in changes.items():
        validations[number].update(values)
    write_rows(tmp_path / "run", rows)
    assert any(said in warning for warning in warnings(tmp_path / "run"))


def test_a_difference_within_chance_is_none(tmp_path):
    make_run(tmp_path / "run")
    rows = made_rows()
    [row for row in rows if row["kind"] == "validation"][-1].update(accuracy=0.975)
    write_rows(tmp_path / "run", rows)
    assert warnings(tmp_path / "run") == []


def test_guessing_jumps_and_a_slower_pace_are_said(tmp_path):
    make_run(tmp_path / "run")
    rows = made_rows()
    rows[-1]["accuracy"] = 0.11
    trained = [row for row in rows if row["kind"] == "train"]
    trained[20]["loss"] = 2.0
    for row in trained[-10:]:
        row["images_per_second"] = 600.0
    write_rows(tmp_path / "run", rows)
    found = " ".join(warnings(tmp_path / "run"))
    assert "accuracy of 11.0%, no better than guessing one of 10 classes" in found
    assert "jumped from 0.205 to 2 at epoch 5.25" in found
    assert "from 1,000 examples/s in its first quarter to 600 in its last" in found


def test_always_saying_the_commonest_class_is_said(tmp_path):
    of_size = {"size_accuracy": 0.9, "size_accuracy_low": 0.88, "size_accuracy_high": 0.92, "majority_accuracy": 0.9}
    make_run(tmp_path / "run", summary=of_size)
    rows = made_rows()
    rows[-1]["accuracy"] = 0.901
    write_rows(tmp_path / "run", rows)
    assert "always saying the commonest class (90.0% of train)" in " ".join(warnings(tmp_path / "run"))
    rows[-1]["accuracy"] = 0.7
    write_rows(tmp_path / "run", rows)
    assert "commonest class" not in " ".join(warnings(tmp_path / "run"))


@pytest.mark.parametrize(("last", "is_said"), [(0.997, False), (0.985, True)])
def test_a_fall_is_compared_with_the_chance_of_both_evaluations(tmp_path, last, is_said):
    make_run(tmp_path / "run")
    rows = made_rows()
    validations = [row for row in rows if row["kind"] == "validation"]
    for row in validations:
        row.update(accuracy=0.99, count=1000)
    validations[-2]["accuracy"], validations[-1]["accuracy"] = 1.0, last
    write_rows(tmp_path / "run", rows)
    assert ("fallen by more than chance" in " ".join(warnings(tmp_path / "run"))) is is_said


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_steps_of_one_bucket_are_said_whatever_the_norm(tmp_path, norm):
    config = run_config()
    config.schedule.kind, config.model.norm = "bucketed", norm
    make_run(tmp_path / "run", config=config)
    assert ["Every step holds examples of one bucket" in warning for warning in warnings(tmp_path / "run")] == [True]


def test_a_size_that_tells_the_class_is_said_with_what_to_do(tmp_path):
    make_run(tmp_path / "run", summary={"size_accuracy": 0.24, "size_accuracy_low": 0.23, "size_accuracy_high": 0.25})
    (warning,) = warnings(tmp_path / "run")
    assert "size alone tells the class of 24.0% of the examples (95% interval 23.0% to 25.0%)" in warning
    assert "A net may learn the size in place of the content" in warning
    assert "stratified" not in warning
    config = run_config()
    config.schedule.kind = "bucketed"
    write_json(tmp_path / "run/config.json", dataclasses.asdict(config))
    (warning,) = warnings(tmp_path / "run")
    assert "use schedule.kind=stratified" in warning


def test_a_run_without_the_figure_says_nothing_of_size(tmp_path):
    make_run(tmp_path / "run")
    old = {name: value for name, value in SUMMARY.items() if "size_accuracy" not in name}
    write_json(tmp_path / "run/summary.json", old)
    files = read_run(tmp_path / "run")
    assert files.problems == []
    assert not any("size alone" in finding.text for finding in find_learning(files))
