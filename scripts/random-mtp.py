#!/usr/bin/env python3
"""A draft block of DeepSeek V4 Flash's true shapes and types and random weights (3.8 GB), to measure what drafting costs on a device.

    python3 scripts/random-mtp.py mtp.gguf
    cargo run --release -p ds4-gpu --example speed -- FULL_SHAPE.gguf --lengths 512 --mtp mtp.gguf

Its guesses are never right. The same bytes every time; a tensor repeats about a megabyte of blocks.
"""

import random
import struct
import sys

PIECE = 1 << 20
ALIGNMENT = 32
F32, Q8_0, Q4_K = 0, 8, 12

EMBD, HEADS, HEAD, Q_RANK, GROUPS, O_RANK, FF, EXPERTS = 4096, 64, 512, 1024, 8, 1024, 2048, 256
TENSORS = {
    "hc_head_base.weight": ([4], F32),
    "hc_head_fn.weight": ([4 * EMBD, 4], F32),
    "hc_head_scale.weight": ([1], F32),
    "e_proj.weight": ([EMBD, EMBD], Q8_0),
    "h_proj.weight": ([EMBD, EMBD], Q8_0),
    "enorm.weight": ([EMBD], F32),
    "hnorm.weight": ([EMBD], F32),
    "norm.weight": ([EMBD], F32),
    "hc_attn_fn.weight": ([4 * EMBD, 24], F32),
    "hc_attn_scale.weight": ([3], F32),
    "hc_attn_base.weight": ([24], F32),
    "hc_ffn_fn.weight": ([4 * EMBD, 24], F32),
    "hc_ffn_scale.weight": ([3], F32),
    "hc_ffn_base.weight": ([24], F32),
    "attn_norm.weight": ([EMBD], F32),
    "attn_q_a.weight": ([EMBD, Q_RANK], Q8_0),
    "attn_q_a_norm.weight": ([Q_RANK], F32),
    "attn_q_b.weight": ([Q_RANK, HEADS * HEAD], Q8_0),
    "attn_kv.weight": ([EMBD, HEAD], Q8_0),
    "attn_kv_a_norm.weight": ([HEAD], F32),
    "attn_sinks.weight": ([HEADS], F32),
    "attn_output_a.weight": ([HEADS * HEAD // GROUPS, GROUPS * O_RANK], Q8_0),
    "attn_output_b.weight": ([GROUPS * O_RANK, EMBD], Q8_0),
    "ffn_norm.weight": ([EMBD], F32),
    "ffn_gate_inp.weight": ([EMBD, EXPERTS], F32),
    "exp_probs_b.bias": ([EXPERTS], F32),
    "ffn_gate_exps.weight": ([EMBD, FF, EXPERTS], Q4_K),
    "ffn_up_exps.weight": ([EMBD, FF, EXPERTS], Q4_K),
    "ffn_down_exps.weight": ([FF, EMBD, EXPERTS], Q4_K),
    "ffn_gate_shexp.weight": ([EMBD, FF], Q8_0),
    "ffn_up_shexp.weight": ([EMBD, FF], Q8_0),
    "ffn_down_shexp.weight": ([FF, EMBD], Q8_0),
}
# Values and bytes of a block.
BLOCKS = {F32: (1, 4), Q8_0: (32, 34), Q4_K: (256, 144)}


def block(kind, name, rng):
    """One block, its values of a size that 43 layers bear."""
    if kind == Q8_0:
        return struct.pack("<e", 0.0003) + rng.randbytes(32)
    if kind == Q4_K:
        # Scales and minima are equal, and the middle code is about zero.
        low, high = rng.randbytes(4), [rng.randrange(16) for _ in range(4)]
        return struct.pack("<ee", 0.0002, 0.0015) + low + low + bytes(17 * n for n in high) + rng.randbytes(128)
    return struct.pack("<f", 1.0 + 0.1 * rng.random() if name.endswith("norm.weight") else 0.02 * (rng.random() - 0.5))


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(TENSORS), 1)
    head += text("general.architecture") + struct.pack("<I", 8) + text("deepseek4")
    at, sizes = 0, []
    for name, (dims, kind) in TENSORS.items():
        values, size = BLOCKS[kind]
        count = 1
        for dim in dims:
            count *= dim
        head += text("mtp.0." + name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, at)
        sizes.append(count // values * size)
        at += -(-sizes[-1] // ALIGNMENT) * ALIGNMENT
    with open(sys.argv[1], "wb") as out:
        out.write(head + bytes(-len(head) % ALIGNMENT))
        rng = random.Random(1)
        for (name, (_, kind)), size in zip(TENSORS.items(), sizes):
            blocks = min(size, PIECE) // BLOCKS[kind][1]
            piece = b"".join(block(kind, name, rng) for _ in range(blocks))
            for _ in range(size // len(piece)):
                out.write(piece)
            out.write(piece[: size % len(piece)] + bytes(-size % ALIGNMENT))


if __name__ == "__main__":
    main()
