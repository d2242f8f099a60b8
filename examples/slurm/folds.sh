#!/usr/bin/env bash
# Cross-validate through time: an array of jobs trains a fold each, and a last job, which waits
# for them, scores them together. First the number of folds, then the geoforecast line, whose
# `validate` may be left out; what sbatch shall be told stands before it, ended by `--`:
#
#     examples/slurm/folds.sh 5 -p PROJECT train
#     examples/slurm/folds.sh 5 --gres=none -- -p PROJECT train --run a validate --run a
#
# Prints the numbers of the array and of the last job.

set -euo pipefail

if (($# < 2)) || ! [[ $1 =~ ^[1-9][0-9]*$ && " $* " == *" train "* ]]; then
    echo "usage: $0 FOLDS [SBATCH-OPTIONS --] [OPTIONS] train [...] [validate [...]]" >&2
    exit 2
fi
folds=$1
shift
told=()
if [[ " $* " == *" -- "* ]]; then
    while [[ $1 != -- ]]; do
        told+=("$1")
        shift
    done
    shift
fi
shared=() train=() validate=()
part=shared
for word in "$@"; do
    case $word in
        train | validate) part=$word ;;
        *) declare -n words=$part && words+=("$word") ;;
    esac
done
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

array=$(sbatch --parsable --array="1-$folds" "${told[@]}" \
    "$here/folds.sbatch" "$folds" "${shared[@]}" train "${train[@]}")
line=(geoforecast "${shared[@]}" validate "${validate[@]}" --folds "$folds")
last=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes \
    --job-name=geoforecast-folds --output=%x-%j.log --cpus-per-task=4 --mem=8G "${told[@]}" \
    --wrap="srun $(printf '%q ' "${line[@]}")")
echo "$array $last"
