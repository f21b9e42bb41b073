#!/usr/bin/env bash
# Build the package, install it into a fresh virtual environment, and use it from an empty folder; a few minutes.
# First the wheel, then an editable install. `make wheel-check` calls this. PYTHON=python3.12 takes another Python;
# LOCK= takes the newest compatible versions of what the package needs.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
lock=${LOCK-requirements.lock}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu
unset PYTHONPATH

step() { echo "== $*"; }
fail() { echo "wheel-check: $*" >&2; exit 1; }
installed() { "$work/venv/bin/python" -c "import fcn_jax; print(fcn_jax.__file__)"; }

step "copy the files of the checkout, so that nothing left of an earlier build gets into the wheel"
mkdir "$work/checkout"
cd "$root"
git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- --ignore-failed-read | tar -x -C "$work/checkout"

step "build the sdist, and the wheel from the sdist"
"${PYTHON:-python3}" -m venv "$work/build"
"$work/build/bin/python" -m pip install --quiet build
"$work/build/bin/python" -m build --outdir "$work/dist" "$work/checkout" > "$work/build.log" 2>&1 ||
    { cat "$work/build.log"; fail "the build failed"; }

step "install the wheel alone"
"${PYTHON:-python3}" -m venv "$work/venv"
pins=(${lock:+-c "$root/$lock"})
"$work/venv/bin/python" -m pip install --quiet "$work"/dist/*.whl "${pins[@]}"
"$work/venv/bin/python" -m pip check
export PATH=$work/venv/bin:$PATH

step "use it from an empty folder"
mkdir "$work/empty"
cd "$work/empty"
[[ $(installed) == "$work"/venv/* ]] || fail "the package that runs is not that of the wheel: $(installed)"
python -c "from PIL import Image; Image.linear_gradient('L').resize((23, 31)).save('digit.png')"
fcn-jax shapes --config=mnist --size=28x16
fcn-jax plan --config=mnist:tiny --out=p
fcn-jax compile --config=japanese_vowels:tiny
fcn-jax train --config=mnist:tiny --workdir=w
fcn-jax evaluate --workdir=w --split=validation
fcn-jax evaluate --workdir=w --out=page
fcn-jax predict --workdir=w digit.png
fcn-jax cam --workdir=w --out=maps digit.png
fcn-jax export --workdir=w --out=net.bin
fcn-jax predict --artifact=net.bin digit.png
fcn-jax report --workdir=w
for file in p/plan.png w/summary.json w/report.html page/evaluation.json maps/contact.png net.bin.json; do
    [[ -s $file ]] || fail "$file was not written"
done
python -c "import json; assert json.load(open('w/summary.json'))['git_commit'] is None"

step "all configs that come with it, and one of the user's own that builds on them"
python - <<'EOF'
from fcn_jax.command_line import CommandLine
from fcn_jax.command_line import shipped_names

ARGUMENTS = {"convnext": ":atto", "folder": ":DIR", "gtsrb": ":DIR", "signals": ":DIR", "tfds": ":mnist"}
for name in shipped_names():
    CommandLine(["train", f"--config={name}{ARGUMENTS.get(name, '')}"], texts={}, takes_config=True).config
print(*shipped_names())
EOF
printf '%s\n' 'from configs import mnist' 'def get_config():' '    return mnist.get_config("tiny")' > own.py
fcn-jax shapes --config=own.py --size=28x16 > shapes.txt
code=0
fcn-jax shapes --config=nosuch --size=28x16 2> nosuch.txt || code=$?
cat nosuch.txt
[[ $code == 2 ]] && grep -q "configs that come with fcn_jax: all_cnn, " nosuch.txt || fail "a name that is not there: code $code"

step "a checkout of another project around it is not taken for its own"
git init --quiet "$work"
git -C "$work" -c user.name=n -c user.email=e commit --quiet --allow-empty -m "Begin"
[[ $(python -c "from fcn_jax.system.machine import git_commit; print(git_commit())") == None ]] || fail "took the commit of another project"

step "the same from an editable install"
pip install --quiet -e "$work/checkout" "${pins[@]}"
[[ $(installed) == "$work"/checkout/* ]] || fail "the package that runs is not that of the checkout: $(installed)"
pip check
fcn-jax shapes --config=mnist --size=28x16 > shapes.txt
fcn-jax shapes --config=own.py --size=28x16 > shapes.txt
fcn-jax train --config=mnist:tiny --workdir=editable
[[ -s editable/summary.json ]] || fail "editable/summary.json was not written"

step "all of it works"
