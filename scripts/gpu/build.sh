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
built() { # what cargo says it made, as paths
    cargo build --message-format json "$@" |
        python3 -c 'import json, sys
for line in map(json.loads, sys.stdin):
    if line.get("executable"): print(line["target"]["name"], line["executable"])'
}
cp "$(built -p noprop-cli --features cuda | awk '$1 == "noprop" { print $2 }')" "$1/noprop"
cp "$(built -p noprop-kernels --features cuda --lib --tests | awk '$1 == "noprop_kernels" { print $2 }')" "$1/kernels"
cp "$(built -p noprop-train --features cuda --test side_by_side | awk '$1 == "side_by_side" { print $2 }')" "$1/training"
cp "$(built -p noprop-train --features cuda --example bench_worker | awk '$1 == "bench_worker" { print $2 }')" "$1/bench_worker"
cp "$(built -p xtask | awk '$1 == "xtask" { print $2 }')" "$1/xtask"
strip "$1"/*
# To carry elsewhere: about 32 MB.
tar -C "$1" -cJf "$1.tar.xz" .
ls -l "$1" "$1.tar.xz"
