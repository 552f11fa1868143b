#!/usr/bin/env bash
# Trains a network as a Slurm job array with one task per unit, and merges it when all are done.
#
#   scripts/slurm/submit.sh RUN TASKS [FLAGS of noprop train]
#   scripts/slurm/submit.sh runs/deep 0-10 --encoder per-block --steps 10 --epochs 100
#
# TASKS are array indices: 0 is the readout, 1 to T are the blocks (flow matching has no readout: 1-B). RUN and the data
# directory (NOPROP_DATA_DIR) must be on a disk that all nodes share. NOPROP names the program, if it is not `noprop`. Resources of
# a task are set in block.sh, or with SBATCH_* variables. To continue after a cancelled array, submit the same line again: finished
# units are not trained again.
set -euo pipefail

run=${1:?usage: submit.sh RUN TASKS [FLAGS of noprop train]}
tasks=${2:?usage: submit.sh RUN TASKS [FLAGS of noprop train], with TASKS such as 0-10}
shift 2
# With a slash at its end, the folder of the run would exist before the run, with the logs in it.
run=${run%/}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$run.logs"
logs=$(cd "$run.logs" && pwd)

array=$(sbatch --parsable --array="$tasks" --output="$logs/%a.txt" "$here/block.sh" "$run" "$@")
merge=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes --output="$logs/merge.txt" "$here/merge.sh" "$run")
echo "array $array, then merge $merge; logs in $run.logs; progress: noprop status $run"
