#!/usr/bin/env bash
# Builds everything that scripts/gpu/check.sh runs, on a machine with or without a GPU: the program, the tests that need a GPU, the benchmark. Also packs
# it into FOLDER.tar.xz.
#
#     scripts/gpu/build.sh FOLDER
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
# In two steps, because a failure within eval would not end this script.
env=$(scripts/gpu/toolkit.sh)
eval "$env"
# Every call names the same packages, and a target that needs the dependencies of tests, so that candle's kernels are compiled only once.
built() { # cargo's arguments; prints names and paths of programs
    cargo "$@" --message-format json -p noprop-cli -p noprop-kernels -p noprop-train -p xtask \
        --features noprop-cli/cuda,noprop-kernels/cuda,noprop-train/cuda |
        python3 -c 'import json, sys
for line in map(json.loads, sys.stdin):
    if line.get("executable"): print(line["target"]["name"], line["executable"])'
}
programs=$(built build --bins --example bench_worker)
tests=$(built test --no-run --lib --test train)
take() { # list, name there, name here
    cp "$(awk -v name="$2" '$1 == name { print $2 }' <<<"$1")" "$3"
}
take "$programs" noprop "$out/noprop"
take "$programs" bench_worker "$out/bench_worker"
take "$programs" xtask "$out/xtask"
take "$tests" noprop_kernels "$out/kernels"
take "$tests" train "$out/training"
# The folder may hold other files.
made=(noprop bench_worker xtask kernels training)
cd "$out"
strip "${made[@]}"
# For other machines: about 32 MB.
tar -cJf "$out.tar.xz" "${made[@]}"
ls -l "${made[@]}" "$out.tar.xz"
