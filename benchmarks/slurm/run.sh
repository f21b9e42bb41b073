#!/bin/bash
# Runs the script of the README's "Several hosts" with two tasks, in the SLURM that setup.sh started, and waits for it.
#   benchmarks/slurm/run.sh --config=configs/mnist.py --workdir=runs/slurm
# More options for sbatch go into the environment: SBATCH_PARTITION=urgent, SBATCH_TIMELIMIT=10, SBATCH_ARRAY_INX=1-5%1.
set -euo pipefail
cd "$(dirname "$0")/../.."
state=$PWD/.cache/slurm
export SLURM_CONF=$state/slurm.conf

awk '/^#!\/bin\/bash/ {inside = 1} /^```$/ {inside = 0} inside' README.md > "$state/train.sh"
ended=0
job=$(sbatch --parsable --wait --nodes=1 --ntasks-per-node=2 --cpus-per-task=1 --gpus-per-node=0 \
    --output="$state/%A.out" "$state/train.sh" "$@") || ended=$?
cat "$state/$job.out"
scontrol show job "$job" | grep -E "JobState|RunTime|Restarts"
exit "$ended"
