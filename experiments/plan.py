"""The runs of an ablation, each one arm with one seed, and the key that tells which run a result belongs to.

The key is a hash of everything that decides a result: the config with its seed, the evaluations, and the source code
behind them. It ignores where a run keeps its files, the speed of the machine, docstrings, comments and the README.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    "experiments/fashion_mnist.py",
    "experiments/probes.py",
    "experiments/worker.py",
)
NOT_OF_THE_RUN = {"checkpoint.every_steps": 10**9, "checkpoint.keep": 1}
KEY_LENGTH = 16
FIRST_SEED = 0


@dataclass(frozen=True)
class ArmRun:
    """A run: one arm with one seed."""

    ablation: Ablation
    form: Form
    arm: Arm
    seed: int

    @property
    def config(self) -> Config:
        """The config of the run: the base, then the overrides of the form, then those of the arm."""
        return replace(_configs_of_arm(self.ablation, self.form, self.arm).run, seed=self.seed)

    @property
    def is_first_seed(self) -> bool:
        return self.seed == FIRST_SEED

    @property
    def evaluations(self) -> dict[str, Config]:
        """The evaluations of the run by name, each with its whole config."""
        configs = _configs_of_arm(self.ablation, self.form, self.arm).evaluations
        return {name: replace(config, seed=self.seed) for name, config in configs.items()}

    @property
    def probe(self) -> Config | None:
        """The config of the net at which gradients are measured; None: they are not."""
        return _configs_of_arm(self.ablation, self.form, self.arm).probe

    def key(self, code: str) -> str:
        """Return the key of the run's result for a version of the code."""
        how = {item.name: [item.by_length, item.drift_from] for item in self.ablation.evaluations}
        evaluations = {name: [_decisive(config), how[name]] for name, config in self.evaluations.items()}
        probe = None if self.probe is None else _decisive(self.probe)
        text = json.dumps([_decisive(self.config), evaluations, probe, code], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]

    def __str__(self) -> str:
        return f"{self.arm.name}, seed {self.seed}"


@dataclass(frozen=True)
class _ArmConfigs:
    """The configs of an arm for the first seed. Those of other seeds differ in nothing else."""

    run: Config
    evaluations: dict[str, Config]
    probe: Config | None


@cache
def _configs_of_arm(ablation: Ablation, form: Form, arm: Arm) -> _ArmConfigs:
    """Make the configs of an arm once for all its seeds, since checking every override takes milliseconds."""
    base = (arm.base or ablation.base)()
    run = overridden(base, {**NOT_OF_THE_RUN, **form.overrides, **arm.overrides, "seed": FIRST_SEED})
    evaluations = {
        evaluation.name: overridden(run, evaluation.overrides)
        for evaluation in ablation.evaluations
        if evaluation.name not in arm.skips
    }
    return _ArmConfigs(run, evaluations, None if ablation.probe is None else overridden(run, ablation.probe))


def _decisive(config: Config) -> dict[str, object]:
    return {path: value for path, value in flatten(config).items() if changes_result(path)}


def all_runs(ablation: Ablation, form: Form, seeds: Sequence[int] | None = None) -> list[ArmRun]:
    """Return all runs, seed by seed, so that every arm has as many results if the work is stopped early.

    Args:
        seeds: the seeds to use instead of the form's own, which are 0, 1, 2, ...
    """
    of_arm = [(arm, ablation.seeds(form, arm)) for arm in ablation.arms]
    chosen = range(max(len(own) for _, own in of_arm)) if seeds is None else seeds
    return [
        ArmRun(ablation, form, arm, seed)
        for seed in chosen
        for arm, own in of_arm
        if own and (seed in own or seeds is not None)
    ]


@cache
def code_version(root: Path = ROOT, *, patterns: tuple[str, ...] = DECIDES_RESULTS) -> str:
    """Return a hash of the source code that can change a result.

    The hash covers the definitions, whatever file they are in. It ignores docstrings, comments, imports, and the names
    and the order of files.
    """
    paths = [path for pattern in patterns for path in root.glob(pattern)]
    definitions = sorted(text for path in paths for text in _definitions(path.read_text(encoding="utf-8")))
    return hashlib.sha256("\n".join(definitions).encode()).hexdigest()[:KEY_LENGTH]


def _definitions(source: str) -> list[str]:
    """Return every statement of a module except its imports, without docstrings."""
    module = ast.parse(source)
    for node in ast.walk(module):
        for name in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, name, None), list):
                setattr(node, name, [statement for statement in statements if not _is_words_or_import(statement)])
    return [_text_of(statement) for statement in module.body]


def _text_of(statement: ast.stmt) -> str:
    """Return the same text under every version of Python: as 3.11 dumps a statement.

    3.12 adds the parameters of types and splits f-strings in other places; 3.13 leaves empty fields out.
    """
    for node in ast.walk(statement):
        if isinstance(node, ast.JoinedStr):
            node.values = _joined(node.values)
    empty = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(statement, **empty).replace(", type_params=[]", "")


def _joined(parts: Sequence[ast.expr]) -> list[ast.expr]:
    """Return the parts of an f-string with neighbouring texts made one, and empty ones left out."""
    found: list[ast.expr] = []
    for part in parts:
        match part, found:
            case ast.Constant(value=""), _:
                continue
            case ast.Constant(value=str(text)), [*_, ast.Constant(value=str(before))]:
                found[-1] = ast.Constant(before + text)
            case _:
                found.append(part)
    return found


def _is_words_or_import(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
            return True
        case _:
            return False
