"""A run's page stands alone, shows what its files hold, and names those that are missing or damaged."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from configs.mnist import get_config
from fcn_jax.commands.train import train
from fcn_jax.config_fields import differences
from fcn_jax.core.buckets import BucketPlan
from fcn_jax.reports.run_files import ProgramRecord, read_run
from fcn_jax.reports.run_page import launch_file, write_report
from fcn_jax.train.workdir import read_config
from tests.commands.stopped import train_until
from tests.experiments.test_report import Reader
from tests.inference.made_run import made_rows, make_run, run_config, write_rows

ROOT = Path(__file__).parents[2]
PICTURES = ("Accuracy", "Loss", "Learning rate", "images/s", "The sizes")


@pytest.fixture
def workdir(tmp_path):
    make_run(tmp_path / "run")
    return tmp_path / "run"


def report(workdir: Path) -> str:
    html = write_report(workdir).read_text()
    Reader(html)
    return html


def test_the_page_stands_alone_and_its_pictures_have_words(workdir):
    html = report(workdir)
    images = Reader(html).images
    assert [image["alt"].startswith(start) for image, start in zip(images, PICTURES, strict=True)] == [True] * 5
    for image in images:
        assert image["src"].startswith("data:image/png;base64,")
        assert len(re.findall(r"\d", image["alt"])) > 4
    assert not re.findall(r"""https?:|@import|url\(|<script|<link""", html)
    assert 'name="viewport"' in html


def test_the_page_says_what_came_out(workdir):
    html = report(workdir)
    for text in (
        "Test accuracy 98.00% (95% interval 97.29% to 98.53%), loss 0.1200.",
        "Finished: epoch 8 of 8, step 160.",
        "fcn (norm batch, head average) on mnist_native, stratified steps, 8 epochs, seed 5.",
        "0.950 (plan fill 0.970, filler share 0.010)",
        "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff",
        '<th scope="row">20×12</th><td>240</td><td>8</td>',
        '<th scope="row">evaluate 20×20</th><td>3.0</td><td>31</td>',
        '<th scope="row">train.epochs</th><td class="text">8</td><td class="text">16</td>',
        f"python -m fcn_jax evaluate --workdir={workdir} --split=test",
    ):
        assert text in html
    assert "<h2>Warnings</h2>" not in html
    assert html == report(workdir)


def of_signals(workdir: Path, **names: str) -> None:
    """Make the run one of signals, whose speeds have these names in its files."""
    (workdir / "plan.json").write_text(BucketPlan(((12,), (20,))).to_json())
    for name in ("metrics.jsonl", "summary.json"):
        text = (workdir / name).read_text()
        for old, new in names.items():
            assert old in text
            text = text.replace(f'"{old}"', f'"{new}"')
        (workdir / name).write_text(text)


NAMES = {
    "of now": {
        "images_per_second": "examples_per_second",
        "true_megapixels_per_second": "true_megasamples_per_second",
    },
    "of before": {},
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_a_run_of_signals_is_told_in_examples_and_samples(workdir, names):
    of_signals(workdir, **names)
    assert read_run(workdir).problems == []
    html = report(workdir)
    assert "1,000 examples/s, 3.5 true Msamples/s; 1.0% of the time" in html
    assert '<th scope="col">samples</th>' in html
    assert "true Msamples/s: 3.5 at epoch 0.25" in html
    assert not re.search("images/s|Mpx/s|pixels<", html)
    (workdir / "summary.json").unlink()
    assert "1,000 examples/s, 1.0% of the time waiting for input" in report(workdir)


def test_a_run_of_images_is_told_in_images_and_pixels(workdir):
    html = report(workdir)
    assert "1,000 images/s, 3.5 true Mpx/s; 1.0% of the time" in html
    assert not re.search("samples/s", html)


def test_the_launch_file_gives_the_config_again():
    config = run_config()
    config.data.source, config.model.kernel = "folder:it's", (3,)
    names: dict = {}
    exec(launch_file(config), names)
    assert differences(names["get_config"](), config) == []


FILES = {
    "config.json": "The whole config",
    "plan.json": "<h2>Buckets</h2>",
    "plan.png": "The sizes of the training examples",
    "compile.json": "<h2>Programs</h2>",
    "metrics.jsonl": "<h2>Curves</h2>",
}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_and_the_rest_is_shown(workdir, name):
    (workdir / name).unlink()
    html = report(workdir)
    assert f"{name} is missing." in html
    assert FILES[name] not in html
    gone = {name, "plan.png"} if name == "plan.json" else {name}
    assert all(FILES[other] in html for other in FILES.keys() - gone)


@pytest.mark.parametrize("name", [*FILES, "summary.json"])
@pytest.mark.parametrize("content", [b"\xff\x00 {", b'{"a": [1, null]}\n', b"[[3]]\n"])
def test_a_damaged_file_is_named(workdir, name, content):
    (workdir / name).write_bytes(content + b"\n")
    (problem,) = read_run(workdir).problems
    assert re.match(rf"{name} cannot be used \(|Left out of {name}: ", problem)


def test_what_is_damaged_is_said_before_all_else(workdir):
    (workdir / "summary.json").write_text('{"loss": "low"}')
    html = report(workdir)
    problem = '<p class="note warning">summary.json cannot be used (it has &#x27;low&#x27; as loss).</p>'
    assert html.index(problem) < html.index("Latest validation accuracy 97.99%")


def test_damaged_lines_are_left_out_and_a_line_cut_off_is_none(workdir):
    whole = (workdir / "metrics.jsonl").read_text()
    (workdir / "metrics.jsonl").write_text(whole + '{"step": 165, "kind"')
    assert "metrics.jsonl" not in report(workdir)
    lines = whole.splitlines()
    lines[2] = lines[2][:30]
    (workdir / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    html = report(workdir)
    assert "Left out of metrics.jsonl: 1 damaged line (line 3: " in html
    assert "Finished: epoch 8 of 8" in html


def test_bad_examples_are_named(workdir):
    names = [f"<{number}>.png" for number in range(25)]
    rows = [{"split": "train", "name": name, "reason": "cut & off"} for name in names]
    (workdir / "bad_examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    html = report(workdir)
    assert "<h2>Bad examples: 25</h2>" in html
    assert "25 examples could not be used" in html
    assert "&lt;19&gt;.png" in html
    assert "&lt;20&gt;.png" not in html
    assert "cut &amp; off" in html


def test_a_run_without_a_result_says_how_far_it_is(workdir):
    (workdir / "summary.json").unlink()
    write_rows(workdir, made_rows(epochs=3))
    html = report(workdir)
    assert "Stopped without a result: epoch 3 of 8, step 60. The same train command continues it from step 160." in html
    assert "Latest validation accuracy 95.57%" in html
    with (workdir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "In progress: epoch 3 of 8, step 60." in report(workdir)


def test_a_run_that_was_begun_anew_does_not_show_the_result_before(workdir):
    write_rows(workdir, made_rows(epochs=2))
    html = report(workdir)
    assert "Test accuracy" not in html
    assert "Stopped without a result: epoch 2 of 8" in html


def test_a_run_that_compiles_has_a_page(workdir):
    for name in ("summary.json", "metrics.jsonl", "compile.json"):
        (workdir / name).unlink()
    with (workdir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        html = report(workdir)
    assert "In progress: before its first log step." in html
    assert "is missing" not in html


def test_nothing_is_shown_of_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is no folder: give the workdir of a run"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"no run that can be shown: config.json cannot be used .*\. plan.json is"):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_no_device_is_touched(workdir):
    command = [sys.executable, "-m", "fcn_jax", "report", f"--workdir={workdir}"]
    environment = {**os.environ, "JAX_PLATFORMS": "tpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{workdir}/report.html\n", "")
    assert "Learning rate: 0 at epoch 0" in (workdir / "report.html").read_text()


def test_a_real_run_stopped_and_resumed_has_its_page(tmp_path):
    config = get_config("tiny")
    config.machine.cache_dir, config.model.channels = str(tmp_path / "cache"), (4, 8, 8)
    config.schedule.kind, config.model.norm = "bucketed", "none"
    workdir = tmp_path / "real run"
    train_until(config, workdir, steps=9)
    html = report(workdir)
    assert "Stopped without a result: epoch 1 of 2, step 8. The same train command continues it from step 8." in html
    summary = train(read_config(workdir), workdir)
    html = report(workdir)
    assert f"Test accuracy {summary['accuracy']:.2%} (95% interval" in html
    assert "Finished: epoch 2 of 2, step 16." in html
    assert "2 times; the seconds of compiling are those of the last start" in html
    assert "rows in a step" in html
    for command in ("predict &#x27;--workdir={}&#x27; PATH...", "cam &#x27;--workdir={}&#x27; --out=maps PATH..."):
        assert command.format(workdir) in html
    assert not re.search(r"cannot be used|is missing|Left out", html)
    assert len(Reader(html).images) == len(PICTURES)


def test_blocks_of_micro_steps_count_together():
    blocks = "8 × 20×12  24 × 20×20  8 × 20×12  25 × 20×20"
    record = ProgramRecord("train", blocks, seconds=1.0, peak_mib=2.0, gflop=3.0)
    assert record.rows == {"20×12": 16, "20×20": 49}
