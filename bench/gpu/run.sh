#!/bin/sh
# Measure tiers on this machine's NVIDIA GPU, without a network: bench/gpu/run.sh [WHEELS] [OPTIONS]
#   WHEELS   folder of wheels of the libraries beside torch, as `make gpu-wheels` fills one; none: they are installed
#   OPTIONS  of the kit, such as --tiers flux-dev,sdxl; --help lists them
# Environment: PYTHON, one that has torch; MINUTES for everything (9); TABLE, the file to write.
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
rooms=$root/core:$root/router:$root/worker:$root/profiler
export PYTHONPATH="$root/bench/gpu:$root/tests:$rooms${libraries:+:$libraries}" HF_HUB_OFFLINE=1
left=$((${MINUTES:-9} * 60 - $(date +%s) + began))
# The kit ends by itself; this is for what cannot be interrupted.
exec timeout --kill-after=10 $((left + 20)) \
  "$python" -m bench_gpu "${TABLE:-$root/bench/gpu/results.md}" --minutes "$(awk "BEGIN { print $left / 60 }")" "$@"
