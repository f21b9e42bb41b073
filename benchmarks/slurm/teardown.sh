#!/bin/bash
# Ends the SLURM that setup.sh started, its jobs too, and removes .cache/slurm.
set -uo pipefail
cd "$(dirname "$0")/../.."
state=$PWD/.cache/slurm
export SLURM_CONF=$state/slurm.conf

scancel --user="$(id -un)" --signal=KILL --full
for pid in "$state/slurmd.pid" "$state/slurmctld.pid" "$state/munge/pid"; do
    if [ -e "$pid" ]; then
        kill "$(cat "$pid")"
        tail --pid="$(cat "$pid")" --follow=name /dev/null
    fi
done
rm -rf "$state"
