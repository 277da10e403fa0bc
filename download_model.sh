#!/usr/bin/env bash
# Fetches a published model with `ds4 download` into gguf/ (or $DS4_GGUF_DIR) and links ./ds4flash.gguf to it.
#
#   ./download_model.sh q2-imatrix|q4-imatrix|q2|q4|mtp [--token TOKEN]
set -euo pipefail
root=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n '2,4s/^# \{0,1\}//p' "$0"; }

case ${1:-} in
    "") usage; exit 1 ;;
    help | -h | --help) usage; exit 0 ;;
    q2-imatrix | q4-imatrix | q2 | q4 | mtp) target=$1; shift ;;
    *) echo "unknown target: $1" >&2; usage >&2; exit 1 ;;
esac

ds4=${DS4:-$root/ds4}
[ -x "$ds4" ] || ds4=$(command -v ds4) || { echo "build the program first: make" >&2; exit 1; }

# A relative directory is seen from here, as it always was.
dir=${DS4_GGUF_DIR:-gguf}
case $dir in /*) ;; *) dir=$root/$dir ;; esac

path=$("$ds4" download "$target" --dir "$dir" "$@")
if [ "$target" = mtp ]; then
    echo "the draft model is $path"
else
    ln -sfn "$path" "$root/ds4flash.gguf"
    echo "ds4flash.gguf is now $path"
fi
