"""The `evaluate` command: it evaluates a split at one or several test scales.

It prints one JSON line for each scale, and can write a page with the numbers behind it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fcn_jax.config import Config, UserError
from fcn_jax.inference.averaging import AS_THE_RUN, Averaging, describe_views
from fcn_jax.inference.evaluation import (
    Evaluation,
    LabelEvaluation,
    answered,
    evaluated,
    fitted_temperature,
    nearest_in_train,
)
from fcn_jax.inference.opened_run import configs_at_scales, open_run, with_views
from fcn_jax.inference.temperature import read_temperature, write_temperature
from fcn_jax.reports.evaluation_page import evaluation_json, evaluation_page, predictions_csv
from fcn_jax.reports.labels_page import labels_csv, labels_json, labels_page
from fcn_jax.reports.near_duplicates import near_duplicates_json, near_duplicates_part
from fcn_jax.system.console import say
from fcn_jax.system.disk import make_folder, write_atomically, write_json
from fcn_jax.system.processes import is_first, together
from fcn_jax.train.workdir import read_config


def evaluate_run(
    workdir: Path,
    *,
    split: str | None,
    data: str | None = None,
    scales: Sequence[float] = (),
    average: Averaging = AS_THE_RUN,
    temperature: str | None = None,
    near_duplicates: bool = False,
    out: Path | None = None,
    command: str = "",
    which: str | None = None,
    strict: bool = False,
) -> Iterator[dict[str, Any]]:
    """Evaluate a whole checkpoint; yield {split, step, loss, accuracy, count, bad} for each test scale.

    Where examples may have several labels, accuracy is the share of them whose labels are predicted exactly, and
    mean_average_precision and micro_f1 come with it, unless no example has a label.

    `bad` is the number of examples of the split that were left out or could not be read. The dict also has `scale` if
    `scales` are given.

    Args:
        split: the split; None: test or, if other data has no splits, all of it.
        data: other data than that of the run, such as `folder:DIR`.
        scales: scales of the examples at test time; if there are none, the scale of the run's config.
        average: the views of an example whose answers are averaged, where they differ from those of the run's config.
        temperature: `fit` fits the temperature of the probabilities on validation and keeps it in the workdir; `none`
            forgets it; None uses what the workdir keeps.
        near_duplicates: look in train for examples that look nearly like one of the split, for the page.
        out: folder for index.html, evaluation.json and predictions.csv.
        command: command line that the page shows.
        which: the checkpoint: best, last or the number of a step; None: the best if the run kept one.
        strict: fail if the newest checkpoint is damaged.

    Raises:
        UserError: there is no run, no checkpoint or no such split, a scale breaks a rule, or `out` cannot be written.
    """
    if temperature not in (None, "fit", "none"):
        raise UserError(f"--temperature={temperature}: it must be fit, or none to forget what was fitted")
    if near_duplicates and out is None:
        raise UserError("--near_duplicates shows its pairs on a page, but no --out=DIR is given: give one")
    if near_duplicates and data is not None:
        raise UserError(
            f"--near_duplicates looks in the train split of the run's own data, but --data={data} gives other data: "
            "leave out one of them"
        )
    run, evaluations, temperatures = None, [], {}
    with together():
        own = average.on(read_config(workdir))
        configs = configs_at_scales(own, scales)
    for config in configs:
        if run is None:
            run = open_run(workdir, config, split, data=data, which=which, strict=strict)
            run.say_data()
            fitted_for = config if len(configs) == 1 else own
            _fit_or_forget(workdir, fitted_for, temperature, which=which, strict=strict)
        else:
            run = with_views(run, config.evaluate)
        with together():
            kept = read_temperature(workdir, step=run.step, views=describe_views(config.evaluate))
        temperatures[run.scale] = kept
        title, scale = run.split_name, {"scale": run.scale} if scales else {}
        row = {"split": title, "step": run.step, **scale, **_views_in(config, kept)}
        if out is None and not run.is_averaged and kept == 1:
            yield {**row, **evaluated(run, title=title), "bad": len(run.split.dataset.bad)}
            continue
        if out is not None:
            with together():
                if is_first():
                    make_folder(out)
        evaluations.append(answered(run, title=title, temperature=kept))
        yield {**row, **evaluations[-1].means, "bad": len(evaluations[-1].bad)}
    if run is None or out is None:
        return
    found = nearest_in_train(run, title=run.split_name) if near_duplicates else None
    if is_first():
        shown = next((each for each in evaluations if each.scale == own.evaluate.scale), evaluations[0])
        net = f"{own.model.name} (norm {own.model.norm}, head {own.model.head}) on {own.data.source}"
        net += f", evaluated on {data}" if data else ""
        views = _views_in(own, temperatures[shown.scale])
        net += "".join(f", {name.replace('_', ' ')} {value}" for name, value in views.items())
        subject = f"{workdir.resolve().name}: {net}"
        more, rows = [], {}
        if found is not None:
            more = near_duplicates_part(shown, run, found)
            rows = {"near_duplicates": near_duplicates_json(shown, run, found)}
            say(f"{len(found):,} examples of {shown.split} are near-duplicates of one of train")
        _write(out, evaluations, shown, {"subject": subject, "command": command, "more": more}, rows)
        say(f"{out / 'index.html'}, with evaluation.json and predictions.csv beside it")


def _views_in(config: Config, temperature: float) -> dict[str, Any]:
    """Return what a row says of views and temperature: only what is not plain."""
    evaluate = config.evaluate
    averages = {"average_scales": list(evaluate.average_scales)} if evaluate.average_scales else {}
    flip = {"flip": evaluate.flip} if evaluate.flip != "none" else {}
    return {**averages, **flip, **({"temperature": round(temperature, 4)} if temperature != 1 else {})}


def _fit_or_forget(workdir: Path, config: Config, asked: str | None, *, which: str | None, strict: bool) -> None:
    """Fit the temperature of the probabilities for the views of a config, or forget it, if that is asked for."""
    if asked == "fit":
        validation = open_run(workdir, config, "validation", which=which, strict=strict)
        fitted = fitted_temperature(validation, title="validation")
        if is_first():
            write_temperature(workdir, fitted)
    if asked == "none" and is_first():
        write_temperature(workdir, None)


def _write(
    out: Path,
    evaluations: Sequence[Any],
    shown: Evaluation | LabelEvaluation,
    texts: dict[str, Any],
    rows: dict[str, Any],
) -> None:
    """Write the files of an evaluation, by what the labels are.

    Args:
        texts: arguments of the page.
        rows: more numbers for evaluation.json.
    """
    if isinstance(shown, LabelEvaluation):
        table, numbers = labels_csv(evaluations), labels_json(evaluations, shown)
        page = labels_page(evaluations, shown, **texts)
    else:
        table, numbers = predictions_csv(evaluations), evaluation_json(evaluations, shown)
        page = evaluation_page(evaluations, shown, **texts)
    write_atomically(out / "predictions.csv", table)
    write_json(out / "evaluation.json", {**numbers, **rows})
    write_atomically(out / "index.html", page)
