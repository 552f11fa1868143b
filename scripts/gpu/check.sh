#!/usr/bin/env bash
# Everything that needs a GPU: tests, times, and the paper's MNIST run. It should take less than ten minutes on an H100 or H200.
#
#     scripts/gpu/check.sh BINARIES OUT [DATA [PART...]]
#
# BINARIES: the output of scripts/gpu/build.sh, from this machine or a similar one. OUT: a folder for the results.
# DATA: the folder that holds mnist; without it, or with -, the bundled sample is used. PART: tests, epochs, devices, torch, paper (all of
# these if none is named), or cifar, which needs the folder DATA/cifar with train/CLASS and test/CLASS and takes longer.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$2"
bin=$(cd "$1" && pwd) out=$(cd "$2" && pwd) data=
[ "${3:--}" = - ] || data=$(cd "$3" && pwd)
parts=" ${*:4} "
[ $# -gt 3 ] || parts=" tests epochs devices torch paper "
for part in $parts; do
    case $part in
    tests | epochs | devices | torch | paper) ;;
    cifar) [ -n "$data" ] || { echo "the part cifar needs DATA" >&2; exit 2; } ;;
    *) echo "there is no part $part" >&2; exit 2 ;;
    esac
done
wanted() { [[ $parts == *" $1 "* ]]; }
# CUDA's run-time libraries: already on the path, in CUDA_HOME, or in PyTorch's packages.
for place in "${CUDA_HOME:-/usr/local/cuda}/lib64" \
    $(python3 -c 'import sysconfig, glob; print(*glob.glob(sysconfig.get_path("purelib") + "/nvidia/*/lib"))' 2>/dev/null || true); do
    [ -d "$place" ] && LD_LIBRARY_PATH=$place:${LD_LIBRARY_PATH:-}
done
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$out/gpu.csv"
status=0
step() { # name, command...
    local name=$1 started=$SECONDS
    shift
    if "$@" >"$out/$name.txt" 2>&1; then echo "ok      $name ($((SECONDS - started)) s)"; else
        echo "FAILED  $name: see $out/$name.txt"; status=1
        return 1
    fi
}
if wanted tests; then
    step kernels "$bin/kernels" gpu --nocapture || true
    step training "$bin/training" batched --nocapture || true
    # Without a GPU the tests are skipped, and would pass.
    if grep -q skipped "$out/kernels.txt" "$out/training.txt"; then echo "FAILED  tests were skipped: no GPU was found"; status=1; fi
fi
dataset=(--dataset mnist-sample)
[ -n "$data" ] && dataset=(--dataset mnist --data-dir "$data")
train() { # name, flags...
    local name=$1
    shift
    step "$name" "$bin/noprop" train "${dataset[@]}" --device cuda --json --quiet --force --out "$out/runs/$name" "$@" || return 0
    # Accuracy, and the most memory that tensors held on the GPU.
    tail -n 1 "$out/$name.txt"
    python3 - "$out/runs/$name/metrics.jsonl" <<'END'
import json, statistics, sys
epochs = [e["seconds"] for e in map(json.loads, open(sys.argv[1])) if e["event"] == "epoch"]
if epochs:
    print(f"        epoch: median {statistics.median(epochs):.3f} s, {min(epochs):.3f} to {max(epochs):.3f}, n = {len(epochs)}")
END
}
# One epoch with all ten per-block encoders, in each precision. The first epoch compiles the kernels.
if wanted epochs; then
    for precision in f32 tf32 bf16; do train "epoch-$precision" --encoder per-block --epochs 4 --precision "$precision"; done
    # One block after the other, which takes the least memory.
    train epoch-one-by-one --encoder per-block --epochs 2 --block-workers 1
    # The other methods, two epochs each.
    for method in ct fm backprop; do train "epoch-$method" --method "$method" --epochs 2; done
fi
# Both devices must give the same answers with the same weights, except for rounding.
if wanted devices; then
    train shared-f32 --epochs 3
    step eval-cpu "$bin/noprop" eval --run "$out/runs/shared-f32" ${data:+--data-dir "$data"} --device cpu --json || true
    step eval-cuda "$bin/noprop" eval --run "$out/runs/shared-f32" ${data:+--data-dir "$data"} --device cuda --json || true
    grep -ho '"accuracy":[0-9.]*' "$out/eval-cpu.txt" "$out/eval-cuda.txt" || true
fi
# PyTorch on the same GPU, after a check of the logits: eager, compiled, and with vmap over blocks.
if ! wanted torch; then
    :
elif python3 -c 'import torch, safetensors, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    cd "$here/../.."
    step bench "$bin/xtask" bench epoch --device cuda --built "$bin" --python python3 --rounds 3 ${data:+--data-dir "$data"} || true
    cat "$out/bench.txt"
    cp docs/benchmarks.* "$out"
else
    echo "left out: PyTorch with CUDA, and safetensors, are not installed here"
fi
# The paper's runs: a hundred epochs of MNIST, a hundred and fifty of CIFAR-10 (pictures after JPEG compression).
if wanted paper; then
    if [ -n "$data" ]; then train paper --preset paper-mnist --precision bf16; else echo "left out: the paper's run needs DATA"; fi
fi
if wanted cifar; then
    dataset=(--dataset "folder:$data/cifar")
    train cifar --encoder per-block --epochs 150 --precision bf16 --normalize channel --padding 1
fi
exit $status
