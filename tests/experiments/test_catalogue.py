"""Every ablation is whole: its arms differ and are valid, and what its claims and plots speak of is measured."""

import pytest

from experiments.ablation import ByLength
from experiments.ablations import ABLATIONS
from experiments.page import page
from experiments.plan import ROOT, all_runs
from experiments.plots import draw
from experiments.results import select
from experiments.tables import expectations_table, results_table
from experiments.words import VERDICTS, answer
from fcn_jax.config_rules import validate
from tests.experiments.made import made_row


@pytest.fixture(params=ABLATIONS.values(), ids=ABLATIONS)
def ablation(request):
    return request.param


def test_a_file_each_under_its_name():
    files = {path.stem for path in (ROOT / "experiments/ablations").glob("*.py")} - {"__init__", "forms"}
    assert files == set(ABLATIONS)
    assert len(ABLATIONS) == 13


def test_arms_are_valid_and_no_two_are_the_same_run(ablation):
    for full in (False, True):
        runs = all_runs(ablation, ablation.form(full=full), [0, 1])
        assert len({run.key("code") for run in runs}) == len(runs)
        for run in (run for run in runs if run.is_first_seed):
            for config in (run.config, *run.evaluations.values()):
                validate(config)


def test_enough_seeds(ablation):
    assert (ablation.short.name, ablation.full.name) == ("short", "full")
    assert ablation.short.num_seeds >= 5
    assert ablation.full.num_seeds >= 10


@pytest.mark.parametrize(("of_size_and_class", "minutes"), [(False, 120), (True, 480)])
def test_all_short_forms_together_fit_their_time(of_size_and_class, minutes):
    """Two runs at a time, where time is not measured."""
    seconds = [
        run.form.seconds_per_run / (1 if ablation.measures_time else 2)
        for ablation in ABLATIONS.values()
        for run in all_runs(ablation, ablation.short)
        if ablation.name.startswith("size_and_class") == of_size_and_class
    ]
    assert sum(seconds) <= 60 * minutes


def test_claims_and_plots_speak_of_what_is_measured(ablation):
    form = ablation.short
    rows = [made_row(run, accuracy=0.9 + 0.01 * run.seed, code="code") for run in all_runs(ablation, form, [0, 1])]
    results = select(ablation, form, rows, "code")
    for claim in ablation.claims:
        assert results.values(claim.arm, claim.metric), claim.sentence
        assert results.judge(claim)[1], claim.sentence
        assert claim.arms <= {arm.name for arm in ablation.arms}, claim.sentence
    for plot in ablation.plots:
        if isinstance(plot, ByLength):
            assert next(item for item in ablation.evaluations if item.name == plot.evaluation).by_length
    pictures = draw(results)
    assert len(pictures) == len(ablation.plots)
    assert len(results_table(results).rows) == len(ablation.arms)
    assert [row[0] for row in expectations_table(results).rows] == [claim.sentence for claim in results.claims]
    said = answer(results)
    for verdict, word in VERDICTS.items():
        sentences = [claim.sentence for claim in results.claims if results.judge(claim)[0] == verdict]
        number = f"{word}: {len(sentences)} of {len(results.claims)} expectations."
        assert number in said if len(sentences) > 6 else all(sentence in said for sentence in sentences)
    assert ablation.question[:20] in page(results, pictures)


def test_what_drifts_is_compared_with_an_evaluation_before_it(ablation):
    names = [evaluation.name for evaluation in ablation.evaluations]
    for number, evaluation in enumerate(ablation.evaluations):
        assert evaluation.drift_from in ("", *names[:number])
    for arm in ablation.arms:
        assert set(arm.skips) <= set(names)
