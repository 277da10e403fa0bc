#!/usr/bin/env python3
"""Writes crates/convert/tests/data/checkpoint with the `ml_dtypes` (0.6), `safetensors` (0.8) and `numpy` Python packages.

    make-checkpoint-fixture.py [--out DIR]

Two shards with their index, in the precisions of the official checkpoint, and expected.safetensors: what ml_dtypes, whose types JAX and
others compute with, makes of each matrix as float32. The output is the same on every run.
"""

import argparse
import json
import pathlib

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file


def expanded(codes, kind):
    return codes.view(kind).astype(np.float32)


def repeated(factors, rows, cols, rows_max, cols_max):
    return factors.repeat(rows, 0)[:rows_max].repeat(cols, 1)[:, :cols_max]


def fp8(rng, rows, cols):
    """Stored values, stored scales and what they are; every code occurs, the last blocks are not whole."""
    codes = rng.integers(0, 256, (rows, cols), dtype=np.uint8)
    codes.reshape(-1)[:256] = np.arange(256)
    scales = rng.integers(110, 140, (-(-rows // 128), -(-cols // 128)), dtype=np.uint8)
    values = expanded(codes, ml_dtypes.float8_e4m3fn)
    # The code of NaN counts as zero, here with its sign.
    values = np.where(np.isnan(values), np.copysign(np.float32(0), np.where(codes > 127, -1, 1).astype(np.float32)), values)
    factors = repeated(expanded(scales, ml_dtypes.float8_e8m0fnu), 128, 128, rows, cols)
    return codes.view(ml_dtypes.float8_e4m3fn), scales.view(ml_dtypes.float8_e8m0fnu), values * factors


def fp4(rng, rows, cols):
    codes = rng.integers(0, 256, (rows, cols // 2), dtype=np.uint8)
    scales = rng.integers(110, 140, (rows, cols // 32), dtype=np.uint8)
    # The smallest factor, below the normal numbers.
    scales[0, 0] = 0
    halves = np.stack((codes & 15, codes >> 4), axis=-1).reshape(rows, cols)
    values = halves.astype(np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    factors = repeated(expanded(scales, ml_dtypes.float8_e8m0fnu), 1, 32, rows, cols)
    return codes.view(np.int8), scales.view(ml_dtypes.float8_e8m0fnu), values * factors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = pathlib.Path(__file__).resolve().parent.parent / "crates/convert/tests/data/checkpoint"
    parser.add_argument("--out", type=pathlib.Path, default=default)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20260801)

    shards, expected = [{}, {}], {}
    for shard, name, made in (
        (0, "layers.0.attn.wkv", fp8(rng, 130, 200)),
        (1, "layers.0.attn.wq_a", fp8(rng, 128, 256)),
        (0, "layers.0.ffn.experts.0.w1", fp4(rng, 6, 64)),
        (1, "layers.0.ffn.experts.1.w1", fp4(rng, 6, 64)),
    ):
        # Scales may be in another file than what they scale.
        shards[shard][f"{name}.weight"], shards[1][f"{name}.scale"], expected[f"{name}.weight"] = made
    plain = rng.standard_normal((5, 24)).astype(np.float32)
    for shard, name, kind in (
        (0, "embed.weight", ml_dtypes.bfloat16),
        (1, "head.weight", np.float32),
        (0, "norm.weight", np.float16),
    ):
        shards[shard][name] = plain.astype(kind)
        expected[name] = plain.astype(kind).astype(np.float32)
    shards[1]["layers.0.ffn.gate.tid2eid"] = rng.integers(0, 256, (7, 6))
    expected["layers.0.ffn.gate.tid2eid"] = shards[1]["layers.0.ffn.gate.tid2eid"].astype(np.int32)

    names = [f"model-0000{i + 1}-of-00002.safetensors" for i in range(2)]
    for name, tensors in zip(names, shards):
        save_file(tensors, out / name, metadata={"format": "np"})
    weight_map = {tensor: name for name, tensors in zip(names, shards) for tensor in tensors}
    index = {"metadata": {}, "weight_map": dict(sorted(weight_map.items()))}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    # Not beside the shards, of which it is none.
    save_file(expected, out.parent / "expected.safetensors")


if __name__ == "__main__":
    main()
