#!/usr/bin/env bash
# Builds what scripts/gpu/check.sh runs, with or without a GPU here: the program, the tests that need a GPU, the benchmark. Packs it into
# FOLDER.tar.xz as well.
#
#     scripts/gpu/build.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -eq 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
eval "$(scripts/gpu/toolkit.sh)"
# One call for all, so that what they have in common, candle's kernels above all, is compiled once.
cuda=noprop-cli/cuda,noprop-kernels/cuda,noprop-train/cuda
built=$(cargo test --no-run --message-format json -p noprop-cli -p noprop-kernels -p noprop-train -p xtask --features "$cuda" \
    --lib --test side_by_side --example bench_worker --test command_line --test command |
    python3 -c 'import json, sys
for line in map(json.loads, sys.stdin):
    if line.get("executable"): print(line["target"]["name"], "test" if line["profile"]["test"] else "program", line["executable"])')
take() { # what, kind, name here
    cp "$(awk -v what="$1" -v kind="$2" '$1 == what && $2 == kind { print $3 }' <<<"$built")" "$3"
}
take noprop program "$1/noprop"
take noprop_kernels test "$1/kernels"
take side_by_side test "$1/training"
take bench_worker program "$1/bench_worker"
take xtask program "$1/xtask"
strip "$1"/*
# To carry elsewhere: about 32 MB.
tar -C "$1" -cJf "$1.tar.xz" .
ls -l "$1" "$1.tar.xz"
