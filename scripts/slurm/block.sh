#!/usr/bin/env bash
# One unit of a training: block SLURM_ARRAY_TASK_ID, or the readout for task 0. Submitted by submit.sh.
#SBATCH --job-name=noprop-block
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --requeue
#SBATCH --open-mode=append
set -u

run=$1
shift
unit=$SLURM_ARRAY_TASK_ID
if [ "$unit" = 0 ]; then unit=readout; fi

"${NOPROP:-noprop}" train --blocks "$unit" --out "$run" --quiet --threads "${SLURM_CPUS_PER_TASK:-1}" "$@"
code=$?

# Exit code 2 is a mistake in the command, which another try would repeat. Any other code may be a temporary fault of this node: the task
# requeues itself and continues from its last checkpoint. It must do so itself, because Slurm cancels the merge that waits for a
# failed task.
if [ "$code" -ne 0 ] && [ "$code" -ne 2 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "${NOPROP_RETRIES:-5}" ]; then
    echo "exit code $code on $(hostname): requeued" >&2
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
    sleep 600 # Slurm ends the task in the meantime.
fi
exit "$code"
