#!/usr/bin/env bash
# The first ten minutes of a stranger, on the demo model, without a network: run, serve, curl, bench, eval, doctor.
#
#   newcomer.sh target/release/ds4
set -euo pipefail
ds4=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
# Nothing of the user's own set-up.
export HOME=$work XDG_DATA_HOME=$work XDG_CACHE_HOME=$work XDG_CONFIG_HOME=$work DS4_CONFIG=
unset DS4_GGUF_DIR ANTHROPIC_BASE_URL OPENAI_BASE_URL 2>/dev/null || true
step() { printf -- '-- %s\n' "$1"; }

step "run"
"$ds4" run -p "What is 57 + 85?" --temp 0 --nothink | grep -q .

step "serve, curl"
"$ds4" serve --port 0 2>serve.log &
server=$!
for _ in $(seq 100); do grep -q 'listening on' serve.log && break; sleep 0.1; done
url=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' serve.log)
curl -sS --noproxy '*' "$url/v1/chat/completions" -d '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":64}' | grep -q '"finish_reason"'

step "bench"
"$ds4" bench --ctx-start 64 --ctx-max 256 --step-incr 64 -n 16 --batch 1,2 --csv bench.csv --json bench.json --svg bench.svg
[ "$(wc -l <bench.csv)" -eq 9 ]
"$ds4" bench compare bench.json bench.json | grep -q '1.00'
"$ds4" bench --url "$url" --ctx-start 100 -n 16 --csv server.csv
[ "$(wc -l <server.csv)" -eq 2 ]

step "doctor"
"$ds4" doctor --port "${url##*:}" | grep -q 'a ds4 server answers'
kill -INT "$server" && wait "$server"
server=

step "eval"
# The demo model is wrong often: the exit code says so, the report is what counts.
"$ds4" eval --only arithmetic --nothink -n 64 --report report.jsonl >eval.txt || [ $? -eq 1 ]
[ "$(wc -l <report.jsonl)" -eq 15 ]

step "download without a network ends with a message"
if HF_ENDPOINT=http://127.0.0.1:9 "$ds4" download mtp 2>download.log; then exit 1; fi
grep -q 'HF_ENDPOINT' download.log
[ -z "$(find . -name '*.gguf*')" ]
echo "done"
