#!/usr/bin/env bash
# Stop what start.sh started.
#
#     examples/slurm/local/stop.sh DIR

set -euo pipefail

if (($# != 1)); then
    echo "usage: $0 DIR" >&2
    exit 2
fi
for pid in "$1"/slurmd.pid "$1"/slurmctld.pid "$1"/munge/pid; do
    if [[ -s $pid ]]; then
        kill "$(<"$pid")" || true
    fi
done
