#!/usr/bin/env bash
# Merges the units of a training, chooses the epoch and tests once. Submitted by submit.sh; may be run again.
#SBATCH --job-name=noprop-merge
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

exec "${NOPROP:-noprop}" merge "$1" --threads "${SLURM_CPUS_PER_TASK:-1}"
