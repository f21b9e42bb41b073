#!/bin/bash
# Starts a real SLURM (munged, slurmctld, slurmd) on this machine alone, for one user, in .cache/slurm. The script ends
# when that SLURM takes jobs. It needs Debian's packages slurm-wlm and munge; teardown.sh ends that SLURM.
set -euo pipefail
cd "$(dirname "$0")/../.."
state=$PWD/.cache/slurm
export SLURM_CONF=$state/slurm.conf

if [ -e "$state" ]; then
    echo "$state exists, so a SLURM may be running: end it with benchmarks/slurm/teardown.sh first" >&2
    exit 2
fi
mkdir -p "$state/munge" "$state/controller" "$state/node"
chmod 711 "$state/munge"

(umask 077 && dd if=/dev/urandom of="$state/munge/key" bs=128 count=1 status=none)
munged --key-file="$state/munge/key" --socket="$state/munge/socket" --pid-file="$state/munge/pid" \
    --log-file="$state/munge/log" --seed-file="$state/munge/seed"

sed -e "s|@NODE@|$(hostname -s)|" -e "s|@USER@|$(id -un)|" -e "s|@STATE@|$state|" -e "s|@CPUS@|$(nproc)|" \
    -e "s|@MEMORY@|$(($(free -m | awk '/^Mem:/ {print $2}') - 512))|" benchmarks/slurm/slurm.conf > "$SLURM_CONF"
slurmctld
slurmd
for _ in $(seq 60); do
    if sinfo --noheader --format=%t | grep -qx idle; then
        sinfo
        echo "export SLURM_CONF=$SLURM_CONF"
        exit 0
    fi
    sleep 1
done
echo "the node did not come up; $state/slurmctld.log and $state/slurmd.log say why" >&2
exit 1
