#!/usr/bin/env bash
# Spread one stack or one forecast over an array of jobs; a last job, which waits for them,
# puts the result in place. To the bit what one process makes. First the number of shares, then
# the geoforecast line; what sbatch shall be told stands before it, ended by `--`:
#
#     examples/slurm/shards.sh 8 -p PROJECT stack scenes/
#     examples/slurm/shards.sh 8 --partition=short --mem=16G -- -p PROJECT predict --steps 6
#
# Prints the numbers of the array and of the last job.

set -euo pipefail

if (($# < 2)) || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 SHARES [SBATCH-OPTIONS --] GEOFORECAST-LINE" >&2
    exit 2
fi
shares=$1
shift
told=()
if [[ " $* " == *" -- "* ]]; then
    while [[ $1 != -- ]]; do
        told+=("$1")
        shift
    done
    shift
fi
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

array=$(sbatch --parsable --array="0-$((shares - 1))" "${told[@]}" \
    "$here/shard.sbatch" "$shares" "$@")
last=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes \
    --job-name=geoforecast-finalise --output=%x-%j.log --cpus-per-task=4 --mem=8G "${told[@]}" \
    --wrap="srun geoforecast $(printf '%q ' "$@")--finalise")
echo "$array $last"
