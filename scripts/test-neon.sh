#!/usr/bin/env bash
# Runs the unit tests of ds4-quant as 64-bit Arm programs under emulation, on x86-64 Linux: once on a
# processor with the dot-product instructions, once on one without. DS4_EXPECT_ISA makes the tests fail
# if the processor offers another instruction set than the one that the run is to prove.
#
#   scripts/test-neon.sh [ARGUMENTS OF THE TEST PROGRAM...]        e.g.  scripts/test-neon.sh dot::
#
# The standard library is compiled along, from its Debian source and with the compiler that belongs to
# it: no other target needs to be installed for cargo. That compiler is unpacked, not installed, into
# $DS4_NEON_DIR (default ~/.cache/ds4-neon, about 900 MB); delete the folder to fetch it again.
# Linker, C library and emulator are Debian packages and are installed if missing.
#
# Needs: Debian, root or sudo for missing packages, cargo.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly target=aarch64-unknown-linux-gnu
readonly dir=${DS4_NEON_DIR:-$HOME/.cache/ds4-neon}
readonly compiler=$dir/compiler
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

if ! command -v aarch64-linux-gnu-gcc qemu-aarch64 >/dev/null || [ ! -d /usr/aarch64-linux-gnu/lib ]; then
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends \
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
fi

if [ ! -d "$compiler" ]; then
    rm -rf "$dir/new" && mkdir -p "$dir/new" "$dir/archives/partial"
    "${as_root[@]}" apt-get update -qq
    # What rustc-web needs and this machine already has is left out here and found where it is.
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends --download-only \
        -o Dir::Cache::archives="$dir/archives" rustc-web rust-web-src
    for package in "$dir"/archives/*.deb; do dpkg-deb -x "$package" "$dir/new"; done
    "${as_root[@]}" rm -rf "$dir/archives"
    mv "$dir/new" "$compiler"
fi

# The compiler's own libraries, LLVM's among them, lie in folders that the system does not search.
libraries=$(find "$compiler/usr/lib" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)

run_on() { # PROCESSOR EXPECTED_ISA TEST_ARGUMENTS...
    local processor=$1 expected=$2
    shift 2
    echo "== $processor: $expected"
    env -u RUSTC_WRAPPER -u RUSTFLAGS \
        LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
        RUSTC="$compiler/usr/bin/rustc" RUSTC_BOOTSTRAP=1 \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu $processor" \
        DS4_EXPECT_ISA="$expected" \
        cargo test -Zbuild-std --target $target --target-dir "${CARGO_TARGET_DIR:-target}/neon" \
        -p ds4-quant --lib -- "$@"
}

run_on max neon-dotprod "$@"
run_on cortex-a53 neon "$@"
