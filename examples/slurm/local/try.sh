#!/usr/bin/env bash
# Try the scripts of examples/slurm/ on the SLURM of this machine, and compare the bits: a
# training that is preempted with one that is not, shards with one process, two processes that
# train together with one, and an array of seeds. Takes some minutes; docs/hpc.md shows what it
# prints.
#
#     examples/slurm/local/try.sh SCENES DIR   # DIR is new; SCENES is a folder of GeoTIFFs

set -euo pipefail

if (($# != 2)); then
    echo "usage: $0 SCENES DIR" >&2
    exit 2
fi
scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
scenes=$(cd -- "$1" && pwd)
mkdir "$2"
cd -- "$2"
# Small, so that it is over soon; long enough to be stopped in between.
line=(train --members 1 --epochs 12 --patience 12 --hidden 8 --no-retrain)
# This machine may have no GPU, and fewer processors than the scripts ask for.
here=(--gres=none --cpus-per-task=1 --mem=0)
export SBATCH_EXPORT=ALL

say() { printf '\n$ %s\n' "$*"; }
run() {
    say "$@"
    "$@"
}
# Waits until jobs have left the queue, and tells how they ended.
ended() {
    local job
    for job in "$@"; do
        while squeue --noheader --jobs="$job" 2>/dev/null | grep -q .; do sleep 1; done
        scontrol --oneliner show job "$job" | sort | sed -nE \
            's/^JobId=([0-9]+).* JobState=(\w+).* Restarts=([0-9]+).* ExitCode=([0-9]+).*/job \1: \2, restarts \3, exit code \4/p'
    done
}
same() {
    say "cmp $1 $2"
    cmp "$1" "$2"
    echo "the same"
}

for project in alone preempted; do
    geoforecast -q -p "$project" stack "$scenes" >/dev/null
done

echo "== A training, undisturbed, and one that is preempted"
job=$(sbatch --parsable "${here[@]}" "$scripts/one-gpu.sbatch" -q -p alone "${line[@]}")
ended "$job"
job=$(sbatch --parsable "${here[@]}" "$scripts/one-gpu.sbatch" -p preempted "${line[@]}")
until [[ -s preempted/runs/default/last.pt ]]; do sleep 0.2; done
run scancel --signal=USR1 "$job"
ended "$job"
run grep -E 'epoch|Stopped|srun' "geoforecast-$job.log"
for file in model.safetensors model.json log.csv; do
    same {alone,preempted}/runs/default/$file
done

echo
echo "== An array of shards, and what puts the forecast in place"
geoforecast -q -p alone predict --steps 3 >/dev/null
read -r array last < <("$scripts/shards.sh" 3 "${here[@]}" -- -q -p preempted predict --steps 3)
ended "$array" "$last"
run diff --recursive --brief {alone,preempted}/forecasts && echo "the same"

echo
echo "== Two processes that train together"
job=$(sbatch --parsable "${here[@]}" --nodes=1 --ntasks-per-node=2 --gpus-per-node=0 \
    "$scripts/nodes.sbatch" -p alone "${line[@]}" --run together)
ended "$job"
run head -n 4 alone/runs/{default,together}/log.csv

echo
echo "== A run for each seed"
job=$(sbatch --parsable "${here[@]}" --array=0-1 "$scripts/seeds.sbatch" -q -p alone "${line[@]}")
ended "$job"
run ls alone/runs
