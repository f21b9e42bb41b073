"""Made-up ablations and rows, quick to work on."""

import dataclasses
import json

from configs import mnist
from experiments.ablation import (
    Ablation,
    Arm,
    ByLength,
    Claim,
    Differences,
    Dots,
    ExtraEvaluation,
    Form,
    HeatMap,
    Lines,
    Row,
    Series,
)
from experiments.metrics import ACCURACY, CANVAS_BITS, COMPILE_SECONDS, accuracy_of, drift_of
from experiments.plan import ArmRun
from fcn_jax.config import Config

TINY = {
    "data.train_split": "train[:64]",
    "data.validation_split": "validation[:32]",
    "data.test_split": "test[:50]",
    "model.channels": (4, 8, 8),
    "train.epochs": 1,
}


def tiny_config() -> Config:
    return mnist.get_config("tiny")


def made_ablation(**changes) -> Ablation:
    fields = {
        "name": "made",
        "question": "Is a wide net < a narrow one?",
        "base": tiny_config,
        "arms": (Arm("wide"), Arm("narrow", {"model.channels": (2, 4, 4)})),
        "metrics": (ACCURACY, COMPILE_SECONDS, accuracy_of("scale 2")),
        "claims": (Claim("A narrow net is worse", ACCURACY, "narrow", "wide", "lower"),),
        "plots": (
            Dots(ACCURACY),
            Lines("Scales", "scale", "accuracy, %", ((1.0, ACCURACY), (2.0, accuracy_of("scale 2"))), log_x=True),
            Lines("Drift", "scale", "drift", ((2.0, drift_of("scale 2")),), log_y=True),
            HeatMap("All", (ACCURACY, accuracy_of("scale 2"))),
            ByLength("scale 2", "height"),
            Differences(
                "Against wide", CANVAS_BITS, ACCURACY, (Series("narrow", ("narrow",), "wide", (("itself", "wide"),)),)
            ),
        ),
        "evaluations": (
            ExtraEvaluation("as it is"),
            ExtraEvaluation("scale 2", {"evaluate.scale": 2.0}, by_length=True, drift_from="as it is"),
        ),
        "short": Form("short", "64 examples", TINY, num_seeds=3, seconds_per_run=10),
        "full": Form("full", "64 examples", TINY, num_seeds=4, seconds_per_run=20),
    }
    return Ablation(**{**fields, **changes})


def made_row(run: ArmRun, *, accuracy: float, code: str) -> Row:
    """A row as a worker would write it, without the work."""
    evaluated = {"accuracy": accuracy / 2, "count": 50, "drift": 0.25, "by_length": {"20": [10, 30], "16": [5, 20]}}
    return {
        "ablation": run.ablation.name,
        "arm": run.arm.name,
        "seed": run.seed,
        "form": run.form.name,
        "key": run.key(code),
        "code": code,
        "git_commit": "0123456789abcdef",
        "git_dirty": True,
        "finished": "2026-01-01T00:00:00+00:00",
        "wall_seconds": 12.0,
        "num_jobs": 1,
        "empty_cache": run.is_first_seed,
        "device": "1 × cpu",
        "cpus": 2,
        "versions": {"python": "3.11"},
        "config": json.loads(json.dumps(dataclasses.asdict(run.config))),
        "summary": {
            "accuracy": accuracy,
            "loss": 1.0,
            "parameters": 1234,
            "images_per_second": 1000.0 + run.seed,
            "train_seconds": 9.0,
            "fill": 0.9,
            "compile_count": 3,
            "compile_seconds": 8.0 - run.seed,
            "canvas_class_bits": 0.5,
        },
        "validation": [
            {"step": 5, "train_seconds": 5.0, "accuracy": 0.98},
            {"step": 9, "train_seconds": 9.0, "accuracy": 0.995},
        ],
        "evaluations": dict.fromkeys(run.evaluations, evaluated),
        "probe": {} if run.probe is None else {"variance": 2.0, "variance_within": 1.0, "bias": 0.5},
    }
