#!/bin/bash
# Ends the SLURM that setup.sh started, its jobs first, and removes .cache/slurm.
set -euo pipefail
cd "$(dirname "$0")/../.."
state=$PWD/.cache/slurm
export SLURM_CONF=$state/slurm.conf

scancel --user="$(id -un)"
for _ in $(seq 60); do # Longer than KillWait, 30 seconds.
    [ -z "$(squeue --noheader)" ] && break
    sleep 1
done
for file in "$state/slurmd.pid" "$state/slurmctld.pid" "$state/munge/pid"; do
    pid=$(cat "$file")
    kill "$pid"
    tail --pid="$pid" --follow=name /dev/null
done
rm -rf "$state"
