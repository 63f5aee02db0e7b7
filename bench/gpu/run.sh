#!/bin/sh
# Measure tiers on this machine's NVIDIA GPU, without a network: bench/gpu/run.sh [WHEELS] [OPTIONS]
#   WHEELS   folder of wheels of the libraries beside torch, as `make gpu-wheels` fills one; none: they are installed
#   OPTIONS  of the kit, such as --tiers flux-dev,sdxl; --help lists them
# Environment: PYTHON, one that has torch; MINUTES for everything (8.5); TABLE, the file to write (results.md, here).
# Where torch finds no GPU it says so, and runs tiny models on the CPU (tiny.md).
set -eu
began=$(date +%s)
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
libraries=
if [ -d "${1:-}" ]; then
  libraries=$root/build/gpu-libraries
  rm -rf "$libraries"
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$libraries" "$1"/*.whl
  shift
fi
# Else what an earlier run compiled would count as compiled in no time.
export TORCHINDUCTOR_CACHE_DIR="$root/build/gpu-compiled"
rm -rf "$TORCHINDUCTOR_CACHE_DIR"
rooms=$root/core:$root/router:$root/worker:$root/profiler
export PYTHONPATH="$root/bench/gpu:$root/tests:$rooms${libraries:+:$libraries}" HF_HUB_OFFLINE=1
left=$(awk "BEGIN { print int(${MINUTES:-8.5} * 60) - $(date +%s) + $began }")
# The kit ends by itself; this is for what cannot be interrupted.
exec timeout --kill-after=10 $((left + 20)) \
  "$python" -m bench_gpu ${TABLE:+"$TABLE"} --minutes "$(awk "BEGIN { print $left / 60 }")" "$@"
