"""The files of a run that nobody made: all is well with it, and a test spoils what it is about."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from configs.mnist import get_config
from fcn_jax.config import Config
from fcn_jax.core.buckets import BucketPlan
from fcn_jax.reports.html import png_of
from fcn_jax.system.disk import write_json

STEPS_PER_EPOCH, STEPS_PER_READING = 20, 5
SUMMARY = {
    "loss": 0.12, "accuracy": 0.98, "count": 2000, "images_per_second": 1000.0, "true_megapixels_per_second": 3.5,
    "input_wait": 0.01, "device_idle": 0.02, "plan_fill": 0.97, "filler_share": 0.01, "fill": 0.95,
    "train_seconds": 80.0,
    "parameters": 166090, "bad_examples": 0, "compile_seconds": 9.0, "compile_count": 2, "wall_seconds": 99.0,
    "size_accuracy": 0.12, "size_accuracy_low": 0.11, "size_accuracy_high": 0.13, "majority_accuracy": 0.113,
    "versions": {"jax": "1.2.3"}, "device": "1 × cpu", "git_commit": "c0ffee" * 6 + "c0ff",
}  # fmt: skip
PROGRAMS = [
    {"program": "train", "blocks": "8 × 20×12  24 × 20×20", "seconds": 6.0, "peak_mib": 52.0, "gflop": 3.4},
    {"program": "evaluate 20×20", "blocks": "64 × 20×20", "seconds": 3.0, "peak_mib": 31.0, "gflop": 0.8},
]


def run_config() -> Config:
    """Eight epochs."""
    config = get_config()
    config.seed, config.train.epochs = 5, 8
    return config


def made_rows(*, epochs: int = 8) -> list[dict[str, Any]]:
    """metrics.jsonl up to the end of an epoch; a run of eight ends with its test."""
    rows: list[dict[str, Any]] = []
    for step in range(STEPS_PER_READING, epochs * STEPS_PER_EPOCH + 1, STEPS_PER_READING):
        epoch = step / STEPS_PER_EPOCH
        left = 0.3**epoch
        speed = {
            "images_per_second": 1000.0,
            "true_megapixels_per_second": 3.5,
            "input_wait": 0.01,
            "device_idle": 0.02,
        }
        means = {"loss": 0.2 + 2 * left, "accuracy": 0.98 - 0.9 * left}
        rows.append({"step": step, "kind": "train", "epoch": epoch, **means, **speed})
        if epoch.is_integer():
            rows.append({"step": step, "kind": "validation", **means, "count": 1000, "train_seconds": 10 * epoch})
    if epochs == 8:
        rows.append({"step": epochs * STEPS_PER_EPOCH, "kind": "test", "loss": 0.12, "accuracy": 0.98, "count": 2000})
    return rows


def write_rows(workdir: Path, rows: list[dict[str, Any]]) -> None:
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_run(workdir: Path, *, config: Config | None = None, summary: dict[str, Any] | None = None) -> None:
    """A finished run.

    Args:
        summary: entries of summary.json that differ.
    """
    workdir.mkdir(parents=True)
    write_json(workdir / "config.json", dataclasses.asdict(config or run_config()))
    (workdir / "plan.json").write_text(BucketPlan(((20, 12), (20, 20))).to_json())
    (workdir / "plan.png").write_bytes(png_of(Figure(figsize=(1, 1))))
    write_json(workdir / "compile.json", PROGRAMS)
    write_rows(workdir, made_rows())
    write_json(workdir / "summary.json", SUMMARY | (summary or {}))
    (workdir / "checkpoints/160").mkdir(parents=True)
