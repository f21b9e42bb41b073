#!/usr/bin/env bash
# Measures on one GPU all that is worth measuring there, in under ten minutes, and writes a page of Markdown:
#
#     PYTHON=python TORCH=VENV/bin/python benchmarks/gpu.sh > benchmarks/gpu.md
#     benchmarks/gpu.sh --dry                  the same commands on a CPU, with small nets: none of them is mistyped
#
# PYTHON has this package with jax[cuda12]; TORCH has benchmarks/peers/requirements.txt, and may be left out.
# A part that fails says so, and the others go on; the exit code is the number of parts that failed.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
TORCH=${TORCH:+--torch=$TORCH}
export PYTHONPATH=. TF_CPP_MIN_LOG_LEVEL=3
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
FAILED=0

if [ "${1:-}" = "--dry" ]; then
    export JAX_PLATFORMS=cpu
    TESTS="tests/core/test_pooling.py" CONFIG=configs/mnist.py:tiny EPOCHS=1 CALLS=1
    NETS="small" IMAGES="--images=16 --rounds=1" TARGET=""
else
    export JAX_PLATFORMS=cuda
    TESTS="tests/core/test_padding_invariance.py tests/core/test_norms.py tests/core/test_pooling.py tests/core/test_step.py"
    CONFIG=configs/mnist.py EPOCHS=4 CALLS=20 NETS="resnet50 imagenet mnist" IMAGES="--rounds=2"
fi

# part TITLE SECONDS COMMAND...: runs a command and prints the end of what it says.
part() {
    local title=$1 seconds=$2 log="$FOLDER/log"
    shift 2
    printf '\n## %s\n\n`%s`\n\n' "$title" "$*"
    if timeout "$seconds" "$@" > "$log" 2> "$FOLDER/errors"; then
        tail -n 30 "$log"
    else
        FAILED=$((FAILED + 1))
        printf '**It failed.**\n\n```\n'
        tail -n 15 "$log" "$FOLDER/errors"
        printf '```\n'
    fi
}

printf '# On one GPU\n\nWritten by `benchmarks/gpu.sh`.\n'
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2> /dev/null || echo "No GPU."
VERSIONS="import json; from fcn_jax.system.machine import describe_versions; print(json.dumps(describe_versions()))"
part "Versions" 60 $PYTHON -c "$VERSIONS"
part "Padding changes nothing here either" 150 $PYTHON -m pytest -q -p no:cacheprovider $TESTS
part "The default net" 120 $PYTHON -m fcn_jax train --config=$CONFIG --config.train.epochs=$EPOCHS --workdir="$FOLDER/run"
part "Its evaluation" 60 $PYTHON -m fcn_jax evaluate --workdir="$FOLDER/run"
for net in $NETS; do
    part "A step of $net" 120 $PYTHON benchmarks/step.py --net=$net --calls=$CALLS $TORCH
done
part "The way in" 90 $PYTHON benchmarks/input.py $IMAGES
exit $FAILED
