"""The house: four wings on root files, the experiments beside them; no arrow runs back up."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOT_FILES = {
    "cluster",
    "types",
    "config",
    "config_fields",
    "config_model_rules",
    "config_rules",
    "geometry",
    "json_text",
    "console",
    "disk",
    "lifeline",
    "memory",
}
MAY_IMPORT = {
    "types": set(),
    "config": set(),
    "config_fields": {"config"},
    "config_model_rules": {"config"},
    "config_rules": {"config", "config_fields", "config_model_rules"},
    "geometry": set(),
    "json_text": set(),
    "console": set(),
    "disk": set(),
    "memory": set(),
    "lifeline": {"console"},
    "cluster": {"console", "lifeline"},
    "page": set(),
    "data": ROOT_FILES,
    "models": ROOT_FILES,
    "train": ROOT_FILES | {"data", "models"},
    "use": ROOT_FILES | {"page", "data", "models", "train"},
    "command_line": {"config", "config_fields"},
    "cli": ROOT_FILES | {"command_line", "models", "train", "use"},
    "__main__": {"cli", "train"},
}
USE_MAY_IMPORT = {
    "inference": set(),
    "export": {"inference"},
    "predict": {"inference", "export"},
    "cam": {"inference"},
    "evaluation": {"inference"},
    "planning": set(),
    "report": set(),
}
"""A folder a command; `inference` is what they share: a trained net ready for files."""
EXPERIMENTS_MAY_IMPORT = {
    "ablation": set(),
    "metrics": {"ablation"},
    "ablations": {"ablation", "metrics"},
    "plan": {"ablation"},
    "runs": {"ablation"},
    "worker": {"ablation", "plan", "runs"},
    "launchers": {"plan", "worker"},
    "slurm": {"ablation", "launchers", "plan", "runs", "worker"},
    "runner": {"ablation", "launchers", "plan", "worker"},
    "statistics": set(),
    "results": {"ablation", "plan", "statistics"},
    "words": {"ablation", "results", "statistics"},
    "tables": {"results", "words"},
    "plots": {"ablation", "results", "statistics", "words"},
    "page": {"ablation", "plan", "results", "tables", "words"},
    "report": {"ablation", "page", "plan", "plots", "results", "runs", "tables", "words"},
    "check": {"ablation", "launchers", "plan", "report", "results", "runner", "runs", "statistics", "words"},
    "__main__": {"ablation", "ablations", "check", "launchers", "report", "runner", "runs", "slurm", "words"},
}
"""`experiments` builds on `train`; what is data (ablation, ablations) on the config alone."""
WITHOUT_JAX = [
    *("geometry.py", "config.py", "config_model_rules.py", "config_rules.py"),
    *(
        "data/buckets.py",
        "data/planner.py",
        "data/line_planner.py",
        "data/layout.py",
        "data/schedule.py",
        "data/draws.py",
    ),
]


def imported(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "fcn_jax").parts[0].removesuffix(".py")


FILES = sorted(path for path in (ROOT / "fcn_jax").rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_run_down(path):
    room = room_of(path)
    reached = {name.split(".")[1] for name in imported(path) if name.startswith("fcn_jax.")}
    assert reached - {room} <= MAY_IMPORT[room]


USE = [path for path in FILES if room_of(path) == "use"]


@pytest.mark.parametrize("path", USE, ids=lambda path: "/".join(path.parts[-2:]))
def test_uses_share_inference(path):
    folder = path.parent.name
    reached = {name.split(".")[2] for name in imported(path) if name.startswith("fcn_jax.use.")}
    assert reached - {folder} <= USE_MAY_IMPORT[folder]


EXPERIMENTS = sorted(path for path in (ROOT / "experiments").rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_experiments_build_on_train(path):
    room = path.relative_to(ROOT / "experiments").parts[0].removesuffix(".py")
    names = imported(path)
    own = {name.split(".")[1] for name in names if name.startswith("experiments.")}
    assert own - {room} <= EXPERIMENTS_MAY_IMPORT[room]
    reached = {name.split(".")[1] for name in names if name.startswith("fcn_jax.")}
    assert reached <= ({"config"} if room in ("ablation", "metrics", "ablations") else ROOT_FILES | {"page", "train"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_builds_on_experiments(path):
    assert not any(name.split(".")[0] in ("experiments", "configs") for name in imported(path))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.name)
def test_configs_need_the_config_alone(path):
    assert {name for name in imported(path) if name.startswith("fcn_jax")} <= {"fcn_jax.config.Config"}


@pytest.mark.parametrize("name", WITHOUT_JAX)
def test_plans_and_schedules_need_no_jax(name):
    assert not any(module.split(".")[0] in ("jax", "flax") for module in imported(ROOT / "fcn_jax" / name))


def test_decisions_rest_on_clocks_that_nobody_sets():
    """Only TensorBoard's events and the report's page say when something was written."""
    using = {path for path in FILES if {"datetime", "datetime.datetime"} & imported(path)}
    using |= {path for path in FILES if "time.time()" in path.read_text()}
    assert using == {ROOT / "fcn_jax/train/writer.py", ROOT / "fcn_jax/use/report/files.py"}
