"""The runs an ablation consists of, an arm and a seed each, and the key that says whether a result is of this run.

The key hashes what decides a result: config and seed, evaluations, and the source of the code behind them. Where a run
keeps its files, and how fast the machine is, does not enter it; neither do docstrings, comments and the README.
"""

import ast
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from experiments.ablation import Ablation, Arm, Form
from fcn_jax.config import Config
from fcn_jax.config_fields import changes_result, flatten, overridden

ROOT = Path(__file__).parents[1]
DECIDES_RESULTS = (
    "fcn_jax/config.py",
    "fcn_jax/config_fields.py",
    "fcn_jax/core/*.py",
    "fcn_jax/data/*.py",
    "fcn_jax/nets/*.py",
    "fcn_jax/train/*.py",
    "fcn_jax/commands/train.py",
    "experiments/worker.py",
)
NOT_OF_THE_RUN = {"checkpoint.every_steps": 10**9, "checkpoint.keep": 1}
KEY_LENGTH = 16


@dataclass(frozen=True)
class ArmRun:
    """One arm with one seed."""

    ablation: Ablation
    form: Form
    arm: Arm
    seed: int

    @property
    def config(self) -> Config:
        """The base, then what the form shortens, then what the arm is about."""
        base = (self.arm.base or self.ablation.base)()
        return overridden(base, {**NOT_OF_THE_RUN, **self.form.overrides, **self.arm.overrides, "seed": self.seed})

    @property
    def is_first_seed(self) -> bool:
        return self.seed == 0

    @property
    def evaluations(self) -> dict[str, Config]:
        """Its evaluations, each with the whole config."""
        return {
            evaluation.name: overridden(self.config, evaluation.overrides)
            for evaluation in self.ablation.evaluations
            if evaluation.name not in self.arm.skips
        }

    def key(self, code: str) -> str:
        """Of its result under a version of the code."""
        how = {item.name: [item.by_length, item.drift_from] for item in self.ablation.evaluations}
        evaluations = {name: [_decisive(config), how[name]] for name, config in self.evaluations.items()}
        text = json.dumps([_decisive(self.config), evaluations, code], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]

    def __str__(self) -> str:
        return f"{self.arm.name}, seed {self.seed}"


def _decisive(config: Config) -> dict[str, object]:
    return {path: value for path, value in flatten(config).items() if changes_result(path)}


def all_runs(ablation: Ablation, form: Form, seeds: Sequence[int] | None = None) -> list[ArmRun]:
    """Seed by seed, so that a run stopped in the middle has as much of every arm.

    Args:
        seeds: in place of the form's own, 0, 1, 2, ...
    """
    chosen = range(form.num_seeds) if seeds is None else seeds
    return [ArmRun(ablation, form, arm, seed) for seed in chosen for arm in ablation.arms]


@cache
def code_version(root: Path = ROOT) -> str:
    """A hash over the source that can change a result: over what is defined there, wherever it stands.

    Docstrings, comments, imports, and the names and order of files do not enter it.
    """
    paths = [path for pattern in DECIDES_RESULTS for path in root.glob(pattern)]
    definitions = sorted(text for path in paths for text in _definitions(path.read_text(encoding="utf-8")))
    return hashlib.sha256("\n".join(definitions).encode()).hexdigest()[:KEY_LENGTH]


def _definitions(source: str) -> list[str]:
    """Every statement of a module but its imports, without docstrings."""
    module = ast.parse(source)
    for node in ast.walk(module):
        for name in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, name, None), list):
                setattr(node, name, [statement for statement in statements if not _is_words_or_import(statement)])
    return [ast.dump(statement) for statement in module.body]


def _is_words_or_import(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
            return True
        case _:
            return False
