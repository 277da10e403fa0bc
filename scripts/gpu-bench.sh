#!/usr/bin/env bash
# Speed on a GPU at the full shape: copy bandwidth, load, prefill and decode at 512 to 16,384 tokens, 16 sequences together, the time of
# every kernel; with a generator of the full-shape file also the agreement with its recorded vector.
#
#   scripts/gpu-bench.sh MODEL.gguf [CROSS_CHECK.json COMPARE.py]
#
# DS4 and SPEED name built programs where there is no cargo (defaults: built here).
set -euo pipefail
cd "$(dirname "$0")/.."
model=$1 vector=${2:-} compare=${3:-}
if [ -z "${DS4:-}" ] || [ -z "${SPEED:-}" ]; then
    cargo build --release -p ds4
    cargo build --release -p ds4-gpu --example speed
    DS4=target/release/ds4 SPEED=target/release/examples/speed
fi
"$DS4" devices
"$SPEED" "$model" --profile
if [ -n "$vector" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    python3 - "$vector" >"$work/ids" <<'PY'
import json, sys
case = json.load(open(sys.argv[1]))
print(case["prompt"] + [step["input_id"] for step in case["steps"][1:]])
PY
    "$DS4" debug vector -m "$model" --backend gpu --ids "$work/ids" --steps 4 --out "$work/exact.json"
    "$DS4" debug vector -m "$model" --backend gpu --ids "$work/ids" --steps 4 --out "$work/fast.json" --fast
    python3 "$compare" "$vector" "$work/exact.json"
    python3 "$compare" "$vector" "$work/fast.json"
fi
