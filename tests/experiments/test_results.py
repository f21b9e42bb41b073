"""Rows of other code are never mixed with those of this one."""

import dataclasses

from experiments.ablation import Arm, Claim
from experiments.metrics import (
    ACCURACY,
    COMPILE_SECONDS,
    EXAMPLES_PER_SECOND,
    accuracy_of,
    total_seconds_to,
    training_seconds_to,
)
from experiments.page import what_was_run
from experiments.plan import all_runs
from experiments.report import state
from experiments.results import select
from experiments.tables import changes_table, expectations_table
from tests.experiments.made import made_ablation, made_row

ABLATION = made_ablation()
FORM = ABLATION.short
RUNS = all_runs(ABLATION, FORM)
OLD = [made_row(run, accuracy=0.5, code="old") for run in RUNS]
NEW = [made_row(run, accuracy=0.9, code="new") for run in RUNS]


def test_rows_of_this_code_alone_count():
    results = select(ABLATION, FORM, [*OLD, *NEW[:3]], "new")
    assert not results.are_stale
    assert results.rows == tuple(NEW[:3])
    assert (results.num_left_out, results.num_missing) == (6, 3)
    assert state(results) == "3 of 6 runs, 6 stale ones left out"


def test_what_older_code_made_is_compared():
    oldest = [made_row(run, accuracy=0.4, code="oldest") for run in RUNS]
    results = select(ABLATION, FORM, [*oldest, *OLD, *NEW[:3]], "new")
    assert results.before("wide", ACCURACY) == {0: 0.5, 1: 0.5, 2: 0.5}
    assert select(ABLATION, FORM, NEW, "new").before("wide", ACCURACY) == {}
    assert select(ABLATION, FORM, OLD, "new").older == ()


def test_before_and_now_are_of_the_same_seeds():
    old = [made_row(run, accuracy=0.5 + run.seed / 10, code="old") for run in RUNS]
    table = changes_table(select(ABLATION, FORM, [*old, *NEW[:3]], "new"))
    assert table is not None
    wide, narrow = table.rows
    assert wide == ("wide", "55.00 ± 7.07", "90.00", "2", "+35.00 [−28.53, +98.53]")
    assert narrow[:4] == ("narrow", "50.00", "90.00", "1")


def test_a_renamed_arm_keeps_its_rows():
    renamed = made_ablation(arms=(ABLATION.arms[0], dataclasses.replace(ABLATION.arms[1], name="thin")), claims=())
    results = select(renamed, FORM, NEW, "new")
    assert results.arms == ("wide", "thin")
    assert (results.num_left_out, results.num_missing) == (0, 0)


def test_more_seeds_than_the_form_has_count_and_are_said():
    more = [made_row(run, accuracy=0.9, code="new") for run in all_runs(ABLATION, FORM, [7, 8])]
    results = select(ABLATION, FORM, [*NEW[:5], *more], "new")
    assert [*results.values("wide", ACCURACY)] == [0, 1, 2, 7, 8]
    assert results.num_missing == 1
    assert what_was_run(results).startswith("5 of 6 runs (2 arms with 3 seeds), and 4 of other seeds, in the short")


def test_stale_rows_of_different_configs_are_not_mixed():
    deeper = made_ablation(arms=(Arm("wide", {"model.channels": (8, 8, 8)}), ABLATION.arms[1]))
    first = [made_row(run, accuracy=0.5, code="new") for run in all_runs(deeper, FORM, [0])]
    results = select(ABLATION, FORM, [*NEW, *first], "newest")
    assert results.are_stale
    assert results.values("wide", ACCURACY) == {0: 0.5}
    assert results.values("narrow", ACCURACY) == {0: 0.5, 1: 0.9, 2: 0.9}


def test_where_all_are_stale_the_newest_are_shown_as_stale():
    results = select(ABLATION, FORM, [*OLD, *NEW[:3]], "newest")
    assert results.are_stale
    assert {row["code"] for row in results.rows} == {"new"}
    assert state(results).startswith("stale: 3 of 6")


def test_a_row_of_another_config_is_stale():
    changed = made_ablation(arms=(Arm("wide", {"model.norm": "none"}), ABLATION.arms[1]))
    results = select(changed, FORM, NEW, "new")
    assert results.arms == ("narrow",)
    assert results.num_left_out == 3


