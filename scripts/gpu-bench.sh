#!/usr/bin/env bash
# Speed on a GPU at the full shape: copy bandwidth, load, prefill and decode at 512 to 16,384 tokens, 16 sequences together, the time of
# every kernel; with recorded logits of the same file also the agreement with them, exact and fast.
#
#   scripts/gpu-bench.sh MODEL.gguf [CROSS_CHECK.json]
#
# SPEED names the built program where there is no cargo (default: it is built here).
set -euo pipefail
cd "$(dirname "$0")/.."
model=$1 vector=${2:-}
if [ -z "${SPEED:-}" ]; then
    cargo build --release -p ds4-gpu --example speed
    SPEED=target/release/examples/speed
fi
compare=()
if [ -n "$vector" ]; then
    compare=(--vector "$vector")
    "$SPEED" "$model" --exact --lengths 64 --chunk 64 --batch 1 "${compare[@]}"
fi
# The first length is measured twice: kernels for its number of rows are compiled by the first.
"$SPEED" "$model" --lengths 512,512,2048,8192,16384 --profile "${compare[@]}"
