#!/usr/bin/env python3
"""Writes the golden files of crates/quant/tests/data with the `gguf` Python package (0.19.0).

    make-quant-fixtures.py [--out DIR] [--blocks N]

<format>.bin            N stored blocks, then the f32 they expand to
<format>-quantize.bin   f32 values, then the blocks the package makes of them (formats it can make)

Everything is little-endian and the output is the same on every run.
"""

import argparse
import pathlib

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

# Byte offsets of the f16 scales inside a block: (d,) or (d, dmin).
SCALES = {
    T.Q8_0: (0,),
    T.Q2_K: (80, 82),
    T.Q4_K: (0, 2),
    T.Q5_K: (0, 2),
    T.Q6_K: (208,),
    T.IQ2_XXS: (0,),
}
ONE_VALUE_PER_BLOCK = (T.F32, T.F16, T.BF16)
QUANTIZABLE = (T.F16, T.BF16, T.Q8_0)

# (d, dmin) as f16 bits, each tried with all bytes 0x00, all bytes 0xff and random bytes.
EDGE_SCALES = [
    (0x0000, 0x0000),  # zero
    (0x8000, 0x8000),  # negative zero
    (0x0001, 0x03FF),  # smallest and largest subnormal
    (0x8001, 0x83FF),  # the same, negative
    (0xBC00, 0x3C00),  # -1, 1
    (0x7BFF, 0xFBFF),  # largest finite values
]


def stored_blocks(kind, count, rng):
    size = GGML_QUANT_SIZES[kind][1]
    scales = SCALES[kind]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    sane = rng.normal(0, 0.01, (count, len(scales))).astype(np.float16).view(np.uint16)
    edges = [(fill, pair) for pair in EDGE_SCALES for fill in (0x00, 0xFF, None)]
    for i in range(count):
        bits = sane[i]
        if i < len(edges):
            fill, bits = edges[i]
            if fill is not None:
                blocks[i] = fill
        for at, value in zip(scales, bits):
            blocks[i, at : at + 2] = np.frombuffer(int(value).to_bytes(2, "little"), np.uint8)
    return blocks


def stored_floats(kind, count, rng):
    if kind == T.F32:
        values = rng.normal(0, 1, count).astype("<f4")
        values[:4] = [0.0, -0.0, np.inf, 1e-45]
        return values.view(np.uint8)
    bits = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    exponent = 0x7C00 if kind == T.F16 else 0x7F80
    # NaN payloads are not part of the contract, so NaN patterns become infinities.
    is_nan = (bits & exponent == exponent) & (bits & ~np.uint16(0x8000) != exponent)
    bits[is_nan] = exponent
    bits[:6] = [0x0000, 0x8000, 0x0001, 0x8001, exponent, exponent - 1]
    return bits.astype("<u2").view(np.uint8)


def source_values(kind, count, rng):
    width = GGML_QUANT_SIZES[kind][0]
    spread = np.exp(rng.normal(0, 3, (count, 1)))
    values = (rng.normal(0, 1, (count, width)) * spread).astype("<f4")
    if kind == T.F16:
        values = np.clip(values, -65504.0, 65504.0)
    values[0] = 0.0
    if width > 1:
        values[1] = np.arange(width) - 0.5  # ties
        values[1, 0] = 127.0  # makes the scale exactly 1
        values[2] = 1e-30  # scale below the smallest f16
        values[3] = -values[1]
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = pathlib.Path(__file__).resolve().parent
    parser.add_argument("--out", type=pathlib.Path, default=here.parent / "crates/quant/tests/data")
    parser.add_argument("--blocks", type=int, default=28)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(4)

    for kind in (*ONE_VALUE_PER_BLOCK, *SCALES):
        if kind in ONE_VALUE_PER_BLOCK:
            stored = stored_floats(kind, 16 * args.blocks, rng)
        else:
            stored = stored_blocks(kind, args.blocks, rng).reshape(-1)
        values = dequantize(stored, kind).astype("<f4")
        assert not np.isnan(values).any()
        (args.out / f"{kind.name}.bin").write_bytes(stored.tobytes() + values.tobytes())

    for kind in QUANTIZABLE:
        count = args.blocks * (16 if kind in ONE_VALUE_PER_BLOCK else 1)
        values = source_values(kind, count, rng)
        stored = quantize(values.reshape(-1), kind)
        (args.out / f"{kind.name}-quantize.bin").write_bytes(values.tobytes() + stored.tobytes())


if __name__ == "__main__":
    main()
