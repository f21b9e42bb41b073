"""One HTML page of an ablation, in one file: nothing is fetched, and a phone's width is enough."""

import base64
import json
from collections.abc import Sequence
from html import escape

from experiments.ablation import Ablation, Form
from experiments.plan import Run
from experiments.plots import Picture
from experiments.results import Results
from experiments.tables import results_table
from experiments.words import answer, claim_text
from fcn_jax.config_fields import changes_result, flatten

STYLE = """
:root { color-scheme: light dark; --line: #8886; --note: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.6rem; text-align: right; white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; }
th:first-child { text-align: left; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; background: white; }
figcaption, .small { font-size: 0.85rem; opacity: 0.8; }
pre { overflow-x: auto; background: var(--note); padding: 0.6rem; font-size: 0.85rem; }
.note { background: var(--note); border-left: 4px solid var(--line); padding: 0.4rem 0.8rem; margin: 0.8rem 0; }
.stale, .contradicted { border-left-color: #c33; } .supported { border-left-color: #393; }
"""


def page(results: Results, pictures: Sequence[Picture]) -> str:
    """The page of an ablation."""
    ablation = results.ablation
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in ablation.remarks)
    return document(
        f"{ablation.name}: an ablation of fcn_jax",
        f"<h1>{escape(ablation.question)}</h1>",
        *(f'<p class="note stale">{escape(line)}</p>' for line in notices(results)),
        f"<p><strong>{escape(answer(results))}</strong></p>",
        "<h2>What was expected, and what came out</h2>",
        *_claims(results),
        f'<h2>Results</h2><div class="scroll">{results_table(results).to_html()}</div>',
        f'<p class="small">{escape(how_to_read(results))}</p>',
        *map(_figure, pictures),
        f"<h2>What was run</h2><p>{escape(what_was_run(results))}</p>",
        f"<ul>{remarks}</ul>" if remarks else "",
        f"<pre>{escape(commands(ablation, results.form))}</pre>",
        "<h2>Configs</h2>",
        *_configs(results),
        f'<p class="small">{escape(provenance(results))}</p>',
    )


def document(title: str, *parts: str) -> str:
    """A whole HTML document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"
    )


def notices(results: Results) -> list[str]:
    """What stands above everything else: results that are stale, or not all there."""
    lines = []
    if results.are_stale:
        lines.append(
            "Stale: these results were made by other code or with other configs than stand beside this page. "
            f"Make them again: {commands(results.ablation, results.form).splitlines()[0]}"
        )
    elif results.num_left_out:
        lines.append(f"{results.num_left_out} older results, made by other code or with other configs, are left out.")
    if results.num_missing:
        lines.append(f"{results.num_missing} runs are missing.")
    return lines


def how_to_read(results: Results) -> str:
    baseline = results.ablation.arms[0].name
    return (
        f"Mean ± standard deviation over n seeds. Differences are those to {baseline} within each seed, with the 95 % "
        "confidence interval of their mean and p of a paired t-test; of percent, in points. Nothing is corrected for "
        "the number of arms. Seconds of compilation are measured once an arm, with an empty cache. A dash: not "
        "measured, or the model does not take the size."
    )


def what_was_run(results: Results) -> str:
    form, ablation = results.form, results.ablation
    minutes = sum(row["wall_seconds"] for row in results.rows) / 60
    return (
        f"{len(results.rows)} runs (of {len(ablation.arms)} arms with {form.num_seeds} seeds) in the {form.name} form: "
        f"{form.text}. Their times add up to {minutes:.1f} minutes."
    )


def commands(ablation: Ablation, form: Form) -> str:
    """What anyone types to have the page."""
    full = " --full" if form.name == "full" else ""
    return f"python -m experiments run {ablation.name}{full}\npython -m experiments report {ablation.name}{full}"


def provenance(results: Results) -> str:
    """Code, machine and versions of the rows."""
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


def _claims(results: Results) -> list[str]:
    return [
        f'<p class="note {results.judge(claim)[0]}">{escape(claim_text(results, claim))}</p>'
        for claim in results.ablation.claims
    ]


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(picture.text)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _configs(results: Results) -> list[str]:
    """The whole config of the first arm, and of every other what differs."""
    runs = [Run(results.ablation, results.form, arm, seed=0) for arm in results.ablation.arms]
    first = flatten(runs[0].config)
    blocks = []
    for run in runs:
        config = flatten(run.config)
        shown = {
            path: value
            for path, value in config.items()
            if changes_result(path) and (run is runs[0] or value != first[path])
        }
        text = "\n".join(f"{path} = {json.dumps(value)}" for path, value in shown.items()) or "as the first"
        what = "the whole config" if run is runs[0] else f"where it differs from {runs[0].arm.name}"
        blocks.append(f"<details><summary>{escape(run.arm.name)}: {what}</summary><pre>{escape(text)}</pre></details>")
    return blocks
