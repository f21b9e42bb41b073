"""docs/new_model.md, followed to the letter in a copy of the code: the new family is checked, traced and trained."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/new_model.md").read_text()
CODE = re.findall(r"`(fcn_jax/nets/\w+\.py)`:\n\n<!-- .*? -->\n```python\n(.*?)```", PAGE, re.DOTALL)
ADDED = re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
BEFORE = {
    "fcn_jax/nets/model.py": "    families.Dense: make_mlp,\n",
    "tests/nets/test_families.py": "FAMILIES = {\n",
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The code with what the page adds."""
    copy = tmp_path_factory.mktemp("new_model")
    for folder in ("fcn_jax", "configs", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for name, text in CODE:
        with (copy / name).open("a") as file:
            file.write(f"\n\n{text}" if file.tell() else text)
    for (name, after), block in zip(BEFORE.items(), ADDED, strict=True):
        lines = [line.removeprefix("+") + "\n" for line in block.splitlines()]
        imports = [line for line in lines if line.startswith("from ")]
        text = (copy / name).read_text()
        assert text.count(after) == 1, after
        text = text.replace(after, after + "".join(line for line in lines if line not in imports))
        (copy / name).write_text(
            text.replace("from fcn_jax.nets import", "".join(imports) + "from fcn_jax.nets import")
        )
    return copy


def run(command: str, folder: Path) -> str:
    program, *arguments = shlex.split(command)
    assert program == "python"
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_adds_few_lines():
    lines = [line for _, text in CODE for line in text.splitlines()] + [x for b in ADDED for x in b.splitlines()]
    assert sum(bool(line.strip()) for line in lines) <= 40


def test_the_new_family_is_checked(copy):
    assert re.search(r"\b[5-9] passed", run(COMMANDS[0], copy))


def test_the_new_family_is_traced_and_trained(copy):
    shapes, train = COMMANDS[1:]
    assert run(shapes, copy).startswith("mobilenet on 28×16")
    assert "accuracy" in run(f"{train} --config.train.epochs=1 --config.machine.cache_dir=", copy)
