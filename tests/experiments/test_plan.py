"""A key stands for what decides a result, and for nothing else."""

import dataclasses
import shutil

import pytest

from experiments.ablation import Arm, ExtraEvaluation
from experiments.plan import ROOT, ArmRun, all_runs, code_version
from tests.experiments.made import made_ablation


def key(*, code: str = "code", seed: int = 0, arm: Arm | None = None, **changes) -> str:
    ablation = made_ablation(**changes)
    return ArmRun(ablation, ablation.short, arm or ablation.arms[0], seed).key(code)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"code": "other"},
        {"arm": Arm("wide", {"train.learning_rate": 1e-3})},
        {"evaluations": ()},
        {"evaluations": (ExtraEvaluation("as it is", {"evaluate.scale": 1.5}),)},
    ],
    ids=["seed", "code", "config", "no evaluations", "other evaluation"],
)
def test_a_key_changes_with_what_decides_the_result(changed):
    assert key(**changed) != key()


def test_a_key_is_the_same_for_another_name_and_another_machine():
    assert key(arm=Arm("renamed", {"machine.num_threads": 9, "checkpoint.keep": 7})) == key()


def test_runs_go_seed_by_seed_and_the_arm_has_the_last_word():
    ablation = made_ablation()
    runs = all_runs(ablation, ablation.short)
    assert [(run.seed, run.arm.name) for run in runs[:3]] == [(0, "wide"), (0, "narrow"), (1, "wide")]
    assert len(runs) == 6
    assert runs[1].config.model.channels == (2, 4, 4)
    assert [run.seed for run in all_runs(ablation, ablation.short, [7])] == [7, 7]


def test_an_arm_makes_no_evaluation_that_it_skips():
    ablation = made_ablation()
    arm = dataclasses.replace(ablation.arms[0], skips=("scale 2",))
    assert list(ArmRun(ablation, ablation.short, arm, 0).evaluations) == ["as it is"]


def test_the_code_version_is_the_same_under_every_python(tmp_path):
    (tmp_path / "code.py").write_text(
        "def one(a, *, b=(), **c) -> None:\n    pass\n"
        + "class Two:\n    pass\n"
        + "x = 2\ny = f'{x}' f'a{x:>{x}.2f}' 'b' f'' f'c{x!r}d'\n"
        + "z = lambda: print(f'{{{x}}}' '')\n"
    )
    assert code_version(tmp_path, patterns=("*.py",)) == "325a06b5b86edacc"
    code_version.cache_clear()


def test_the_code_version_follows_the_code_that_decides_results_alone(tmp_path):
    for part in ("fcn_jax/nets", "fcn_jax/train", "fcn_jax/data"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("embedded", "__pycache__"))
    (tmp_path / "fcn_jax/reports").mkdir(parents=True)
    (tmp_path / "README.md").write_text("x")

    def version() -> str:
        code_version.cache_clear()
        return code_version(tmp_path)

    before = version()
    for harmless in ("README.md", "fcn_jax/reports/html.py", "fcn_jax/cli.py"):
        (tmp_path / harmless).write_text("y")
        assert version() == before
    family = tmp_path / "fcn_jax/nets/convolutional.py"
    source = family.read_text()
    docstring = source.split('"""')[1]
    for harmless in (f"\n    # {docstring.splitlines()[0]}\n", "\n"):
        family.write_text(source.replace(docstring, "In other words.\n\nAnd more of them.\n") + harmless)
        assert version() == before
    moved = family.rename(tmp_path / "fcn_jax/train/elsewhere.py")
    assert version() == before
    moved.write_text(f"from somewhere import something\n{source}")
    assert version() == before
    moved.write_text(f"{source}\nx = 'words'\n")
    assert version() != before
    moved.write_text(source.replace("return ", "return not ", 1))
    assert version() != before
    code_version.cache_clear()
