"""The HTML page of an ablation: question, answer, table, plots, configs, and the commands that made it."""

import json
from collections.abc import Sequence
from html import escape

from experiments.ablation import Ablation, Form
from experiments.plan import ArmRun
from experiments.results import Results
from experiments.tables import changes_table, expectations_table, results_table
from experiments.words import answer
from fcn_jax.config_fields import changes_result, flatten
from fcn_jax.reports.html import Picture, document, figure


def page(results: Results, pictures: Sequence[Picture]) -> str:
    """Return the page of an ablation as HTML."""
    ablation = results.ablation
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in ablation.remarks)
    return document(
        f"{ablation.name}: an ablation of fcn_jax",
        f"<h1>{escape(ablation.question)}</h1>",
        *(f'<p class="note stale">{escape(line)}</p>' for line in notices(results)),
        f"<p><strong>{escape(answer(results))}</strong></p>",
        "<h2>What was expected, and what came out</h2>",
        f'<div class="scroll">{expectations_table(results).to_html()}</div>',
        f'<h2>Results</h2><div class="scroll">{results_table(results).to_html()}</div>',
        f'<p class="small">{escape(how_to_read(results))}</p>',
        *map(figure, pictures),
        *_changes(results),
        f"<h2>What was run</h2><p>{escape(what_was_run(results))}</p>",
        f"<ul>{remarks}</ul>" if remarks else "",
        f"<pre>{escape(commands(ablation, results.form))}</pre>",
        "<h2>Configs</h2>",
        *_configs(results),
        f'<p class="small">{escape(provenance(results))}</p>',
    )


def notices(results: Results) -> list[str]:
    """Return the warnings for the top of the page: results are stale, left out, or missing."""
    lines = []
    if results.are_stale:
        lines.append(
            "Stale: these results were made by other code, or with other configs, than those of this checkout. "
            f"Make them again: {commands(results.ablation, results.form).splitlines()[0]}"
        )
    elif results.num_left_out:
        lines.append(f"{results.num_left_out} older results, made by other code or with other configs, are left out.")
    if results.num_missing:
        lines.append(f"{results.num_missing} runs are missing.")
    return lines


def how_to_read(results: Results) -> str:
    baselines = dict.fromkeys(results.ablation.baseline(arm) for arm in results.arms)
    what = "the baseline above it" if len(baselines) > 1 else next(iter(baselines), "the baseline")
    names = "; ".join(metric.name for metric in results.ablation.metrics if metric.from_first_seed)
    cold = "" if results.ablation.shares_programs else ", which finds no compiled programs,"
    once = f"Only the run of the first seed{cold} gives: {names}. " if names else ""
    return (
        f"Each value is the mean ± standard deviation over n seeds. A difference is the arm minus {what}, taken within "
        "each seed; it has the 95 % confidence interval of its mean and p of a paired t-test. Differences of "
        "percentages are in percentage points. The second p is corrected for the number of arms by Holm's method; the "
        "verdicts on the expectations are not corrected for their number. g is the difference in standard deviations "
        f"(Hedges). {once}A dash: not measured, or the model does not accept the size."
    )


def what_changed(results: Results) -> str:
    """Return a sentence on the older rows of the table of changes."""
    code, finished = results.older[-1]["code"], results.older[-1]["finished"]
    return f"Before: code {code}, last finished {finished}. Only seeds that both have are taken."


def what_was_run(results: Results) -> str:
    form, ablation = results.form, results.ablation
    minutes = sum(row["wall_seconds"] for row in results.rows) / 60
    total = ablation.num_runs(form)
    done = total - results.num_missing
    more = f", and {len(results.rows) - done} of other seeds," if len(results.rows) > done else ""
    return (
        f"{done} of {total} runs ({len(results.arms)} arms with "
        f"{_numbers_of_seeds(results)} seeds){more} in the {form.name} form: {form.text}. "
        f"Their times add up to {minutes:.1f} minutes."
    )


def _numbers_of_seeds(results: Results) -> str:
    """Return the numbers of seeds that the arms of the form have: `5`, or `5 or 10`."""
    ablation = results.ablation
    numbers = {len(ablation.seeds(results.form, arm)) for arm in ablation.arms} - {0}
    return " or ".join(map(str, sorted(numbers)))


def commands(ablation: Ablation, form: Form) -> str:
    """Return the commands that make the runs and the page."""
    full = " --full" if form.name == "full" else ""
    return f"python -m experiments run {ablation.name}{full}\npython -m experiments report {ablation.name}{full}"


def provenance(results: Results) -> str:
    """Return a sentence on the code, the machine and the versions behind the rows."""
    if not results.rows:
        return ""
    rows = results.rows
    commits = sorted({row["git_commit"][:12] + (" with changes" if row["git_dirty"] else "") for row in rows})
    devices = sorted({f"{row['device']}, {row['cpus']} CPU cores" for row in rows})
    jobs = sorted({str(row["num_jobs"]) for row in rows})
    versions = ", ".join(f"{name} {number}" for name, number in rows[-1]["versions"].items())
    return (
        f"Code {rows[-1]['code']}, commit {', '.join(commits)}; on {'; '.join(devices)}; "
        f"{' or '.join(jobs)} at a time; last finished {rows[-1]['finished']}; {versions}."
    )


def _changes(results: Results) -> list[str]:
    table = changes_table(results)
    if table is None:
        return []
    return [
        f'<h2>What changed</h2><div class="scroll">{table.to_html()}</div>',
        f'<p class="small">{escape(what_changed(results))}</p>',
    ]


def _configs(results: Results) -> list[str]:
    """Return HTML with the whole config of the first arm, and with the fields in which each other arm differs."""
    ablation, form = results.ablation, results.form
    runs = [ArmRun(ablation, form, arm, seed=0) for arm in ablation.arms if ablation.seeds(form, arm)]
    first = flatten(runs[0].config)
    blocks = []
    for run in runs:
        config = flatten(run.config)
        shown = {
            path: value
            for path, value in config.items()
            if changes_result(path) and (run is runs[0] or path not in first or value != first[path])
        }
        text = "\n".join(f"{path} = {json.dumps(value)}" for path, value in shown.items()) or "as the first"
        what = "the whole config" if run is runs[0] else f"where it differs from {runs[0].arm.name}"
        blocks.append(f"<details><summary>{escape(run.arm.name)}: {what}</summary><pre>{escape(text)}</pre></details>")
    return blocks
