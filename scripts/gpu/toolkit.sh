#!/usr/bin/env bash
# Prints the environment that a CUDA build needs, for eval:
#
#     eval "$(scripts/gpu/toolkit.sh)"
#     cargo build --release -p noprop-cli --features cuda
#
# A toolkit on the PATH (nvcc) or in CUDA_HOME is used. Otherwise NVIDIA's packages from PyPI (CUDA 13.0; licence:
# https://docs.nvidia.com/cuda/eula) are installed once into NOPROP_CUDA_DIR, about 1 GB. A build needs neither a GPU nor a driver.
# CUDA_COMPUTE_CAP names the GPU to build for; without it 90 (H100, H200).
set -euo pipefail
cap=${CUDA_COMPUTE_CAP:-90}
if command -v nvcc >/dev/null || [ -n "${CUDA_HOME:-}" ]; then
    home=${CUDA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")}
    echo "export CUDA_HOME='$home' PATH='$home/bin':\$PATH CUDA_COMPUTE_CAP=$cap"
    exit
fi
dir=${NOPROP_CUDA_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/noprop-cuda}
if [ ! -e "$dir/complete" ]; then
    {
        # An install that was ended is begun again. A folder with anything else belongs to somebody.
        mark=noprop-cuda-unfinished
        if [ -e "$dir/$mark" ]; then
            find "$dir/" -mindepth 1 -not -name "$mark" -delete
        elif [ -n "$(ls -A "$dir" 2>/dev/null)" ]; then
            echo "error: $dir holds other files: name another folder with NOPROP_CUDA_DIR, or remove it"
            exit 1
        fi
        mkdir -p "$dir"
        touch "$dir/$mark"
        python3 -m venv "$dir"
        "$dir/bin/pip" install --quiet "cuda-toolkit[nvcc,cudart,cublas,curand,nvrtc,cccl]==13.0.*"
        packages=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        mkdir "$dir/lib-link"
        # The linker needs names without a version.
        for library in "$packages"/nvidia/cu13/lib/lib*.so.*; do
            name=$(basename "$library")
            ln -sf "$library" "$dir/lib-link/$name"
            ln -sf "$library" "$dir/lib-link/${name%%.so.*}.so"
        done
        # The driver's library is installed with the driver. For the linker an empty one of the same name is enough.
        echo | cc -shared -x c - -Wl,-soname,libcuda.so.1 -o "$dir/lib-link/libcuda.so"
        mv "$dir/$mark" "$dir/complete"
    } >&2
fi
home=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia/cu13
cat <<END
export CUDA_HOME='$home' CUDA_PATH='$home' CUDA_ROOT='$home' CUDA_TOOLKIT_ROOT_DIR='$home' NVCC='$home/bin/nvcc' PATH='$home/bin':\$PATH
export CUDA_COMPUTE_CAP=$cap
# With its own folder and an explicit target the flags do not apply to build scripts, and the build for the CPU is left as it is.
export CARGO_TARGET_DIR=\${CARGO_TARGET_DIR:-target-cuda} CARGO_BUILD_TARGET=x86_64-unknown-linux-gnu
export RUSTFLAGS="\${RUSTFLAGS:-} -L native=$dir/lib-link -C link-arg=-Wl,--unresolved-symbols=ignore-in-object-files -C link-arg=-Wl,--no-as-needed -C link-arg=-lcuda"
END
