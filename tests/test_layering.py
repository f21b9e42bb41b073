"""The rules of imports: no arrow runs back up, and `core` imports nothing of the package but the config."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = {"config", "config_data", "config_fields", "config_rules", "config_values"}
MAY_IMPORT = {
    "version": set(),
    "config_values": set(),
    "config_data": {"config_values"},
    "config": {"config_data", "config_values"},
    "config_rules": {"config", "config_values"},
    "config_fields": {"config", "config_rules"},
    "core": CONFIG,
    "system": CONFIG | {"version"},
    "data": CONFIG | {"core", "system"},
    "nets": CONFIG | {"core"},
    "train": CONFIG | {"core", "system", "data", "nets"},
    "inference": CONFIG | {"core", "system", "data", "nets", "train"},
    "reports": CONFIG | {"core", "system", "data", "nets", "train", "inference"},
    "commands": CONFIG | {"core", "system", "data", "nets", "train", "inference", "reports"},
    "command_line": CONFIG,
    "cli": CONFIG | {"command_line", "core", "system", "nets", "train", "inference", "reports", "commands"},
    "__main__": {"cli", "system"},
}
EXPERIMENTS_MAY_IMPORT = {
    "ablation": set(),
    "metrics": {"ablation"},
    "ablations": {"ablation", "metrics"},
    "plan": {"ablation"},
    "runs": {"ablation"},
    "probes": set(),
    "worker": {"ablation", "plan", "probes", "runs"},
    "launchers": {"plan", "worker"},
    "slurm": {"ablation", "launchers", "plan", "runs", "worker"},
    "runner": {"ablation", "launchers", "plan", "worker"},
    "statistics": set(),
    "results": {"ablation", "plan", "statistics"},
    "words": {"ablation", "results", "statistics"},
    "tables": {"results", "statistics", "words"},
    "plots": {"ablation", "results", "statistics", "words"},
    "page": {"ablation", "plan", "results", "tables", "words"},
    "pytorch_page": {"ablations", "metrics", "page", "plan", "results", "statistics", "words"},
    "report": {"ablation", "page", "plan", "plots", "pytorch_page", "results", "runs", "tables", "words"},
    "check": {"ablation", "launchers", "page", "plan", "report", "results", "runner", "runs", "statistics", "words"},
    "__main__": {"ablation", "ablations", "check", "launchers", "report", "runner", "runs", "slurm", "words"},
    "fashion_mnist": set(),
    "pytorch_replication": {"ablations", "pytorch_page", "report"},
}
"""`experiments` builds on `train`; what is data (ablation, ablations) on the config alone."""
WITHOUT_JAX = [
    *(f"{name}.py" for name in sorted(CONFIG)),
    *("nets/families.py", "nets/published_families.py"),
    *(f"core/{name}.py" for name in ("geometry", "buckets", "bucket_search", "step_plan", "schedule", "random")),
]


@cache
def imported(path: Path) -> frozenset[str]:
    """Every module a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "fcn_jax").parts[0].removesuffix(".py")


FILES = sorted(path for path in (ROOT / "fcn_jax").rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_run_down(path):
    room = room_of(path)
    reached = {name.split(".")[1] for name in imported(path) if name.startswith("fcn_jax.")}
    assert reached - {room} <= MAY_IMPORT[room]


def test_no_folder_imports_one_that_imports_it():
    for room, below in MAY_IMPORT.items():
        assert all(room not in MAY_IMPORT[name] for name in below), room


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_no_circle():
    """Files of one folder may import each other, but not in a circle."""
    modules = {module_of(path): path for path in FILES}
    left = {
        name: {m for m in modules if any(i == m or i.startswith(f"{m}.") for i in imported(path))}
        for name, path in modules.items()
    }
    while left:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for name in free:
            del left[name]


EXPERIMENTS = sorted(path for path in (ROOT / "experiments").rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_experiments_build_on_train(path):
    room = path.relative_to(ROOT / "experiments").parts[0].removesuffix(".py")
    names = imported(path)
    own = {name.split(".")[1] for name in names if name.startswith("experiments.")}
    assert own - {room} <= EXPERIMENTS_MAY_IMPORT[room]
    reached = {name.split(".")[1] for name in names if name.startswith("fcn_jax.")}
    is_data = room in ("ablation", "metrics", "ablations")
    assert reached <= ({"config"} if is_data else MAY_IMPORT["commands"] | {"commands"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_builds_on_experiments(path):
    assert not any(name.split(".")[0] in ("experiments", "configs") for name in imported(path))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.name)
def test_configs_need_the_config_the_families_and_the_rules_of_folders_alone(path):
    names = {name for name in imported(path) if name.startswith("fcn_jax.") and not name.startswith("fcn_jax.config.")}
    rules = {"fcn_jax.data.folder.class_names", "fcn_jax.data.splits.SPELLINGS"}
    assert all(name.startswith("fcn_jax.nets.families.") for name in names - rules)


@pytest.mark.parametrize("name", WITHOUT_JAX)
def test_plans_and_schedules_need_no_jax(name):
    assert not any(module.split(".")[0] in ("jax", "flax") for module in imported(ROOT / "fcn_jax" / name))


def test_decisions_rest_on_clocks_that_nobody_sets():
    """Only TensorBoard's events and the report's page say when something was written."""
    using = {path for path in FILES if {"datetime", "datetime.datetime"} & imported(path)}
    using |= {path for path in FILES if "time.time()" in path.read_text()}
    assert using == {ROOT / "fcn_jax/train/log.py", ROOT / "fcn_jax/reports/run_files.py"}
