#!/usr/bin/env python3
"""Writes crates/convert/tests/data/checkpoint with the `torch` (2.15), `safetensors` (0.8) and `numpy` Python packages.

    make-checkpoint-fixture.py [--out DIR] [--check]

Two shards with their index, in the precisions of the official checkpoint, and expected.safetensors: what torch makes of each matrix as
float32. The output is the same on every run, and is kept with the tests, since the package has more than half a gigabyte. --check writes
nothing and compares with what is there.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file

# Torch has a type for two FP4 values a byte, but does not convert it.
FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def repeated(factors, rows, cols, rows_max, cols_max):
    return factors.repeat_interleave(rows, 0)[:rows_max].repeat_interleave(cols, 1)[:, :cols_max]


def fp8(rng, rows, cols):
    """Stored values, stored scales and what they are; every code occurs, the last blocks are not whole."""
    codes = rng.integers(0, 256, (rows, cols), dtype=np.uint8)
    codes.reshape(-1)[:256] = np.arange(256)
    codes = torch.from_numpy(codes)
    scales = rng.integers(110, 140, (-(-rows // 128), -(-cols // 128)), dtype=np.uint8)
    scales = torch.from_numpy(scales).view(torch.float8_e8m0fnu)
    stored = codes.view(torch.float8_e4m3fn)
    values = stored.float()
    # The code of NaN counts as zero, here with its sign.
    values = torch.where(values.isnan(), torch.where(codes > 127, -0.0, 0.0), values)
    return stored, scales, values * repeated(scales.float(), 128, 128, rows, cols)


def fp4(rng, rows, cols):
    codes = torch.from_numpy(rng.integers(0, 256, (rows, cols // 2), dtype=np.uint8))
    scales = rng.integers(110, 140, (rows, cols // 32), dtype=np.uint8)
    # The smallest factor, below the normal numbers.
    scales[0, 0] = 0
    scales = torch.from_numpy(scales).view(torch.float8_e8m0fnu)
    values = FP4[torch.stack((codes & 15, codes >> 4), dim=-1).reshape(rows, cols).long()]
    return codes.view(torch.int8), scales, values * repeated(scales.float(), 1, 32, rows, cols)


def write(out):
    """The checkpoint in `out`, and what it is beside that folder."""
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
    plain = torch.from_numpy(rng.standard_normal((5, 24)).astype(np.float32))
    for shard, name, kind in (
        (0, "embed.weight", torch.bfloat16),
        (1, "head.weight", torch.float32),
        (0, "norm.weight", torch.float16),
    ):
        shards[shard][name] = plain.to(kind)
        expected[name] = plain.to(kind).float()
    shards[1]["layers.0.ffn.gate.tid2eid"] = torch.from_numpy(rng.integers(0, 256, (7, 6)))
    expected["layers.0.ffn.gate.tid2eid"] = shards[1]["layers.0.ffn.gate.tid2eid"].int()

    names = [f"model-0000{i + 1}-of-00002.safetensors" for i in range(2)]
    for name, tensors in zip(names, shards):
        save_file(tensors, out / name, metadata={"format": "np"})
    weight_map = {tensor: name for name, tensors in zip(names, shards) for tensor in tensors}
    index = {"metadata": {}, "weight_map": dict(sorted(weight_map.items()))}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    # Not beside the shards, of which it is none.
    save_file(expected, out.parent / "expected.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = pathlib.Path(__file__).resolve().parent.parent / "crates/convert/tests/data/checkpoint"
    parser.add_argument("--out", type=pathlib.Path, default=default)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if not args.check:
        return write(args.out)
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder) / "checkpoint"
        write(made)
        files = [(path, args.out / path.name) for path in made.iterdir()]
        files.append((made.parent / "expected.safetensors", args.out.parent / "expected.safetensors"))
        differing = [there.name for new, there in files if new.read_bytes() != there.read_bytes()]
    print(f"{len(files)} files, differing: {differing}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
