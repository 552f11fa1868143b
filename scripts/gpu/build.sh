#!/usr/bin/env bash
# Builds what scripts/gpu/check.sh runs, with or without a GPU here: the program and the tests that need a GPU.
#
#     scripts/gpu/build.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -eq 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
eval "$(scripts/gpu/toolkit.sh)"
built() { # what cargo says it made, as paths
    cargo build --release --message-format json "$@" |
        python3 -c 'import json, sys
for line in map(json.loads, sys.stdin):
    if line.get("executable"): print(line["target"]["name"], line["executable"])'
}
cp "$(built -p noprop-cli --features cuda | awk '$1 == "noprop" { print $2 }')" "$1/noprop"
cp "$(built -p noprop-kernels --features cuda --lib --profile release --tests | awk '$1 == "noprop_kernels" { print $2 }')" "$1/kernels"
cp "$(built -p noprop-train --features cuda --test cuda | awk '$1 == "cuda" { print $2 }')" "$1/training"
strip "$1"/*
ls -l "$1"
