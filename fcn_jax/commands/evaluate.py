"""The `evaluate` command: it evaluates a split at one or several test scales.

It prints one JSON line for each scale, and can write a page with the numbers behind it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fcn_jax.config import UserError
from fcn_jax.inference.evaluation import LabelEvaluation, answered, at_scale, configs_at_scales, evaluated, open_run
from fcn_jax.reports.evaluation_page import evaluation_json, evaluation_page, predictions_csv
from fcn_jax.reports.labels_page import labels_csv, labels_json, labels_page
from fcn_jax.system.console import say
from fcn_jax.system.disk import make_folder, write_atomically, write_json
from fcn_jax.system.processes import is_first, together
from fcn_jax.train.workdir import read_config


def parse_scales(text: str) -> tuple[float, ...]:
    """Parse scales such as `0.5,1,2`; keep each one once.

    Raises:
        UserError: a part of the text is not a number.
    """
    scales = []
    for part in text.split(","):
        try:
            scales.append(float(part))
        except ValueError:
            raise UserError(
                f"--scale={text}: {part!r} is no number; give one test scale or several, such as --scale=0.5,1,2"
            ) from None
    return tuple(dict.fromkeys(scales))


def evaluate_run(
    workdir: Path,
    *,
    split: str | None,
    data: str | None = None,
    scales: Sequence[float] = (),
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
        out: folder for index.html, evaluation.json and predictions.csv.
        command: command line that the page shows.
        which: the checkpoint: best, last or the number of a step; None: the best if the run kept one.
        strict: fail if the newest checkpoint is damaged.

    Raises:
        UserError: there is no run, no checkpoint or no such split, a scale breaks a rule, or `out` cannot be written.
    """
    run, evaluations = None, []
    with together():
        own = read_config(workdir)
        configs = configs_at_scales(own, scales)
    for config in configs:
        if run is None:
            run = open_run(workdir, config, split, data=data, which=which, strict=strict)
            run.say_data()
        else:
            run = at_scale(run, config.evaluate.scale)
        title = run.split_name
        if out is None:
            means = evaluated(run, title=title)
        else:
            with together():
                if is_first():
                    make_folder(out)
            evaluations.append(answered(run, title=title))
            means = evaluations[-1].means
        scale = {"scale": run.scale} if scales else {}
        yield {"split": title, "step": run.step, **scale, **means, "bad": len(run.split.dataset.bad)}
    if out is not None and is_first():
        shown = next((each for each in evaluations if each.scale == own.evaluate.scale), evaluations[0])
        net = f"{own.model.name} (norm {own.model.norm}, head {own.model.head}) on {own.data.source}"
        net += f", evaluated on {data}" if data else ""
        _write(out, evaluations, shown, subject=f"{workdir.resolve().name}: {net}", command=command)


def _write(out: Path, evaluations: Sequence[Any], shown: Any, *, subject: str, command: str) -> None:
    """Write the files of an evaluation, by what the labels are."""
    if isinstance(shown, LabelEvaluation):
        table, numbers = labels_csv(evaluations), labels_json(evaluations, shown)
        page = labels_page(evaluations, shown, subject=subject, command=command)
    else:
        table, numbers = predictions_csv(evaluations), evaluation_json(evaluations, shown)
        page = evaluation_page(evaluations, shown, subject=subject, command=command)
    write_atomically(out / "predictions.csv", table)
    write_json(out / "evaluation.json", numbers)
    write_atomically(out / "index.html", page)
    say(f"{out / 'index.html'}, with evaluation.json and predictions.csv beside it")