def test_a_row_of_an_arm_that_is_gone_is_left_out():
    results = select(made_ablation(arms=ABLATION.arms[:1]), FORM, NEW, "new")
    assert results.arms == ("wide",)
    assert results.num_left_out == 3


def test_values_by_arm_and_seed():
    rows = [dataclasses.replace(run) for run in RUNS]
    made = [made_row(run, accuracy=0.9 + run.seed / 100, code="new") for run in rows]
    results = select(ABLATION, FORM, made, "new")
    assert results.values("wide", ACCURACY) == {0: 0.9, 1: 0.91, 2: 0.92}
    assert results.values("wide", COMPILE_SECONDS) == {0: 8.0}
    assert results.values("wide", accuracy_of("never made")) == {}
    assert results.values("wide", training_seconds_to(0.99)) == {0: 9.0, 1: 9.0, 2: 9.0}
    assert results.values("wide", training_seconds_to(0.999)) == {}
    assert results.values("wide", total_seconds_to(0.98)) == {0: 13.0}
    difference = results.difference("narrow", "wide", ACCURACY)
    assert difference is not None
    assert (difference.mean, difference.n) == (0, 3)


def test_a_claim_stays_open_if_some_runs_lack_the_number():
    made = [made_row(run, accuracy=0.9 - 0.1 * (run.arm.name == "narrow") + run.seed / 1e4, code="new") for run in RUNS]
    results = select(ABLATION, FORM, made, "new")
    claim = Claim("Narrow is as fast", training_seconds_to(0.99), "narrow", "wide", "equal", margin=1)
    assert results.judge(claim)[0] == "supported"
    made[-1]["validation"] = []
    assert select(ABLATION, FORM, made, "new").judge(claim)[0] == "open"
    results = select(dataclasses.replace(ABLATION, claims=(claim,)), FORM, made, "new")
    text = "“narrow” − “wide”, expected within ±1.0; 2 pairs, and 1 more lack the number, which leaves this open"
    assert expectations_table(results).rows[0][-1].endswith(text)


def test_the_speed_has_a_name_for_signals_and_one_for_images():
    for name in ("examples_per_second", "images_per_second"):
        assert EXAMPLES_PER_SECOND.value({"summary": {name: 3.0}}) == 3.0


def test_a_form_may_have_some_arms_and_an_arm_more_seeds():
    arms = (ABLATION.arms[0], dataclasses.replace(ABLATION.arms[1], short_seeds=4))
    ablation = made_ablation(arms=arms, full=dataclasses.replace(ABLATION.full, arms=("wide",)))
    assert [(run.arm.name, run.seed) for run in all_runs(ablation, ablation.short)][-3:] == [
        ("wide", 2),
        ("narrow", 2),
        ("narrow", 3),
    ]
    assert {run.arm.name for run in all_runs(ablation, ablation.full)} == {"wide"}
    assert {run.arm.name for run in all_runs(ablation, ablation.full, [7])} == {"wide"}
    assert (ablation.num_runs(ablation.short), ablation.num_runs(ablation.full)) == (7, 4)
    assert select(ablation, ablation.short, NEW, "new").num_missing == 1
    assert select(ablation, ablation.full, [], "new").claims == ()


def test_a_claim_about_the_difference_of_two_differences():
    arms = (*ABLATION.arms, Arm("deep", {"train.learning_rate": 1e-3}), Arm("flat", {"train.learning_rate": 2e-3}))
    claim = Claim("Narrow loses more", ACCURACY, "narrow", "wide", "lower", beyond=("flat", "deep"))
    ablation = made_ablation(arms=arms, claims=(claim,))
    accuracy = {"wide": 0.9, "narrow": 0.7, "deep": 0.9, "flat": 0.85}
    rows = [
        made_row(run, accuracy=accuracy[run.arm.name] + run.seed / 100, code="new")
        for run in all_runs(ablation, ablation.short)
        if (run.arm.name, run.seed) != ("flat", 1)
    ]
    said, difference = select(ablation, ablation.short, rows, "new").judge(claim)
    assert said == "supported"
    assert difference is not None
    assert (round(difference.mean, 9), difference.n) == (-0.15, 2)
    assert claim.arms == {"narrow", "wide", "flat", "deep"}
